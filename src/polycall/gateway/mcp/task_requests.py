"""Tasks as the protocol asks for them, in the two forms that it has had.

Clients of 2025-11-25 ask for a task with the call; `tasks/result` waits for its end, and asks a
person on the way.  Clients of 2026-07-28 declare the extension, and get a task where a call takes
long; `tasks/get` has the result or the question, and `tasks/update` the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter

from polycall.errors import PolycallError, StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp.asking import asked_now, is_modern
from polycall.gateway.mcp.task_jobs import Made
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.gateway.mcp.tasks import POLL_MS, Leave, Tasks
from polycall.ir import JSON
from polycall.mcp.asking import Elicitation
from polycall.mcp.content import older_result
from polycall.mcp.tasks import EXTENSION, TASKS_REVISION, UpdateTaskParams

Context = ServerRequestContext[Any, Any]
BeginTask = Callable[[Context, types.CallToolRequestParams], Awaitable[TaskRecord]]
ResumeTask = Callable[[Context, TaskRecord], Made]

_RELATED = "io.modelcontextprotocol/related-task"
_PAGE = 50
_REQUEST: TypeAdapter[types.ElicitRequestParams] = TypeAdapter(types.ElicitRequestParams)


class TaskRequests:
    """Answers `tasks/...`.  `owner_of` says whose request it is."""

    def __init__(
        self,
        tasks: Tasks,
        owner_of: Callable[[Context], Owner],
        begin: BeginTask,
        resume: ResumeTask,
        leave: Leave,
    ) -> None:
        self._tasks = tasks
        self._owner_of = owner_of
        self._begin = begin
        self._resume = resume
        self._leave = leave

    def register(self, server: Server[Any]) -> None:
        """Serve them."""
        server.extensions[EXTENSION] = {}
        server.middleware.append(self._tasked)
        server.add_request_handler("tasks/get", types.GetTaskRequestParams, self._get)
        server.add_request_handler("tasks/result", types.GetTaskPayloadRequestParams, self._result)
        server.add_request_handler("tasks/list", types.PaginatedRequestParams, self._list)
        server.add_request_handler("tasks/update", UpdateTaskParams, self._update)
        server.add_request_handler("tasks/cancel", types.CancelTaskRequestParams, self._cancel)

    async def _tasked(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """A call that asks for a task: the library's own path knows no such answer."""
        params = ctx.params or {}
        is_task = ctx.method == "tools/call" and params.get("task") is not None
        if not is_task or ctx.protocol_version != TASKS_REVISION:
            return await call_next(ctx)
        asked = types.CallToolRequestParams.model_validate(params, by_name=False)
        try:
            record = await self._begin(ctx, asked)
        except PolycallError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        return {"task": shown(record)}

    async def _get(self, context: Context, params: types.GetTaskRequestParams) -> JSON:
        record = await self._found(context, params.task_id)
        if not is_modern(context.session):
            return shown(record)
        return await self._detailed(self._owner_of(context), record)

    async def watch(self, context: Context, name: str, tell: Callable[[JSON], None]) -> None:
        """Say how a task is, and again whenever it is something else, until it has ended."""
        owner = self._owner_of(context)
        said: object = None
        shown_last: JSON = {}
        while True:
            try:
                record = await self._find(context, name)
                if record is None:
                    return
                shown_last = shown_modern(record)
                now = (record.status, record.updated, record.question_name)
                if now != said:
                    tell(await self._detailed(owner, record))
                    said = now
            except StoreError:
                record = None  # it comes back
            except MCPError as error:  # the result is not kept any more
                tell({**shown_last, "status": "failed", "error": _error_of(error)})
                return
            if record is not None and record.is_over:
                return
            await self._tasks.settled(name)

    async def own(self, context: Context, names: list[str]) -> list[str]:
        """Those of the tasks that are there for this key."""
        check_declared(context.session)
        return [name for name in names if await self._find(context, name) is not None]

    async def _detailed(self, owner: Owner, record: TaskRecord) -> JSON:
        """A task with its result, or what it asks, as the extension has it."""
        view = shown_modern(record)
        if record.status == "completed":
            view["result"] = await self._tasks.result(owner, record)
        elif record.status == "failed":
            view["error"] = record.error
        elif record.status == "input_required":
            view["inputRequests"] = {record.question_name: record.question}
        return view

    async def _result(self, context: Context, params: types.GetTaskPayloadRequestParams) -> JSON:
        """The call's result, once it has one; a person is asked on this request's stream."""
        self._only(context, TASKS_REVISION)
        owner = self._owner_of(context)
        asked = ""
        while True:
            record = await self._found(context, params.task_id)
            if record.status == "failed":
                raise MCPError.from_error_data(types.ErrorData.model_validate(record.error))
            if record.status == "cancelled":
                raise MCPError(types.INVALID_PARAMS, f"the task was cancelled: {record.message}")
            if record.status == "completed":
                result = older_result(await self._tasks.result(owner, record))
                meta = {**result.get("_meta", {}), _RELATED: {"taskId": record.id}}
                return {**result, "_meta": meta}
            if record.question is not None and record.question_name != asked:
                asked = record.question_name
                answer = await asked_now(
                    context.session, _elicitation(record.question), context.request_id
                )
                given: JSON = {"action": answer.action, "content": answer.content}
                await self._tasks.answer(owner, record.id, {asked: given})
            await self._tasks.settled(record.id)

    async def _list(self, context: Context, params: types.PaginatedRequestParams) -> JSON:
        self._only(context, TASKS_REVISION)
        resume = partial(self._resume, context)
        records = await self._tasks.all(self._owner_of(context), resume)
        start = 0
        if params.cursor is not None:
            places = [place for place, each in enumerate(records) if each.id == params.cursor]
            if not places:
                raise MCPError(types.INVALID_PARAMS, "the cursor is not ours, or too old")
            start = places[0] + 1
        page = records[start : start + _PAGE]
        answer: JSON = {"tasks": [shown(each) for each in page]}
        if len(records) > start + _PAGE:
            answer["nextCursor"] = page[-1].id
        return answer

    async def _update(self, context: Context, params: UpdateTaskParams) -> JSON:
        self._only(context, modern=True)
        record = await self._found(context, params.task_id)
        await self._tasks.answer(self._owner_of(context), record.id, params.input_responses)
        return {}

    async def _cancel(self, context: Context, params: types.CancelTaskRequestParams) -> JSON:
        owner = self._owner_of(context)
        record = await self._found(context, params.task_id)
        is_cancelled = await self._tasks.cancel(owner, record.id, self._leave)
        if is_modern(context.session):
            return {}
        if not is_cancelled:
            raise MCPError(types.INVALID_PARAMS, f"the task is {record.status} already")
        return shown(await self._found(context, params.task_id))

    async def _found(self, context: Context, name: str) -> TaskRecord:
        if is_modern(context.session):
            check_declared(context.session)
        record = await self._find(context, name)
        if record is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no task {name[:80]!r} for this key")
        return record

    async def _find(self, context: Context, name: str) -> TaskRecord | None:
        owner = self._owner_of(context)
        return await self._tasks.find(owner, name, partial(self._resume, context))

    def _only(self, context: Context, version: str = "", *, modern: bool = False) -> None:
        """Refuse a method that the client's revision does not have."""
        if context.protocol_version != version and not (modern and is_modern(context.session)):
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", data=context.method)


