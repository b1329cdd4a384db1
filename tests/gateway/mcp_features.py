"""What a server of the protocol shows of each feature, so that two ways to it can be compared."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mcp_types as types
from mcp import Client, MCPError

from polycall.mcp.tasks import TaskExtension, begin_task

ABSENT = "–"
NOTHING = "nothing was heard"
Call = tuple[str, dict[str, Any]]


class Plan(NamedTuple):
    """Which of a server's tools shows what."""

    call: Call
    fail: Call | None = None
    picture: Call | None = None
    audio: Call | None = None
    structured: Call | None = None
    links: Call | None = None
    embedded: Call | None = None
    slow: Call | None = None
    logging: Call | None = None
    roots: Call | None = None
    root: str = ""
    changes: Call | None = None
    template_uri: str = ""
    updates: Call | None = None
    prompt: tuple[str, dict[str, str]] | None = None
    completion: tuple[str, str, str] | None = None
    sampling: Call | None = None
    form: Call | None = None
    page: Call | None = None
    task: Call | None = None


@dataclass
class Side:
    """A client of a server: at its own door, or at the gateway's.

    There `server` is its name, and `start` what its tools' names begin with.
    """

    server: str = ""
    start: str = ""
    root: str = ""
    asked: list[str] = field(default_factory=list[str])
    heard: list[types.ServerNotification] = field(default_factory=list[types.ServerNotification])
    logs: list[str] = field(default_factory=list[str])

    async def elicited(self, context: Any, params: Any) -> types.ElicitResult:
        del context
        is_page = isinstance(params, types.ElicitRequestURLParams)
        self.asked.append("page" if is_page else "form")
        if is_page:
            return types.ElicitResult(action="accept")
        content: dict[str, Any] = {}
        for name, schema in dict(params.requested_schema).get("properties", {}).items():
            content[name] = _filled(schema)
        return types.ElicitResult(action="accept", content=content)

    async def sampled(self, context: Any, params: Any) -> types.CreateMessageResult:
        del context, params
        self.asked.append("model")
        content = types.TextContent(text="made up")
        return types.CreateMessageResult(role="assistant", content=content, model="made-up")

    async def logged(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(str(params.data))

    async def hear(self, message: Any) -> None:
        self.heard.append(message)

    async def rooted(self, context: Any) -> types.ListRootsResult:
        del context
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": self.root})])

    async def report(self, message: str) -> None:
        self.logs.append(message)

    @property
    def options(self) -> dict[str, Any]:
        """For the protocol's client."""
        rooted = {"list_roots_callback": self.rooted} if self.root else {}
        return {
            **rooted,
            "elicitation_callback": self.elicited,
            "sampling_callback": self.sampled,
            "logging_callback": self.logged,
            "message_handler": self.hear,
            "log_level": "debug",
            "extensions": [TaskExtension(self.report)],
        }


def _filled(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema:
        return schema["oneOf"][0]["const"]
    match schema.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "array":
            items = schema.get("items", {})
            options = items.get("enum") or [each["const"] for each in items.get("anyOf", [])]
            return options[:1]
        case _:
            fitting = {"email": "a@example.com", "uri": "https://example.com", "date": "2026-01-01"}
            return fitting.get(schema.get("format", ""), "something")


Probe = Callable[[Client, Side, Plan], Awaitable[Any]]


async def _call(client: Client, side: Side, call: Call | None, **more: Any) -> types.CallToolResult:
    assert call is not None
    return await client.call_tool(f"{side.start}{call[0]}", call[1], **more)


async def tools(client: Client, side: Side, plan: Plan) -> Any:
    found = await client.list_tools()
    return sorted(
        each.name.removeprefix(side.start)
        for each in found.tools
        if each.name.startswith(side.start)
    )


async def hints(client: Client, side: Side, plan: Plan) -> Any:
    found = {
        each.name.removeprefix(side.start): each.annotations.model_dump(exclude_none=True)
        for each in (await client.list_tools()).tools
        if each.annotations is not None and each.name.startswith(side.start)
    }
    return found or ABSENT


async def called(client: Client, side: Side, plan: Plan) -> Any:
    result = await _call(client, side, plan.call)
    return [block.type for block in result.content], result.is_error


async def failed(client: Client, side: Side, plan: Plan) -> Any:
    return (await _call(client, side, plan.fail)).is_error


async def structured(client: Client, side: Side, plan: Plan) -> Any:
    return (await _call(client, side, plan.structured)).structured_content


def _blocks(name: str) -> Probe:
    async def probe(client: Client, side: Side, plan: Plan) -> Any:
        result = await _call(client, side, getattr(plan, name))
        # A text may say when it was made.
        hidden: Any = {"meta": True, "resource": {"text"}}
        shown = [block.model_dump(exclude=hidden, mode="json") for block in result.content]
        return [
            (block["type"], _digest(block, _uri(side, "")))
            for block in shown
            if block["type"] != "text"
        ]

    return probe


async def progress(client: Client, side: Side, plan: Plan) -> Any:
    heard: list[float] = []

    async def hear(at: float, total: float | None, message: str | None) -> None:
        del total, message
        heard.append(at)

    result = await _call(client, side, plan.slow, progress_callback=hear)
    return bool(heard), result.is_error


async def cancelled(client: Client, side: Side, plan: Plan) -> Any:
    calling = asyncio.ensure_future(_call(client, side, plan.slow))
    await asyncio.sleep(0.3)
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    return await called(client, side, plan)


async def logging(client: Client, side: Side, plan: Plan) -> Any:
    """Messages of the call itself; the tool may be a switch that another client turned."""
    side.logs.clear()
    capabilities = client.server_capabilities
    if client.protocol_version != "2026-07-28" and capabilities and capabilities.logging:
        params = types.SetLevelRequestParams(level="debug")
        await client.session.send_request(types.SetLevelRequest(params=params), types.EmptyResult)
    for _ in range(3):
        await _call(client, side, plan.logging)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while not side.logs:
                    await asyncio.sleep(0.05)
                return True
    return NOTHING


async def roots(client: Client, side: Side, plan: Plan) -> Any:
    """The folder that its client, or the gateway's operator, told it to work in."""
    text = str(await _call(client, side, plan.roots))
    return True if plan.root in text else NOTHING


async def changes(client: Client, side: Side, plan: Plan) -> Any:
    """That there are other resources now; clients of older revisions hear it after a first list."""
    side.heard.clear()
    heard = asyncio.Event()

    async def hear(events: Any) -> None:
        async for _ in events:
            heard.set()

    async with contextlib.AsyncExitStack() as stack:
        if client.protocol_version == "2026-07-28":
            events = await stack.enter_async_context(client.listen(resources_list_changed=True))
            hearing = asyncio.ensure_future(hear(events))
            stack.callback(hearing.cancel)
        await client.list_resources()
        await _call(client, side, plan.changes)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(12):
                kind = types.ResourceListChangedNotification
                while not heard.is_set() and not any(isinstance(e, kind) for e in side.heard):
                    await asyncio.sleep(0.05)
                return True
    return NOTHING


def _uri(side: Side, uri: str) -> str:
    return f"polycall://{side.server}/{uri}" if side.server else uri


def _own(names: list[str], start: str) -> list[str]:
    return sorted(name.removeprefix(start) for name in names if name.startswith(start))


def _prompt(side: Side, name: str) -> str:
    return f"{side.server}_{name}" if side.server else name


def _lasting(uris: Iterable[str]) -> list[str]:
    """Those that were there before `changes` made more."""
    return [uri for uri in uris if "/session/" not in uri and "//new/" not in uri]


async def resources(client: Client, side: Side, plan: Plan) -> Any:
    found = (await client.list_resources()).resources
    return _own(_lasting(each.uri for each in found), _uri(side, "")) or ABSENT


async def templates(client: Client, side: Side, plan: Plan) -> Any:
    found = (await client.list_resource_templates()).resource_templates
    return _own([each.uri_template for each in found], _uri(side, "")) or ABSENT


async def read(client: Client, side: Side, plan: Plan) -> Any:
    listed = _lasting(each.uri for each in (await client.list_resources()).resources)
    uris = [uri for uri in listed if uri.startswith(_uri(side, ""))]
    if plan.template_uri:
        uris.append(_uri(side, plan.template_uri))
    found = [(await client.read_resource(uri)).contents[0] for uri in uris[:3]]
    return [type(each).__name__ for each in found] or ABSENT


async def updated(client: Client, side: Side, plan: Plan) -> Any:
    """A subscription, and what comes of it; the tool may be a switch that another client turned."""
    uri = _uri(side, plan.template_uri)
    heard = asyncio.Event()
    side.heard.clear()

    async def hear(events: Any) -> None:
        async for _ in events:
            heard.set()

    async with contextlib.AsyncExitStack() as stack:
        if client.protocol_version == "2026-07-28":
            events = await stack.enter_async_context(client.listen(resource_subscriptions=[uri]))
            hearing = asyncio.ensure_future(hear(events))
            stack.callback(hearing.cancel)
        else:
            request = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
            await client.session.send_request(request, types.EmptyResult)
        for _ in range(2):
            await _call(client, side, plan.updates)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(12):
                    while not heard.is_set() and not _updates(side):
                        await asyncio.sleep(0.05)
                    return True
    return NOTHING


def _updates(side: Side) -> bool:
    return any(isinstance(each, types.ResourceUpdatedNotification) for each in side.heard)


async def prompts(client: Client, side: Side, plan: Plan) -> Any:
    found = (await client.list_prompts()).prompts
    names = _own([each.name for each in found], _prompt(side, ""))
    # What a server adds while it runs is held by a gateway until somebody takes it.
    names = [each for each in names if not each.startswith("new_")]
    if plan.prompt is None:
        return names or ABSENT
    name, arguments = plan.prompt
    made = await client.get_prompt(_prompt(side, name), arguments)
    return names, len(made.messages)


async def completion(client: Client, side: Side, plan: Plan) -> Any:
    assert plan.completion is not None
    name, argument, value = plan.completion
    ref = types.PromptReference(name=_prompt(side, name))
    found = await client.complete(ref, {"name": argument, "value": value})
    return found.completion.values


async def sampling(client: Client, side: Side, plan: Plan) -> Any:
    return (await _call(client, side, plan.sampling)).is_error


def _asked(name: str) -> Probe:
    async def probe(client: Client, side: Side, plan: Plan) -> Any:
        side.asked.clear()
        result = await _call(client, side, getattr(plan, name))
        return side.asked, result.is_error

    return probe


async def server_task(client: Client, side: Side, plan: Plan) -> Any:
    """A tool that runs as a task alone; at its own door the client has to ask for one."""
    assert plan.task is not None
    if side.server:
        return (await _call(client, side, plan.task)).is_error
    task = await begin_task(client.session, plan.task[0], plan.task[1], 60_000)
    return task.status not in ("working", "input_required", "completed")


async def ping(client: Client, side: Side, plan: Plan) -> Any:
    if client.protocol_version == "2026-07-28":
        return True  # the newest revision has none
    await client.session.send_ping()
    return True


# A row of the table, its probe, and what of the plan it needs.
FEATURES: tuple[tuple[str, Probe, str], ...] = (
    ("tools", tools, "call"),
    ("annotations", hints, "call"),
    ("calls", called, "call"),
    ("errors", failed, "fail"),
    ("structured content", structured, "structured"),
    ("pictures", _blocks("picture"), "picture"),
    ("audio", _blocks("audio"), "audio"),
    ("links to resources", _blocks("links"), "links"),
    ("embedded resources", _blocks("embedded"), "embedded"),
    ("progress", progress, "slow"),
    ("cancellation", cancelled, "slow"),
    ("logging", logging, "logging"),
    ("roots", roots, "roots"),
    ("resources", resources, "call"),
    ("templates", templates, "call"),
    ("reading", read, "call"),
    ("updates of resources", updated, "updates"),
    ("changes of lists", changes, "changes"),
    ("prompts", prompts, "call"),
    ("completion", completion, "completion"),
    ("sampling", sampling, "sampling"),
    ("forms (elicitation)", _asked("form"), "form"),
    ("pages (elicitation)", _asked("page"), "page"),
    ("its own tasks", server_task, "task"),
    ("ping", ping, "call"),
)


async def observe(client: Client, side: Side, plan: Plan) -> dict[str, Any]:
    """What the server shows of each feature."""
    seen: dict[str, Any] = {}
    for name, probe, needs in FEATURES:
        if not getattr(plan, needs):
            seen[name] = ABSENT
            continue
        try:
            async with asyncio.timeout(40):
                seen[name] = await probe(client, side, plan)
        except MCPError as error:
            is_unknown = error.code == types.METHOD_NOT_FOUND
            seen[name] = ABSENT if is_unknown else f"error {error.code}: {error.message[:120]}"
        except (TimeoutError, ValueError, RuntimeError) as error:
            seen[name] = f"{type(error).__name__}: {str(error)[:120]}"
    return seen


@asynccontextmanager
async def direct(server: Any, mode: str, root: str) -> AsyncGenerator[tuple[Client, Side]]:
    """A client at a server's own door."""
    side = Side(root=root)
    async with Client(server, mode=mode, cache=None, **side.options) as client:
        yield client, side


def _digest(block: dict[str, Any], start: str) -> str:
    """Of what the block holds, but for what addresses begin with at the gateway."""
    text = repr(sorted(block.items()))
    return hashlib.sha256((text.replace(start, "") if start else text).encode()).hexdigest()[:12]
