"""Servers' tasks: a call whose result comes later, in the two forms that the protocol has had.

A task outlives the connection that it was begun on: a client that knows its id can wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar, cast

import mcp_types as types
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession
from mcp.shared.dispatcher import CallOptions
from mcp.shared.inbound import MCP_NAME_HEADER, encode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from msgspec import Struct
from pydantic import BaseModel, TypeAdapter

from polycall.errors import ToolServerError
from polycall.ir import JSON
from polycall.mcp.pieces import tool_result

EXTENSION = "io.modelcontextprotocol/tasks"
TASKS_REVISION = "2025-11-25"  # in which tasks are no extension

T = TypeVar("T")
Report = Callable[[str], Awaitable[None]]


class ServerTask(Struct, eq=False, omit_defaults=True):
    """A server's task; `place` says which server it is, to who keeps it.

    One that `is_left` continues at its server when nobody waits for it any more.
    """

    id: str
    place: str = ""
    is_left: bool = False
    is_cancelled: bool = False  # the server is informed


class TaskForgottenError(ToolServerError):
    """A server does not know a task that it began."""


Begun = Callable[[ServerTask], None]

_POLL_S, _POLL_S_MIN, _POLL_S_MAX = 1.0, 0.1, 30.0
_CANCEL_S = 5.0
_ASKED_MAX = 100  # questions of one task
_ID_CHARS_MAX = 1_000
_TTL_MS = 3_600_000
_UNKNOWN = (types.INVALID_PARAMS, types.METHOD_NOT_FOUND, -32002)  # the last: a resource, once
_REQUEST: TypeAdapter[types.InputRequest] = TypeAdapter(types.InputRequest)

_cancelling: set[asyncio.Task[Any]] = set()


class UpdateTaskParams(types.RequestParams):
    """The parameters of `tasks/update`."""

    task_id: str
    input_responses: dict[str, Any]


class _TaskRequest(types.Request[Any, str]):
    """A request for one task; `Mcp-Name` says which."""

    method: str
    params: types.GetTaskRequestParams | UpdateTaskParams
    name_param = "taskId"


class TaskHandle(types.Result):
    """A task in the place of a result."""

    result_type: Literal["task"] = "task"
    task_id: str
    poll_interval_ms: float | None = None


class TaskExtension(ClientExtension):
    """The extension for the protocol's client: says that tasks are taken, and waits for their
    results.
    """

    identifier = EXTENSION

    def __init__(self, report: Report, begun: Begun = lambda _: None) -> None:
        self._report = report
        self._begun = begun

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return (ResultClaim(result_type="task", model=TaskHandle, resolve=self._resolve),)

    async def _resolve(self, handle: TaskHandle, context: ClaimContext) -> types.CallToolResult:
        session, task = context.session, _task(handle.task_id)
        self._begun(task)
        pause_s = _pause_s(handle.poll_interval_ms)
        return await _watched(session, task, _finished(session, task.id, self._report, pause_s))


async def call_as_task(
    session: ClientSession, name: str, arguments: JSON, report: Report, begun: Begun
) -> types.CallToolResult:
    """Call a tool of a server that runs it as a task alone (the revision of 2025-11-25)."""
    made = await begin_task(session, name, arguments, _TTL_MS)
    task = _task(made.task_id)
    begun(task)
    pause_s = _pause_s(made.poll_interval)
    result = await _watched(session, task, _fetched(session, task.id, report, pause_s))
    await session.validate_tool_result(name, result)
    return result


async def resume_task(
    client: Client, name: str, task: ServerTask, report: Report
) -> types.CallToolResult:
    """The result of a task that was begun before, maybe by another process; `name` is its tool."""
    session = client.session
    is_modern = client.protocol_version in MODERN_PROTOCOL_VERSIONS
    waiting = (_finished if is_modern else _fetched)(session, task.id, report, 0.0)
    result = await _watched(session, task, waiting)
    await session.validate_tool_result(name, result)
    return result


async def cancel_task(session: ClientSession, name: str) -> None:
    """Tell a server that nobody waits for its task any more."""
    await _asked(session, "tasks/cancel", types.GetTaskRequestParams(task_id=name))


def _task(name: str) -> ServerTask:
    if not 0 < len(name) <= _ID_CHARS_MAX:
        raise ValueError(f"the id of a task has {len(name):,} characters, and not 1 to 1,000")
    return ServerTask(name)


async def begin_task(session: ClientSession, name: str, arguments: JSON, ttl_ms: int) -> types.Task:
    """Ask for a call as a task."""
    ttl = types.TaskMetadata(ttl=ttl_ms)
    params = types.CallToolRequestParams(name=name, arguments=arguments, task=ttl)
    request = types.CallToolRequest(params=params)
    # The session takes no answer to a call but its result.
    answer = await _raw_answer(session, request)
    return types.CreateTaskResult.model_validate(answer, by_name=False).task


async def _fetched(
    session: ClientSession, name: str, report: Report, pause_s: float
) -> types.CallToolResult:
    """The result of a task of 2025-11-25; what it asks meanwhile comes on the connection."""
    while True:
        await asyncio.sleep(pause_s)
        task = types.Task.model_validate(await _state(session, name), by_name=False)
        if task.status_message:
            await report(task.status_message)
        if task.status != "working":
            break
        pause_s = _pause_s(task.poll_interval)
    answer = await _asked(session, "tasks/result", types.GetTaskRequestParams(task_id=name))
    return await tool_result(answer)


async def _finished(
    session: ClientSession, name: str, report: Report, pause_s: float
) -> types.CallToolResult:
    """The result of a task of the extension; its questions are answered on the way."""
    answered: set[str] = set()
    while True:
        task = await _state(session, name)
        match task.get("status"):
            case "completed":
                return await tool_result(task.get("result"))
            case "failed":
                raise MCPError.from_error_data(types.ErrorData.model_validate(task.get("error")))
            case "cancelled":
                raise MCPError(types.INTERNAL_ERROR, f"the server cancelled the task {name[:80]!r}")
            case "input_required":
                await _answer(session, name, task.get("inputRequests"), answered)
            case _:
                pass
        if isinstance(task.get("statusMessage"), str):
            await report(task["statusMessage"])
        if "pollIntervalMs" in task or not pause_s:
            pause_s = _pause_s(task.get("pollIntervalMs"))
        await asyncio.sleep(pause_s)


async def _state(session: ClientSession, name: str) -> JSON:
    """The state of a task; `TaskForgottenError` where its server does not know it."""
    try:
        return await _asked(session, "tasks/get", types.GetTaskRequestParams(task_id=name))
    except MCPError as error:
        if error.code not in _UNKNOWN:
            raise
        raise TaskForgottenError(f"{error.message[:200]!r}") from None


async def _answer(session: ClientSession, name: str, asked: Any, answered: set[str]) -> None:
    """Answer what a task asks, each question once."""
    requests = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
    responses: JSON = {}
    for key, value in requests.items():
        if key in answered:
            continue
        if len(answered) >= _ASKED_MAX:
            raise MCPError(types.INTERNAL_ERROR, f"a task asks more than {_ASKED_MAX} questions")
        answered.add(key)
        request = _REQUEST.validate_python(value, by_name=False)
        meta = request.params.meta if request.params else None
        context = ClientRequestContext(session=session, request_id=key, meta=meta)
        answer = await session.dispatch_input_request(context, request)
        if isinstance(answer, types.ErrorData):
            raise MCPError.from_error_data(answer)
        responses[key] = answer.model_dump(by_alias=True, exclude_none=True, mode="json")
    if responses:
        params = UpdateTaskParams(task_id=name, input_responses=responses)
        await _asked(session, "tasks/update", params)


async def _asked(session: ClientSession, method: str, params: BaseModel) -> JSON:
    return await _raw_answer(
        session, _TaskRequest.model_validate({"method": method, "params": params})
    )


async def _raw_answer(session: ClientSession, request: types.Request[Any, Any]) -> JSON:
    """The answer as it came: the session would read and copy all of it."""
    data = request.model_dump(by_alias=True, mode="json", exclude_none=True)
    options: CallOptions = {}
    session._stamp(data, options)  # pyright: ignore[reportPrivateUsage]
    if (key := type(request).name_param) is not None:
        name = encode_header_value(data["params"][key])
        options.setdefault("headers", {}).setdefault(MCP_NAME_HEADER, name)
    sending = session._dispatcher  # pyright: ignore[reportPrivateUsage]
    return await sending.send_raw_request(data["method"], data["params"], options)


async def _watched(session: ClientSession, task: ServerTask, waiting: Awaitable[T]) -> T:
    """The result; where nobody waits for it any more, the server is informed."""
    try:
        return await waiting
    except BaseException as error:
        if not isinstance(error, MCPError | TaskForgottenError) and not task.is_left:
            task.is_cancelled = True
            telling = asyncio.ensure_future(_cancelled(session, task.id))
            _cancelling.add(telling)
            telling.add_done_callback(_cancelling.discard)
        raise


async def _cancelled(session: ClientSession, name: str) -> None:
    try:
        async with asyncio.timeout(_CANCEL_S):
            await cancel_task(session, name)
    except Exception:  # noqa: BLE001, S110 - the task has ended, or the connection: there is nothing to tell
        pass


def _pause_s(wanted_ms: Any) -> float:
    """The seconds to wait before the next look."""
    is_number = isinstance(wanted_ms, int | float) and not isinstance(wanted_ms, bool)
    if not is_number or wanted_ms != wanted_ms:  # noqa: PLR0124 - of NaN, a loop makes no pause
        return _POLL_S
    return min(max(wanted_ms, 1000 * _POLL_S_MIN), 1000 * _POLL_S_MAX) / 1000
