"""Claude Code at the gateway's `/mcp`; a simulation plays its model.  What that model is shown.

A feature is there where its model sees it, or where the wire shows that Claude Code uses it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

from polycall.ir import JSON
from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_wire import Wire

MODEL = "claude-opus-5-5"
START = "mcp__team__stock_"
ANSWER = {"approve": True, "name": "영희"}


class Ran(NamedTuple):
    """Its requests to the model, its own log, and what passed on the wire."""

    requests: list[dict[str, Any]]
    log: str
    wire: Wire

    def result(self, place: int) -> str:
        """What the model got of the call at this place of the first turn."""
        (results,) = [
            found
            for request in self.requests[1:2]
            if (found := [b for m in request["messages"] for b in _blocks(m) if _is_result(b)])
        ]
        return json.dumps(results[place], ensure_ascii=False)


def _blocks(message: dict[str, Any]) -> list[Any]:
    content: Any = message["content"]
    return cast("list[Any]", content) if isinstance(content, list) else [content]


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and cast("JSON", block).get("type") == "tool_result"


class ClaudeCode:
    """Runs it, each time in a home of its own."""

    def __init__(self, command: Path, sim: Simulation, gateway: Gateway, folder: Path) -> None:
        self._command, self._sim, self._gateway, self._folder = command, sim, gateway, folder
        self._number = 0

    def run(self, prompt: str, turns: list[Turn], **more: str) -> Ran:
        """One prompt to its end; `more` goes into the environment."""
        before = len(self._sim.requests)
        self._sim.script("anthropic", MODEL, turns)
        self._number += 1
        folder = self._folder / str(self._number)
        (folder / "work").mkdir(parents=True)
        wire = Wire(self._gateway.port)
        url = f"http://127.0.0.1:{wire.port}/mcp"
        team = {"type": "http", "url": url, "headers": {"Authorization": f"Bearer {KEY}"}}
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"team": team}}))
        said = {"hookEventName": "Elicitation", "action": "accept", "content": ANSWER}
        answer = shlex.quote(json.dumps({"hookSpecificOutput": said}))
        hook = {"hooks": [{"type": "command", "command": f"cat > /dev/null; echo {answer}"}]}
        (folder / "settings.json").write_text(json.dumps({"hooks": {"Elicitation": [hook]}}))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ANTHROPIC_BASE_URL": self._sim.base_url("anthropic"),
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_MODEL": MODEL,
            "ANTHROPIC_SMALL_FAST_MODEL": "claude-haiku-4-5",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",
            "MCP_CONNECTION_NONBLOCKING": "0",  # else its model is asked before the tools are there
            "MCP_TIMEOUT": "60000",
            "ENABLE_TOOL_SEARCH": "false",  # all tools in the request, where they can be seen
            **more,
        }
        words = [str(self._command), "-p", prompt, "--dangerously-skip-permissions"]
        words += ["--mcp-config", str(folder / "mcp.json"), "--strict-mcp-config"]
        words += ["--settings", str(folder / "settings.json")]
        words += ["--debug-file", str(folder / "log"), "--output-format", "json"]
        done = subprocess.run(
            words,
            cwd=folder / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-800:]
        assert self._sim.remaining("anthropic", MODEL) == 0
        bodies = [cast("JSON", each.body) for each in list(self._sim.requests)[before:]]
        requests = [body for body in bodies if body and body.get("tools")]
        return Ran(requests, (folder / "log").read_text("utf-8"), wire)


def cell(*, is_there: bool, why: str = "") -> str:
    return "yes" if is_there else f"no: {why[-300:]}"


def observe(
    command: Path, sim: Simulation, gateway: Gateway, folder: Path, server_log: Path
) -> dict[str, str]:
    """A cell for each feature."""
    code = ClaudeCode(command, sim, gateway, folder)

    def calls(tool: str, **arguments: Any) -> Call:
        return Call(f"{START}{tool}", arguments)

    uri = "polycall://stock/memo://today"
    first = {
        "add": calls("add", a=2, b=3),
        "add again": calls("add", a=3, b=4),
        "rows": calls("rows"),
        "picture": calls("picture"),
        "sound": calls("sound"),
        "fail": calls("fail"),
        "ask": calls("ask_name"),
        "remove": calls("remove", path="/by-claude-code"),
        "nap": calls("nap", seconds=0.3),
        "list": Call("ListMcpResourcesTool", {}),
        "read": Call("ReadMcpResourceTool", {"server": "team", "uri": uri}),
    }
    ran = code.run("Use the tools.", [Turn(calls=list(first.values())), Turn("Done.")])
    results = {name: ran.result(place) for place, name in enumerate(first)}
    wire = ran.wire
    offered = json.dumps(ran.requests[0]["tools"])

    def has(name: str, expected: str) -> str:
        return cell(is_there=expected in results[name], why=results[name])

    version = re.search(r'"protocolVersion":"([-\d]+)"', wire.heard)
    # Tools that say that they only read are called at once; others one after the other.
    order = [line for line in ran.log.splitlines() if "stock_add" in line]
    at_once = [each for each in order if "Calling" in each or "completed" in each][:2]
    seen = {
        "revision": version[1] if version else "?",
        "tools": cell(is_there=f'"{START}add"' in offered),
        "pages": cell(is_there=f'"{START}tool_299"' in offered),
        "annotations": cell(is_there=all("Calling" in each for each in at_once), why=str(at_once)),
        "calls": has("add", "5"),
        "errors": has("fail", '"is_error": true'),
        "structured content": has("rows", "도쿄"),
        "pictures": has("picture", '"image/png"'),
        "audio": has("sound", "audio/wav"),
        "resources": has("list", uri),
        "pages of resources": has("list", "memo://z/299"),
        "reading": has("read", "오늘"),
        "forms": has("ask", "accept: 영희"),
        "approval": has("remove", "removed /by-claude-code"),
    }
    if "progressToken" in wire.said:
        seen["progress"] = cell(is_there="notifications/progress" in wire.heard)
    wire.close()
    ran = code.run("/mcp__team__stock_review code", [Turn("Done.")])
    asked = json.dumps(ran.requests[0]["messages"])
    seen["prompts"] = cell(is_there="Review this: code" in asked, why=asked)
    ran.wire.close()
    # Its own limit for a call, in milliseconds: it gives up, and says so.
    ran = code.run(
        "Sleep.", [Turn(calls=[calls("nap", seconds=90)]), Turn("Done.")], MCP_TOOL_TIMEOUT="4000"
    )
    is_told = "notifications/cancelled" in ran.wire.said
    is_over = _wait_for(server_log, "nap cancelled")
    seen["cancellation"] = cell(is_there=is_told and is_over, why=ran.result(0))
    ran.wire.close()
    return seen


def _wait_for(log: Path, line: str, within_s: float = 60) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if log.exists() and line in log.read_text("utf-8"):
            return True
        time.sleep(0.1)
    return False
