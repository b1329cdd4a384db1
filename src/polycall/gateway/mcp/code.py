"""`search` and `run` for clients that want two tools instead of all."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from polycall._support import jsontext
from polycall.errors import InvalidRequestError
from polycall.gateway.mcp.asking import approval_question, is_approved
from polycall.gateway.mcp.calls import CallScope, ToolCalls
from polycall.gateway.mcp.hub import Member, OfferedTool
from polycall.gateway.mcp.openapi_source import OpenAPISource
from polycall.gateway.store import Store
from polycall.ir import JSON, Text, ToolCall, ToolResult
from polycall.mcp.asking import Elicitation
from polycall.sandbox import Pause, Sandbox
from polycall.tool_server import CodeMode
from polycall.tool_server.code_mode import (
    PendingApproval,
    ProgramPausedError,
    run_schema,
    search_schema,
)
from polycall.tool_server.described import RUN

Opened = dict[str, OfferedTool]
_MODES_MAX = 16


class StoreSessions:
    """Journals of sessions in the gateway's store, encrypted and bound to their owner."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, owner: str, name: str) -> str | None:
        found = await self._store.load_states(owner, [_state_id(name)], may_change=True)
        value = found.get(_state_id(name))
        return None if value is None else value.decode()

    async def save(self, owner: str, name: str, journal: str) -> None:
        await self._store.save_state(owner, _state_id(name), journal.encode())


def _state_id(name: str) -> str:
    """The key of a session in the store: a client's names may be of any length and letters."""
    return f"code:{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()}"


class CodeModes:
    """Code mode for each set of servers that clients ask for.  `close` it at the end."""

    def __init__(
        self,
        calls: ToolCalls,
        sandbox: Callable[[], Awaitable[Sandbox]],
        turn: Callable[[str], AbstractAsyncContextManager[None]],
        sessions: StoreSessions | None,
    ) -> None:
        """`turn` is one of the programs that a key may have running at a time; `sessions` is where
        journals lie that other processes continue with.
        """
        self._turn = turn
        self._sessions = sessions
        self._calls = calls
        self._sandbox = sandbox
        self._modes: OrderedDict[tuple[str, ...], tuple[object, CodeMode]] = OrderedDict()
        self._making = asyncio.Lock()

    async def close(self) -> None:
        """End all sessions."""
        while self._modes:
            _, (_, mode) = self._modes.popitem()
            await mode.close()

    async def definitions(self, opened: Opened, names: tuple[str, ...]) -> list[JSON]:
        """The two tools, as the key that may call these sees them."""
        mode = await self._mode(names, opened)
        return [
            {
                "name": "search",
                "description": mode.description(lambda name: name in opened),
                "inputSchema": search_schema(),
                "annotations": {"readOnlyHint": True},
            },
            {"name": "run", "description": RUN, "inputSchema": run_schema()},
        ]

    async def search(
        self, opened: Opened, names: tuple[str, ...], scope: CallScope, arguments: JSON
    ) -> str:
        """The signatures that fit."""
        mode = await self._mode(names, opened)
        await asyncio.to_thread(mode.index)
        return mode.search(
            str(arguments["query"]),
            namespace=str(arguments.get("namespace") or ""),
            limit=int(arguments.get("limit") or 5),
            allowed=lambda name: name in opened,
            owner=scope.owner.id,
        )

    async def run(
        self,
        opened: Opened,
        names: tuple[str, ...],
        scope: CallScope,
        arguments: JSON,
        *,
        implicit: str,
    ) -> ToolResult:
        """The result of a program; a person is asked about calls that need it."""
        await self._calls.admit(scope.owner)
        mode = await self._mode(names, opened)
        refusals: dict[PendingApproval, str] = {}  # empty where the call may run

        async def execute(call: ToolCall) -> ToolResult:
            offered = opened.get(call.name)
            if offered is None:
                text = f"{call.name!r} is not there for this key; nothing was run"
                return ToolResult(call.id, [Text(text)], is_error=True)
            if offered.own.needs_approval:
                refusal = refusals.pop(PendingApproval(call.name, call.arguments_json), None)
                if refusal is None:
                    raise Pause
                if refusal:
                    return ToolResult(call.id, [Text(refusal)], is_error=True)
            mode.used(call.name, scope.owner.id)
            inner = CallScope(scope.owner, scope.request_id, scope.headers, scope.ask, scope.sample)
            outcome = await self._calls.call(offered, call.arguments_json, inner, caller="code")
            return outcome.result

        owner = scope.owner.id
        session = str(arguments.get("session") or "")
        try:
            async with self._turn(owner):
                return await mode.run(
                    str(arguments["code"]), execute, owner=owner, session=session, implicit=implicit
                )
        except ProgramPausedError as paused:
            waits = paused
        while True:
            refusals.update(await _answers(waits.pending, scope))
            try:
                async with self._turn(owner):
                    return await mode.resume(owner, waits.session, execute)
            except ProgramPausedError as paused:
                waits = paused

    async def _mode(self, names: tuple[str, ...], opened: Opened) -> CodeMode:
        """The code mode of these servers, with all their tools: permission is looked at later."""
        async with self._making:
            return await self._made(names, {e.member.name: e.member for e in opened.values()})

    async def _made(self, names: tuple[str, ...], members: dict[str, Member]) -> CodeMode:
        version = tuple(
            (name, members[name].source, members[name].source.version)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
            for name in sorted(members)
        )
        key = tuple(sorted(members)) or names
        known = self._modes.get(key)
        if known is not None and known[0] == version:
            self._modes.move_to_end(key)
            return known[1]
        if known is not None:
            await known[1].close()
        tools: Opened = {}
        for member in members.values():
            tools |= member.tools
        mode = await asyncio.to_thread(self._mode_of, tools)  # of thousands that takes a while
        self._modes[key] = (version, mode)
        while len(self._modes) > _MODES_MAX:
            _, (_, oldest) = self._modes.popitem(last=False)
            await oldest.close()
        return mode

    def _mode_of(self, tools: Opened) -> CodeMode:
        return CodeMode(
            {name: each.tool for name, each in tools.items()},
            self._sandbox,
            namespaces={name: _namespace(each) for name, each in tools.items()},
            result_schema=lambda name: _result_schema(tools[name]),
            store=self._sessions,
        )


def _namespace(offered: OfferedTool) -> str:
    source = offered.member.source
    if isinstance(source, OpenAPISource):
        return f"{offered.member.name}.{source.api.namespace(offered.own_name)}"
    return offered.member.name


def _result_schema(offered: OfferedTool) -> JSON | None:
    source = offered.member.source
    if isinstance(source, OpenAPISource):
        return source.api.result_schema(offered.own_name)
    return None


async def _answers(pending: list[PendingApproval], scope: CallScope) -> dict[PendingApproval, str]:
    """Ask about calls, each shown whole; those that there was no room for are asked about later."""
    shown: list[PendingApproval] = []
    for each in pending:
        try:
            _question([*shown, each])
        except InvalidRequestError as error:
            if not shown:
                return {each: str(error)}
            break
        shown.append(each)
    is_yes = is_approved(await scope.ask(_question(shown)))
    return {
        each: "" if is_yes else f"a person said no to {each.tool!r}; nothing was run"
        for each in shown
    }


def _question(pending: list[PendingApproval]) -> Elicitation:
    calls = [f"{each.tool} with {each.arguments_json}" for each in pending]
    return approval_question("a program's calls", "code", jsontext.encode({"calls": calls}))
