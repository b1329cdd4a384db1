"""Code mode: `search` finds functions, `run` runs Python that awaits them.

Two definitions stand for any number of tools.  A program's calls take the path of direct calls; one
that needs a person's word pauses the program, which then continues from its journal.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from polycall._support import jsontext
from polycall.agents.tree.search import ToolSearch
from polycall.errors import ToolError
from polycall.ir import JSON, Text, ToolCall, ToolResult
from polycall.program.nested_calls import data_of
from polycall.program.records import NestedCall
from polycall.program.report import program_text
from polycall.program.stubs import Signature, signatures
from polycall.sandbox import (
    Journal,
    JournalFullError,
    Pause,
    RunResult,
    Sandbox,
    SandboxError,
    Session,
    SessionClosedError,
)
from polycall.tool_server.described import (
    RUN,
    SEARCH,
    SESSION,
    data_schema,
    namespaces_text,
    stub_of,
)
from polycall.tools import AbstractToolset, ToolContext, execute, tool_from_schema
from polycall.tools.toolset import AnyTool

# Runs one call of a program; raises `Pause` where a person is to be asked first.
Execute: TypeAlias = Callable[[ToolCall], Awaitable[ToolResult]]
# The schema of a tool's result, where something other than the tool knows it.
ResultSchema: TypeAlias = Callable[[str], "JSON | None"]

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_FOUND_MAX, _FOUND_USUAL = 20, 5
_SESSION_ID = re.compile(r"[0-9a-f]{16}")
_CODE_DEADLINE_S = 3_600.0
_JOURNAL_BYTES_MAX = 4_000_000  # a longer one stays in its process

logger = logging.getLogger("polycall.programs")


class SessionStore(Protocol):
    """The store of sessions' journals, for processes that share them."""

    async def load(self, owner: str, name: str) -> str | None:
        """The journal of a session as it was saved last."""
        ...

    async def save(self, owner: str, name: str, journal: str) -> None:
        """Keep it, in the place of an older one."""
        ...


class PendingApproval(Struct, frozen=True):
    """A call that waits for a person's word."""

    tool: str
    arguments_json: str


class _Kept:
    """A session of a client: its variables, and the functions that its programs have named."""

    def __init__(self, identity: str, session: Session) -> None:
        self.id = identity
        self.session = session
        self.named: set[str] = set()
        self.journal = ""  # of a paused program
        self.calls: list[NestedCall] = []
        self.pending: list[PendingApproval] = []
        self.run_id = ""
        self.runs = 0  # that have ended


