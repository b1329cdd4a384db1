"""What a program writes that cannot be read, and names that no client takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from polycall.ir import ToolCall
from polycall.mcp import StdioServer, connect
from polycall.tools import execute

# Answers by hand: LINES has what stands for each tool's answer, with ID for the request's id.
SERVER = """
import json, sys
LINES = json.load(open(sys.argv[1]))
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    name, number = asked["method"], json.dumps(asked["id"])
    answer = {"error": {"code": -32601, "message": "no"}}
    if name == "initialize":
        version = asked["params"]["protocolVersion"]
        about = {"name": "s", "version": "1"}
        answer = {"result": {"protocolVersion": version, "capabilities": {"tools": {}}}}
        answer["result"]["serverInfo"] = about
    elif name == "tools/list":
        tools = [{"name": each, "inputSchema": {"type": "object"}} for each in LINES]
        answer = {"result": {"tools": tools}}
    elif name == "tools/call":
        print(LINES[asked["params"]["name"]].replace("ID", number), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""

DEEP = "[" * 3_000 + "]" * 3_000
UNREADABLE = {
    "half": '{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"\\ud800"}]}}',
    "deep": f'{{"jsonrpc":"2.0","id":ID,"result":{{"content":[],"structuredContent":{DEEP}}}}}',
    "id last": f'{{"result":{{"content":[],"structuredContent":{DEEP}}},"jsonrpc":"2.0","id":ID}}',
    "id first": f'{{ "id" : ID , "error" : {DEEP}, "jsonrpc": "2.0"}}',
}
FINE = '{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"fine"}]}}'


def a_server(place: Path, lines: dict[str, str]) -> StdioServer:
    (place / "server.py").write_text(SERVER)
    (place / "lines.json").write_text(json.dumps(lines))
    command = [sys.executable, str(place / "server.py"), str(place / "lines.json")]
    return StdioServer("s", command=command, handshake=True, deadline_s=120.0)


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_answer_that_cannot_be_read_ends_its_call_alone(tmp_path: Path, name: str) -> None:
    lines = {**UNREADABLE, "fine": FINE}
    async with connect(a_server(tmp_path, lines)) as tools:
        found = await execute(ToolCall("1", f"s_{name}", "{}"), tools)  # not at its deadline
        assert found.is_error
        assert "its answer cannot be read" in found.text
        assert (await execute(ToolCall("2", "s_fine", "{}"), tools)).text == "fine"


async def test_a_name_that_clients_refuse_is_left_out_alone(tmp_path: Path) -> None:
    odd = ["", " ", "b\nc", " b", "e" * 129, "x\u202e"]
    names = [*odd, "ok", "a b", "읽다", "e" * 128]
    async with connect(a_server(tmp_path, dict.fromkeys(names, FINE))) as tools:
        assert list(tools.tools) == ["s_a b", "s_" + "e" * 128, "s_ok", "s_읽다"]
        assert [(each.tool, each.kind) for each in tools.notices] == [
            (name, "unusable") for name in sorted(odd)
        ]
