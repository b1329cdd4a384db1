"""A server whose calls are tasks of its own: `python mcp_task_server.py PORT FOLDER`.

It speaks both forms of tasks.  `build` begins one, which ends with the words in FOLDER/done.
FOLDER/log has a line for each call, each task that was cancelled and each result that was fetched.
FOLDER/forget makes it forget all tasks, FOLDER/lose all sessions.  Tasks lie in FOLDER/tasks, and
outlive the process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

EXTENSION = "io.modelcontextprotocol/tasks"
TIME = "2026-11-30T00:00:00Z"
FOLDER = Path(sys.argv[2])
TASKS = FOLDER / "tasks"


def note(what: str) -> None:
    with (FOLDER / "log").open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")


def is_modern(context: Any) -> bool:
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def result_of(words: str) -> dict[str, Any]:
    data = json.loads(words) if words.startswith("{") else {"result": words}
    return {"content": [{"type": "text", "text": words}], "structuredContent": data}


def shown(name: str, *, modern: bool) -> dict[str, Any]:
    """A task as it is now."""
    table = json.loads(TASKS.read_text()) if TASKS.exists() else {}
    if name not in table or (FOLDER / "forget").exists():
        raise MCPError(types.INVALID_PARAMS, f"Task not found: {name}")
    status, done = table[name], FOLDER / "done"
    if status == "working" and done.exists():
        status = "completed"
    form = ("ttlMs", "pollIntervalMs") if modern else ("ttl", "pollInterval")
    view = {"taskId": name, "status": status, "createdAt": TIME, "lastUpdatedAt": TIME}
    view |= {form[0]: 60_000, form[1]: 100, "statusMessage": "building"}
    if modern and status == "completed":
        note(f"result {name}")
        view["result"] = result_of(done.read_text())
    return view


def change(name: str, status: str) -> None:
    table = json.loads(TASKS.read_text()) if TASKS.exists() else {}
    TASKS.write_text(json.dumps(table | {name: status}))


def begin(params: dict[str, Any]) -> str:
    name = uuid4().hex
    change(name, "working")
    note(f"build {params['arguments']['what']}")
    return name


async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
    del context, params
    text = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
    output = {"type": "object", "properties": {"result": {"type": "string"}}}
    tool = types.Tool.model_validate(
        {
            "name": "build",
            "description": "Build it.",
            "inputSchema": text,
            "outputSchema": output | {"required": ["result"]},
            "execution": {"taskSupport": "required"},
        }
    )
    return types.ListToolsResult(tools=[tool])


async def call_tool(context: Any, params: types.CallToolRequestParams) -> Any:
    name = begin(params.model_dump(by_alias=True))
    return {"resultType": "task", **shown(name, modern=is_modern(context))}


async def as_task(context: Any, call_next: Any) -> Any:
    params = context.params or {}
    if context.method == "tools/call" and params.get("task") is not None:
        return {"task": shown(begin(params), modern=False)}
    return await call_next(context)


async def get(context: Any, params: types.GetTaskRequestParams) -> Any:
    return shown(params.task_id, modern=is_modern(context))


async def result(context: Any, params: types.GetTaskPayloadRequestParams) -> Any:
    del context
    shown(params.task_id, modern=False)
    note(f"result {params.task_id}")
    return result_of((FOLDER / "done").read_text())


async def cancel(context: Any, params: types.CancelTaskRequestParams) -> Any:
    change(params.task_id, "cancelled")
    note("cancelled")
    return {} if is_modern(context) else shown(params.task_id, modern=False)


server: Server[Any] = Server("tasks", on_list_tools=list_tools, on_call_tool=call_tool)
server.extensions[EXTENSION] = {}
server.middleware.append(as_task)
server.add_request_handler("tasks/get", types.GetTaskRequestParams, get)
server.add_request_handler("tasks/result", types.GetTaskPayloadRequestParams, result)
server.add_request_handler("tasks/cancel", types.CancelTaskRequestParams, cancel)
app: Any = server.streamable_http_app(streamable_http_path="/mcp")


async def losing(scope: Any, receive: Any, send: Any) -> None:
    """Whoever has a session is told, once, that it is over."""
    lose = FOLDER / "lose"
    if scope["type"] == "http" and lose.exists() and b"mcp-session-id" in dict(scope["headers"]):
        lose.unlink()
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await app(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(losing, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