class CodeMode:
    """Programs over a toolset, in sessions of their own.  `close` ends the sessions.

    `namespaces` says to which namespace a tool belongs, for the search.  A session belongs to its
    `owner`, and no other's programs reach it.
    """

    def __init__(
        self,
        tools: Mapping[str, AnyTool],
        sandbox: Callable[[], Awaitable[Sandbox]],
        *,
        namespaces: Mapping[str, str] | None = None,
        result_schema: ResultSchema = lambda _: None,
        output_chars: int = 16_000,
        sessions_max: int = 64,
        idle_s: float = 900.0,
        store: SessionStore | None = None,
    ) -> None:
        self._store = store
        self.tools = dict(tools)
        self._sandbox = sandbox
        self._namespaces = dict(namespaces or {})
        self._result_schema = result_schema
        self._output_chars = output_chars
        self._sessions_max = sessions_max
        self._idle_s = idle_s
        self._sessions: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self.signatures: dict[str, Signature] = signatures(self.tools.values())
        self._full = {self._full_name(name): name for name in self.tools}
        self._search: ToolSearch | None = None
        self._stubs: dict[str, str] = {}

    async def close(self) -> None:
        """End all sessions."""
        while self._sessions:
            _, kept = self._sessions.popitem()
            await kept.session.close()

    # Finding

    def description(self, allowed: Callable[[str], bool]) -> str:
        """The description of `search` for a client that may use these tools."""
        spaces = [self._namespaces.get(name, "") for name in self.tools if allowed(name)]
        named = [space for space in spaces if space]
        of = f" in namespaces: {namespaces_text(named)}" if named else ""
        return SEARCH.format(count=len(spaces), of=of)

    def index(self) -> ToolSearch:
        """The index of searches, made once: for thousands of tools that takes a while."""
        if self._search is None:
            self._search = ToolSearch({full: self.tools[name] for full, name in self._full.items()})
        return self._search

    def search(
        self,
        query: str,
        *,
        namespace: str = "",
        limit: int = _FOUND_USUAL,
        allowed: Callable[[str], bool] = lambda _: True,
        owner: str = "",
    ) -> str:
        """The signatures of the functions that fit best, best first.

        What the `owner` called after its searches counts for it.
        """
        found = self.index().best(
            query,
            max(1, min(limit, _FOUND_MAX)),
            "words",
            namespace.strip("."),
            keep=lambda full: allowed(self._full[full]),
            owner=owner,
        )
        if not found:
            spaces = {self._namespaces.get(name, "") for name in self.tools if allowed(name)}
            known = namespaces_text(sorted(filter(None, spaces)))
            hint = f"; namespaces: {known}" if known else ""
            raise ToolError(f"nothing fits these words; use others{hint}")
        return "\n\n".join(self._stub(self._full[full]) for full in found)

    def used(self, tool: str, owner: str) -> None:
        """The owner called a tool: where its search found it, that counts for its later ones."""
        if self._search is not None:
            self._search.called(self._full_name(tool), owner)

    def _full_name(self, name: str) -> str:
        space = self._namespaces.get(name, "")
        return f"{space}.{name}" if space else name

    def _stub(self, name: str) -> str:
        found = self._stubs.get(name)
        if found is None:
            signature = next(each for each in self.signatures.values() if each.tool == name)
            found = stub_of(signature, self.tools[name], self._result_schema(name))
            self._stubs[name] = found
        return found

    # Running

    async def run(
        self, code: str, execute: Execute, *, owner: str = "", session: str = "", implicit: str = ""
    ) -> ToolResult:
        """The result of a program, as the model reads it.

        `session` is what the model named, `implicit` what its connection stands for.  Raises
        `ProgramPausedError` where a person is to be asked; `resume` continues.
        """
        kept, is_new, note = await self._session(owner, session, implicit)
        if len(code) <= kept.session.limits.code_chars:
            kept.named |= self._named_in(code)
        kept.run_id = f"code_{secrets.token_hex(6)}"
        kept.calls, kept.pending = [], []
        try:
            result = await kept.session.run(code, self._functions(kept, execute))
        except SandboxError as error:
            self._forget(kept, owner)
            raise ToolError(f"the program could not run: {error}") from None
        await self._save(owner, kept, result)
        if is_new and not implicit:
            note = f"{note}(session={kept.id} keeps its variables)\n"
        return await self._concluded(kept, owner, result, note)

    async def resume(self, owner: str, session: str, execute: Execute) -> ToolResult:
        """Continue with the paused program of a session; its calls are put to `execute` again."""
        kept = self._sessions.get((owner, session))
        if kept is None or not kept.journal:
            raise ToolError("no program waits in this session; it has expired, or was resumed")
        journal, kept.journal, kept.pending = kept.journal, "", []
        await kept.session.close()
        sandbox = await self._sandbox()
        kept.session = sandbox.session(idle_s=self._idle_s)
        try:
            result = await kept.session.resume(journal, self._functions(kept, execute))
        except SandboxError as error:
            self._forget(kept, owner)
            raise ToolError(f"the program cannot continue: {error}") from None
        assert result is not None, "a paused program has not ended"
        await self._save(owner, kept, result)
        return await self._concluded(kept, owner, result, "")

    async def _concluded(self, kept: _Kept, owner: str, result: RunResult, note: str) -> ToolResult:
        if result.status == "paused":
            kept.journal = kept.session.journal.to_json()
            raise ProgramPausedError(owner, kept.id, list(kept.pending))
        if result.error is not None and result.error.type == JournalFullError.__name__:
            self._forget(kept, owner)
            await kept.session.close()
        text = program_text(result, kept.calls, [], output_chars_max=self._output_chars)
        return ToolResult("", [Text(note + text)], is_error=result.status != "finished")

    async def _session(self, owner: str, session: str, implicit: str) -> tuple[_Kept, bool, str]:
        """The session, whether it is a new one, and what the model has to know of that."""
        name = session or implicit
        key = (owner, name)
        kept = self._sessions.get(key) if name else None
        sandbox = await self._sandbox()
        if self._store is not None and name and (kept is None or not kept.journal):
            kept = await self._adopted(self._store, owner, name, kept)
        if kept is not None and not kept.journal and sandbox.find(kept.session.id) is not None:
            self._sessions.move_to_end(key)
            return kept, False, ""
        note = ""
        if kept is not None or (session and session != implicit):
            note = "(the session was lost: variables of earlier programs are gone)\n"
        if session and not _SESSION_ID.fullmatch(session):
            note, name = "", ""  # not one of ours: a name of the model's own making
        if kept is not None:
            self._forget(kept, owner)
        while len(self._sessions) >= self._sessions_max:
            _, oldest = self._sessions.popitem(last=False)
            await oldest.session.close()
        name = name or secrets.token_hex(8)
        made = _Kept(name, sandbox.session(idle_s=self._idle_s))
        self._sessions[owner, name] = made
        return made, True, note

    async def _adopted(
        self, store: SessionStore, owner: str, name: str, kept: _Kept | None
    ) -> _Kept | None:
        """The session as another process left it, where that is newer than what is here."""
        saved = await store.load(owner, name)
        if saved is None:
            return kept
        journal = await asyncio.to_thread(Journal.from_json, saved)
        if kept is not None and kept.runs >= len(journal.runs()):
            return kept
        if kept is not None:
            await kept.session.close()
        made = _Kept(name, (await self._sandbox()).session(idle_s=self._idle_s))
        try:
            await made.session.resume(journal)
        except SandboxError as error:
            logger.warning("a session of code mode cannot continue here: %s", error)
            await made.session.close()
            self._sessions.pop((owner, name), None)
            return None
        made.runs = len(journal.runs())
        made.named = {
            word
            for entry in journal.entries
            if entry["kind"] == "run"
            for word in entry["tools"]
            if word in self.signatures
        }
        self._sessions[owner, name] = made
        return made

    async def _save(self, owner: str, kept: _Kept, result: RunResult) -> None:
        """Keep the session for other processes, where there are some."""
        kept.runs += result.status != "paused"
        if self._store is None or result.status == "paused":
            return
        if kept.session.journal.size_bytes <= _JOURNAL_BYTES_MAX:
            await self._store.save(owner, kept.id, kept.session.journal.to_json())

    def _forget(self, kept: _Kept, owner: str) -> None:
        self._sessions.pop((owner, kept.id), None)

    def _named_in(self, code: str) -> set[str]:
        """The functions that a program names: it is given these, not thousands."""
        return {word for word in _IDENTIFIER.findall(code) if word in self.signatures}

    def _functions(self, kept: _Kept, execute: Execute) -> dict[str, Callable[..., Any]]:
        return {
            name: partial(self._called, kept, execute, self.signatures[name])
            for name in sorted(kept.named)
        }

    async def _called(
        self, kept: _Kept, execute: Execute, signature: Signature, *args: Any, **kwargs: Any
    ) -> Any:
        arguments = jsontext.encode(signature.arguments(args, kwargs))
        call_id = f"{kept.run_id}_{len(kept.calls) + 1}"
        call = ToolCall(call_id, signature.tool, arguments, caller=kept.run_id)
        place, started = len(kept.calls), time.monotonic()
        kept.calls.append(NestedCall(call))
        try:
            result = await execute(call)
        except Pause:
            kept.pending.append(PendingApproval(signature.tool, arguments))
            raise
        # The journal has what it gave; the report shows errors alone.
        shown = result if result.is_error else ToolResult(call_id, [], name=result.name)
        kept.calls[place] = NestedCall(call, shown, time.monotonic() - started)
        if result.is_error:
            raise ToolError(result.text)
        return self._data(signature.tool, result)

    def _data(self, name: str, result: ToolResult) -> Any:
        """The result as the stub says that it is."""
        schema = data_schema(self.tools[name])
        is_text = len(result.content) == 1 and isinstance(result.content[0], Text)
        if schema is not None and is_text and schema.get("type") != "string":
            try:
                return jsontext.decode(result.text)
            except ValueError:
                return result.text
        return data_of(result)


