"""What code mode saves over GitHub's whole interface: `python -m bench.code_mode FOLDER`.

FOLDER is a `node_modules` with `@octokit/openapi`.  Ten tasks are done by scripts in a model's
place: a search, and a program over what it found, against a small interface on loopback.  Beside it
stands what the same calls cost directly, where the definitions of all operations, or of the one
that is needed alone, stand in each of the model's requests.  Tokens are counted by o200k_base where
`polycall[tokens]` is installed.

After that a stock MCP client asks `polycall mcp serve --code` for its definitions and runs a
program in it, in turns with the same program in the sandbox alone.  The CPU is that of the server's
own process, without the sandbox's: a busy machine does not change it much.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from mcp import ClientSession, StdioServerParameters, stdio_client

from polycall.cli.bench.tokens import tokenizer
from polycall.ir import ToolCall
from polycall.sandbox import Sandbox
from polycall.tool_server import CodeToolset, OpenAPITools
from polycall.tools import execute


class Task(NamedTuple):
    """What is searched, the operation that is needed, and the program."""

    query: str
    operation: str
    code: str
    calls: int


_AT = "owner='acme', repo='shop'"
TASKS = [
    Task(
        "list issues of a repository",
        "issues_list_for_repo",
        f"issues = await issues_list_for_repo({_AT}, state='open', per_page=50)\nlen(issues)",
        1,
    ),
    Task(
        "list issues of a repository",
        "issues_list_for_repo",
        "import asyncio\npages = await asyncio.gather(*[issues_list_for_repo("
        f"{_AT}, page=n, per_page=50) for n in range(1, 5)])\n"
        "from collections import Counter\n"
        "Counter(i['user']['login'] for page in pages for i in page).most_common(3)",
        4,
    ),
    Task(
        "create an issue",
        "issues_create",
        f"made = await issues_create({_AT}, body={{'title': 'Tea is cold'}})\nmade['number']",
        1,
    ),
    Task(
        "list pull requests",
        "pulls_list",
        f"pulls = await pulls_list({_AT})\n[p['number'] for p in pulls if p['draft']]",
        1,
    ),
    Task(
        "merge a pull request",
        "pulls_merge",
        f"[(await pulls_merge({_AT}, pull_number=n))['merged'] for n in (1, 2, 3)]",
        3,
    ),
    Task(
        "list commits",
        "repos_list_commits",
        f"commits = await repos_list_commits({_AT}, per_page=50)\ncommits[0]['sha']",
        1,
    ),
    Task(
        "add labels to an issue",
        "issues_add_labels",
        "import asyncio\nawait asyncio.gather(*[issues_add_labels("
        f"{_AT}, issue_number=n, body={{'labels': ['bug']}}) for n in range(10)])\n'done'",
        10,
    ),
    Task(
        "list workflow runs of a repository",
        "actions_list_workflow_runs_for_repo",
        f"runs = await actions_list_workflow_runs_for_repo({_AT})\nlen(runs)",
        1,
    ),
    Task(
        "star a repository",
        "activity_star_repo_for_authenticated_user",
        f"await activity_star_repo_for_authenticated_user({_AT})\n'starred'",
        1,
    ),
    Task(
        "list collaborators",
        "repos_list_collaborators",
        f"people = await repos_list_collaborators({_AT})\n"
        "sorted(p['user']['login'] for p in people)[:3]",
        1,
    ),
]


_FIRST_RUNS, _WARM_RUNS = 20, 240


def _tokens(text: str) -> int:
    return tokenizer()[0](text)


def _cpu_s(name: str) -> float:
    """The CPU that the child whose words have `name` has used."""
    for child in Path("/proc/self/task").glob("*/children"):
        for pid in child.read_text().split():
            if name in Path(f"/proc/{pid}/cmdline").read_text():
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    raise SystemExit(f"no child has {name!r} in its words")


async def measure_server(place: Path, address: str) -> dict[str, Any]:
    """What an MCP client sees of the server, and what a warm program takes next to the sandbox."""
    words = ["-m", "polycall", "mcp", "serve", "--code", "--openapi", str(place)]
    server = StdioServerParameters(
        command=sys.executable, args=[*words, "--address", address], env=dict(os.environ)
    )
    code = {"code": "sum(range(10))"}
    served: list[float] = []
    alone: list[float] = []
    async with (
        stdio_client(server) as streams,
        ClientSession(*streams) as client,
        Sandbox() as sandbox,
        sandbox.session() as session,
    ):
        await client.initialize()
        listed = (await client.list_tools()).tools
        definitions = [[each.name, each.description, each.input_schema] for each in listed]
        cpu_s = 0.0
        for number in range(_WARM_RUNS + _FIRST_RUNS):
            if number == _FIRST_RUNS:
                cpu_s = _cpu_s("--openapi")
            began = time.perf_counter()
            result = await client.call_tool("run", code)
            middle = time.perf_counter()
            await session.run(code["code"])
            ended = time.perf_counter()
            assert not result.is_error, result
            if number >= _FIRST_RUNS:
                served.append(1000 * (middle - began))
                alone.append(1000 * (ended - middle))
        cpu_s = _cpu_s("--openapi") - cpu_s
    return {
        "definitions, tokens": _tokens(json.dumps(definitions, ensure_ascii=False)),
        "warm call, ms": round(statistics.median(served), 2),
        "the sandbox alone, ms": round(statistics.median(alone), 2),
        "CPU a call, ms": round(1000 * cpu_s / _WARM_RUNS, 2),
    }


class _Handler(BaseHTTPRequestHandler):
    """Answers any path with rows, or with one row where something is made."""

    def do_GET(self) -> None:
        count = int(parse_qs(urlsplit(self.path).query).get("per_page", ["30"])[0])
        self._send([_row(number) for number in range(count)])

    def _make(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self._send({**_row(7), "merged": True})

    do_POST = do_PUT = _make  # noqa: N815 - the standard library's names

    def _send(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


def _row(number: int) -> dict[str, Any]:
    return {
        "number": number,
        "sha": f"{number:040x}",
        "title": f"Tea number {number} is too cold to drink",
        "body": "It was hot when it was made, and it was cold when it came. " * 3,
        "draft": number % 3 == 0,
        "state": "open",
        "user": {"login": f"user{number % 7}", "id": number, "type": "User"},
        "labels": [{"name": "bug", "color": "ff0000"}],
        "html_url": f"https://github.example/acme/shop/issues/{number}",
    }


async def measure(document: dict[str, Any], address: str) -> list[dict[str, Any]]:
    """One row for each task."""
    api = OpenAPITools(document, address)
    definitions = {
        name: json.dumps([name, each.description, each.parameters])
        for name, each in api.tools.items()
    }
    everything = sum(map(_tokens, definitions.values()))
    rows: list[dict[str, Any]] = []
    async with Sandbox() as sandbox:

        async def opened() -> Sandbox:
            return sandbox

        spaces = {name: api.namespace(name) for name in api.tools}
        tools = CodeToolset(
            api, opened, implicit=lambda: "one", namespaces=spaces, result_schema=api.result_schema
        )
        own = _tokens(
            json.dumps([[each.name, each.description, each.parameters] for each in tools])
        )
        for task in TASKS:
            search = await execute(
                ToolCall("c1", "search", json.dumps({"query": task.query})), tools
            )
            call = ToolCall("c2", "run", json.dumps({"code": task.code}))
            done = await execute(call, tools)
            answer = (await _answer(api, task)) * task.calls
            talk = _tokens(search.text + task.code + done.text)
            rows.append(
                {
                    "task": task.query,
                    "found": task.operation in search.text,
                    "done": not done.is_error,
                    # The model is asked three times: to search, to write, to answer.
                    "code mode": 3 * own + talk + _tokens(search.text),
                    "direct, that one tool": 2 * _tokens(definitions[task.operation])
                    + _tokens(answer),
                    "direct, all tools": 2 * everything + _tokens(answer),
                }
            )
        await tools.close()
    await api.close()
    return rows


async def _answer(api: OpenAPITools, task: Task) -> str:
    """What one of the task's calls gives, as a model that calls directly reads it."""
    arguments = {"owner": "acme", "repo": "shop", "per_page": 50}
    known = api.tools[task.operation].parameters["properties"]
    for name in known:
        if name.endswith("_number"):
            arguments[name] = 1
    given = {name: value for name, value in arguments.items() if name in known}
    if "body" in known and task.operation in ("issues_create", "issues_add_labels"):
        given["body"] = {"title": "x", "labels": ["bug"]}  # pyright: ignore[reportArgumentType]
    return (await execute(ToolCall("c", task.operation, json.dumps(given)), api)).text


def main() -> None:
    """Print the rows and their sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    place = options.folder / "@octokit/openapi/generated/api.github.com.json"
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    rows = asyncio.run(measure(json.loads(place.read_text()), address))
    seen = asyncio.run(measure_server(place, address))
    server.shutdown()
    server.server_close()
    for row in rows:
        print(row)
    for name in ("code mode", "direct, that one tool", "direct, all tools"):
        print(f"{name}: {sum(row[name] for row in rows):,} tokens")
    print(f"{sum(row['found'] and row['done'] for row in rows)} of {len(rows)} tasks done")
    print(seen, f"(tokens: {tokenizer()[1]})")


if __name__ == "__main__":
    main()