def declares_tasks(session: ServerSession) -> bool:
    """Whether the client takes a task for an answer."""
    capabilities = session.client_capabilities
    return capabilities is not None and EXTENSION in (capabilities.extensions or {})


def check_declared(session: ServerSession) -> None:
    """Refuse a client that does not say that it knows tasks."""
    if not declares_tasks(session):
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"this request needs the extension {EXTENSION} among the client's capabilities",
            data={"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )


def server_capability() -> types.ServerTasksCapability:
    """The capability that the revision before the newest declares."""
    return types.ServerTasksCapability.model_validate(
        {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    )


def created(record: TaskRecord) -> JSON:
    """A task in the place of a call's result."""
    return {"resultType": "task", **shown_modern(record)}


def shown_modern(record: TaskRecord) -> JSON:
    """A task as the extension has it."""
    view = shown(record)
    view["ttlMs"] = view.pop("ttl")
    view["pollIntervalMs"] = view.pop("pollInterval")
    return view


def shown(record: TaskRecord) -> JSON:
    """A task as the revision of 2025-11-25 has it."""
    view: JSON = {
        "taskId": record.id,
        "status": record.status,
        "createdAt": _time(record.created),
        "lastUpdatedAt": _time(record.updated),
        "ttl": record.ttl_ms,
        "pollInterval": POLL_MS,
    }
    if record.message:
        view["statusMessage"] = record.message
    return view


def _error_of(error: MCPError) -> JSON:
    return error.error.model_dump(by_alias=True, exclude_none=True, mode="json")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _elicitation(question: JSON) -> Elicitation:
    """The question that was kept, to be put to a client."""
    params = _REQUEST.validate_python(question["params"], by_name=False)
    if isinstance(params, types.ElicitRequestURLParams):
        return Elicitation("", params.message, url=str(params.url))
    return Elicitation("", params.message, schema=dict(params.requested_schema))