class ProgramPausedError(Exception):
    """A program waits for a person's word on `pending`; `CodeMode.resume` continues with it."""

    def __init__(self, owner: str, session: str, pending: list[PendingApproval]) -> None:
        super().__init__("the program waits for a person's word")
        self.owner = owner
        self.session = session
        self.pending = pending


def search_schema() -> JSON:
    """The parameters of `search`."""
    return {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "what it should do"},
            "namespace": {"type": "string"},
            "limit": {"type": "integer", "default": _FOUND_USUAL},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def run_schema() -> JSON:
    """The parameters of `run`."""
    return {
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "session": {"type": "string", "description": SESSION},
        },
        "required": ["code"],
        "additionalProperties": False,
    }


class CodeToolset(AbstractToolset):
    """`search` and `run` in the place of a toolset's tools, which programs reach.

    Calls of programs take the path of all calls of the toolset.  Tools that need approval are run
    where the toolset itself asks, and refused elsewhere.  `implicit` names the client's connection,
    whose programs share their variables without saying so.
    """

    def __init__(
        self,
        toolset: AbstractToolset,
        sandbox: Callable[[], Awaitable[Sandbox]],
        *,
        implicit: Callable[[], str] = lambda: "",
        namespaces: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self._toolset = toolset
        self._implicit = implicit
        self._sandbox = sandbox
        self._namespaces = namespaces
        self._options = options
        self._mode: CodeMode | None = None
        self._names: list[str] = []
        self._shown_of: CodeMode | None = None
        self._shown: dict[str, AnyTool] = {}

    @property
    def mode(self) -> CodeMode:
        """The code mode that serves the tools as they are now."""
        names = list(self._toolset.tools)
        if self._mode is None or names != self._names:
            self._names = names
            opened = dict(self._toolset.tools)
            spaces = self._namespaces
            self._mode = CodeMode(opened, self._sandbox, namespaces=spaces, **self._options)
        return self._mode

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        mode = self.mode
        if self._shown_of is not mode:
            about = mode.description(lambda _: True)
            search = tool_from_schema("search", about, search_schema(), self._search)
            run = tool_from_schema("run", RUN, run_schema(), self._run, deadline_s=_CODE_DEADLINE_S)
            self._shown_of, self._shown = mode, {"search": search, "run": run}
        return self._shown

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await self.tools[name].run(arguments, context)

    async def close(self) -> None:
        """End all sessions."""
        if self._mode is not None:
            await self._mode.close()

    async def _search(self, arguments: JSON) -> str:
        return self.mode.search(
            arguments["query"],
            namespace=arguments.get("namespace", ""),
            limit=arguments.get("limit", _FOUND_USUAL),
            owner=self._implicit(),
        )

    async def _run(self, arguments: JSON, context: ToolContext[Any]) -> ToolResult:
        async def call(made: ToolCall) -> ToolResult:
            self.mode.used(made.name, implicit)
            # From here it is as direct as the client's own calls: what those may, a program may.
            direct = ToolCall(made.id, made.name, made.arguments_json)
            return await execute(direct, self._toolset, context=context)

        implicit = self._implicit()
        try:
            return await self.mode.run(
                arguments["code"], call, session=arguments.get("session", ""), implicit=implicit
            )
        except SessionClosedError as error:
            raise ToolError(str(error)) from None
