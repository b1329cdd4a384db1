"""The handlers of the protocol's requests, for the servers that a path stands for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple, cast

import mcp_types as types
import msgspec
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError

from polycall._support import jsontext
from polycall.errors import InvalidRequestError, PolycallError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp.asking import (
    Approvals,
    Parked,
    Running,
    answer_in,
    approval_question,
    asked_now,
    call_key,
    can_be_asked,
    input_required,
    is_approved,
    is_modern,
)
from polycall.gateway.mcp.calls import CallScope, McpRequest, ToolCalls, failed, served
from polycall.gateway.mcp.code import CodeModes
from polycall.gateway.mcp.hub import OfferedTool
from polycall.gateway.mcp.log_messages import ClientLogs
from polycall.gateway.mcp.long_answers import put_back, sent_apart
from polycall.gateway.mcp.offers import SCHEME, Offers
from polycall.gateway.mcp.pages import page_of
from polycall.gateway.mcp.resuming import Resumer
from polycall.gateway.mcp.sampling import Application, Sampler
from polycall.gateway.mcp.subscriptions import SCOPE, Subscriptions
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.gateway.mcp.task_requests import (
    TaskRequests,
    created,
    declares_tasks,
    server_capability,
)
from polycall.gateway.mcp.tasks import Tasks
from polycall.gateway.store import Store
from polycall.ir import JSON, Text, ToolResult
from polycall.mcp.asking import Elicitation, ElicitationAnswer
from polycall.mcp.connection import Kind
from polycall.mcp.content import older_result, older_tool, whole
from polycall.tool_server.code_mode import run_schema, search_schema
from polycall.tools.validate import SchemaChecker

logger = logging.getLogger("polycall.mcp")

Context = ServerRequestContext[Any, Any]

_DEPTH_MAX = 200
_SESSION_HEADER = b"mcp-session-id"
_NOBODY = (
    "{!r} needs a person's approval, and your client says nobody can be asked (elicitation); "
    "nothing was run"
)


class Handlers:
    """One for the process.  `close` ends what is waiting."""

    def __init__(
        self,
        calls: ToolCalls,
        offers: Offers,
        codes: CodeModes,
        store: Store,
        application: Application,
    ) -> None:
        self._calls = calls
        self._offers = offers
        self._codes = codes
        self._application = application
        self._approvals = Approvals(store)
        self._parked = Parked(store)
        self._tasks = Tasks(store, calls.worker)
        self._resumer = Resumer(calls, self._scope)
        self._task_requests = TaskRequests(
            self._tasks, _owner, self.begin_task, self._resumed, self._resumer.leave
        )
        self._subscriptions = Subscriptions(offers, self._task_requests)
        self._logs = ClientLogs()
        self._checkers = {
            "search": SchemaChecker(search_schema(), label="search"),
            "run": SchemaChecker(run_schema(), label="run"),
        }

    def server(self) -> Server[Any]:
        """The server for the protocol's library to run."""
        server = _Server(
            "polycall",
            version=version("polycall"),
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_list_resources=self.list_resources,
            on_list_resource_templates=self.list_templates,
            on_read_resource=self.read_resource,
            on_list_prompts=self.list_prompts,
            on_get_prompt=self.get_prompt,
            on_completion=self.complete,
        )
        self._subscriptions.register(server)
        self._logs.register(server)
        self._task_requests.register(server)
        server.middleware.append(put_back)
        server.get_tool_input_schema = self._calls.input_schema
        return server

    async def close(self) -> None:
        """End what is waiting."""
        await self._offers.updates.close()
        await self._tasks.close()
        await self._parked.close()

    async def changed(self, kind: Kind) -> None:
        """Tell clients that there are other tools, prompts or resources now."""
        await self._subscriptions.changed(kind)

    # Lists

    async def list_tools(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        asked = _asked(context)
        self._subscriptions.met(context)
        opened = await self._calls.offered(asked.owner, asked.names)
        if asked.is_code:
            made = await self._codes.definitions(opened, asked.names)
            return types.ListToolsResult(tools=[types.Tool.model_validate(each) for each in made])
        page, cursor = page_of(
            list(opened.values()), params, lambda each: each.name, lambda each: each.size_bytes
        )
        wires = await asyncio.to_thread(lambda: [each.wire for each in page])
        if not is_modern(context.session):
            wires = list(map(older_tool, wires))
        return types.ListToolsResult(tools=wires, next_cursor=cursor)

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        asked = _asked(context)
        self._subscriptions.met(context)
        found = await self._offers.resources(asked)
        page, cursor = page_of(found, params, lambda each: each.uri)
        return types.ListResourcesResult(resources=page, next_cursor=cursor)

    async def list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        asked = _asked(context)
        found = await self._offers.templates(asked)
        page, cursor = page_of(found, params, lambda each: each.uri_template)
        return types.ListResourceTemplatesResult(resource_templates=page, next_cursor=cursor)

    async def list_prompts(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        asked = _asked(context)
        self._subscriptions.met(context)
        found = await self._offers.prompts(asked)
        page, cursor = page_of(found, params, lambda each: each.name)
        return types.ListPromptsResult(prompts=page, next_cursor=cursor)

    # One of them

    async def read_resource(self, context: Context, params: types.ReadResourceRequestParams) -> Any:
        asked = _asked(context)
        with _refusing():
            return sent_apart(await self._offers.read(asked, params.uri))

    async def get_prompt(self, context: Context, params: types.GetPromptRequestParams) -> Any:
        asked = _asked(context)
        with _refusing():
            return sent_apart(await self._offers.prompt(asked, params.name, params.arguments))

    async def complete(
        self, context: Context, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        asked = _asked(context)
        with _refusing():
            return await self._offers.complete(asked, params)

    # Calls

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> Any:
        asked = _asked(context)
        try:
            arguments_json = _arguments_json(params)
        except ValueError as error:
            return failed(str(error))
        key = call_key(params.name, arguments_json)
        owner = asked.owner.id
        running = None
        if params.request_state is not None:
            running = self._parked.take(owner, key, params.request_state)
        if running is not None:
            running.listen(_reporter(context), self._logs.listener(context))
            running.answer(answer_in(params.input_responses))
        else:
            work = await self._work(context, params, arguments_json)
            if isinstance(work, dict):
                return work
            if work.offered is not None:
                question = await self._unapproved(context, work.offered, params, arguments_json)
                if question is not None:
                    return question
            running = Running(work.make, _reporter(context), self._logs.listener(context))
        return await self._until_done(context, params.name, key, running)

    async def begin_task(self, context: Context, params: types.CallToolRequestParams) -> TaskRecord:
        """Make a call as a task; a person is asked while it waits."""
        try:
            arguments_json = _arguments_json(params)
        except ValueError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        work = await self._work(context, params, arguments_json)
        if isinstance(work, dict):
            raise MCPError(types.INVALID_PARAMS, work["content"][0]["text"])
        made, offered = work.make, work.offered
        if offered is not None and offered.own.needs_approval:
            if not can_be_asked(context.session):
                raise MCPError(types.INVALID_PARAMS, _NOBODY.format(offered.name))
            question = approval_question(offered.name, offered.member.name, arguments_json)

            async def approved(running: Running[JSON]) -> JSON:
                answer = await running.ask(question)
                if not is_approved(answer):
                    return failed(_refusal(params.name, answer))
                return await work.make(running)

            made = approved
        ttl_ms = params.task.ttl if params.task is not None else None
        return await self._begin(context, params.name, lambda: Running(made), ttl_ms=ttl_ms)

    def take_up(self, owner: Owner, name: str) -> bool:
        """See to a task whose process may be gone; false where that has to wait."""
        return self._tasks.take_up(owner, name, partial(self._resumer.alone, owner))

    def _resumed(self, context: Context, record: TaskRecord) -> Running[JSON]:
        return self._resumer.running(_asked(context), record)

    async def _begin(
        self,
        context: Context,
        tool: str,
        make: Callable[[], Running[JSON]],
        **more: Any,
    ) -> TaskRecord:
        asked = _asked(context)
        name = "" if asked.is_code else self._calls.server_of(asked.names, tool)
        can_ask = can_be_asked(context.session)
        return await self._tasks.begin(asked.owner, tool, name, make, can_ask=can_ask, **more)

    async def _work(
        self, context: Context, params: types.CallToolRequestParams, arguments_json: str
    ) -> _Work | JSON:
        """The function that makes the call, or why it cannot be made."""
        asked = _asked(context)
        if asked.is_code:
            if params.name not in self._checkers:
                words = "there are two tools, 'search' and 'run', and no"
                return failed(f"{words} {params.name[:200]!r}")
            return _Work(partial(self._code, asked, params))
        offered = await self._calls.find(asked.owner, asked.names, params.name)
        if offered is None:
            held = self._calls.withheld(asked.owner, params.name)
            return failed(held or f"there is no tool {params.name[:200]!r} for this key")
        return _Work(partial(self._direct, asked, offered, arguments_json), offered)

    async def _until_done(
        self, context: Context, tool: str, key: str, running: Running[JSON]
    ) -> Any:
        """The result; questions on the way go to the client as it can be asked.

        For a client that takes tasks, a call that takes long becomes one.
        """
        asked = _asked(context)
        within_s = None
        if is_modern(context.session) and declares_tasks(context.session):
            own = "" if asked.is_code else self._calls.server_of(asked.names, tool)
            within_s = self._calls.task_after_s([own] if own else asked.names)
        while True:
            found = await running.next(within_s)
            if found is None:
                within_s = None
                # Where there are too many, or no store, the client waits as others do.
                try:
                    record = await self._begin(context, tool, lambda: running, going=running)
                except PolycallError:
                    continue
                except BaseException:
                    running.cancel()
                    raise
                return created(record)
            elif not isinstance(found, Elicitation):
                return sent_apart(found if is_modern(context.session) else older_result(found))
            elif not can_be_asked(context.session):
                running.answer(ElicitationAnswer("decline"))
            elif is_modern(context.session):
                return input_required(found, self._parked.park(asked.owner.id, key, running))
            else:
                try:
                    answer = await asked_now(context.session, found, context.request_id)
                except BaseException:
                    running.cancel()
                    raise
                running.answer(answer)

    async def _unapproved(
        self,
        context: Context,
        offered: OfferedTool,
        params: types.CallToolRequestParams,
        arguments_json: str,
    ) -> JSON | types.InputRequiredResult | None:
        """The answer where a person has not allowed the call yet."""
        tool, owner = offered.tool, _asked(context).owner.id
        if not tool.needs_approval:
            return None
        if not can_be_asked(context.session):
            return failed(_NOBODY.format(tool.name))
        try:
            question = approval_question(tool.name, offered.member.name, arguments_json)
        except InvalidRequestError as error:
            return failed(str(error))
        if not is_modern(context.session):
            answer = await asked_now(context.session, question, context.request_id)
            return None if is_approved(answer) else failed(_refusal(tool.name, answer))
        if params.request_state is None:
            token = self._approvals.token(owner, tool.name, arguments_json)
            return input_required(question, token)
        answer = answer_in(params.input_responses)
        if not is_approved(answer):
            return failed(_refusal(tool.name, answer))
        is_good = await self._approvals.is_good(
            owner, params.request_state, tool.name, arguments_json
        )
        if not is_good:
            return failed("the approval is for another call, too old, or was used; nothing was run")
        return None

    async def _direct(
        self,
        asked: McpRequest,
        offered: OfferedTool,
        arguments_json: str,
        running: Running[Any],
    ) -> JSON:
        scope = self._scope(asked, running, offered)
        outcome = await self._calls.call(offered, arguments_json, scope, reporter=running.report)
        return outcome.served

    async def _code(
        self,
        asked: McpRequest,
        params: types.CallToolRequestParams,
        running: Running[Any],
    ) -> JSON:
        arguments = params.arguments or {}
        problems = self._checkers[params.name].problems(arguments)
        if problems:
            return failed(problems[0].message)
        opened = await self._calls.offered(asked.owner, asked.names)
        scope = self._scope(asked, running, None)
        try:
            if params.name == "search":
                text = await self._codes.search(opened, asked.names, scope, arguments)
                return served(ToolResult("", [Text(text)]))
            headers = asked.gateway_request.headers
            implicit = headers.get(_SESSION_HEADER, b"").decode("latin-1")
            result = await self._codes.run(opened, asked.names, scope, arguments, implicit=implicit)
        except PolycallError as error:
            return failed(str(error))
        return served(result)

    def _scope(
        self, asked: McpRequest, running: Running[Any], offered: OfferedTool | None
    ) -> CallScope:
        gateway_request = asked.gateway_request
        scope = CallScope(asked.owner, gateway_request.id, gateway_request.headers, ask=running.ask)
        scope.begun, scope.log = running.begun, running.log
        scope.log_level = None if running.listener is None else running.listener.level
        if offered is not None:
            scope.tasked = running.tasked
        if offered is not None and not asked.is_one:
            scope.links = f"{SCHEME}{offered.member.name}/"
        if offered is not None and offered.member.settings.sampling:
            scope.sample = Sampler(
                self._application,
                offered.member.settings,
                gateway_request.headers,
                gateway_request.query,
            )
        return scope


class _Server(Server[Any]):
    """The library's server, which says that its list of tools may change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        said = notification_options or NotificationOptions(
            tools_changed=True, prompts_changed=True, resources_changed=True
        )
        # Extensions belong to the newest revision, which has no such options.
        made = super().create_initialization_options(said, experimental_capabilities, {})
        made.capabilities.extensions = None
        made.capabilities.tasks = server_capability()
        return made


class _refusing:  # noqa: N801 - reads as what it does
    """Errors of ours as the protocol's."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, PolycallError):
            raise MCPError(code=types.INVALID_PARAMS, message=str(error)) from None


class _Work(NamedTuple):
    """The function that makes a call, and its tool, where it is one tool's."""

    make: Callable[[Running[JSON]], Awaitable[JSON]]
    offered: OfferedTool | None = None


def _owner(context: Context) -> Owner:
    return _asked(context).owner


def _arguments_json(params: types.CallToolRequestParams) -> str:
    """The arguments as text; `ValueError` where they cannot be sent to anybody."""
    arguments = params.arguments or {}
    level: list[Any] = [arguments]
    for _ in range(_DEPTH_MAX):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise ValueError(f"the arguments are nested more than {_DEPTH_MAX} deep; nothing was run")
    try:
        msgspec.json.encode(arguments)
    except UnicodeEncodeError:
        raise ValueError(
            "the arguments hold half of a character (a lone surrogate); nothing was run"
        ) from None
    return jsontext.encode(arguments)


def _inside(node: Any) -> list[Any]:
    """The tables and lists in a table or a list."""
    inner: list[Any] = []
    if isinstance(node, dict):
        inner = list(cast("dict[str, Any]", node).values())
    elif isinstance(node, list):
        inner = cast("list[Any]", node)
    return [each for each in inner if isinstance(each, dict | list)]


def _asked(context: Context) -> McpRequest:
    assert context.request is not None, "the gateway serves over HTTP alone"
    found: McpRequest = context.request.scope[SCOPE]
    return found


def _reporter(context: Context) -> Callable[[float, str], Any]:
    async def report(progress: float, message: str) -> None:
        await context.session.report_progress(progress, 1.0, whole(message) or None)

    return report


def _refusal(name: str, answer: ElicitationAnswer) -> str:
    said = "said no" if answer.action != "cancel" else "did not answer"
    return f"a person {said} to {name!r}; nothing was run"
