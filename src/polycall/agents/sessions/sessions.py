"""A conversation that continues: each run finds what was said before, and keeps what it adds."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import itertools
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.agents.checks import check_id, check_runnable
from polycall.agents.compaction import Compaction
from polycall.agents.history import History
from polycall.agents.options import Prompt, messages_of
from polycall.agents.output import OutputT
from polycall.agents.pausing import PausedRun
from polycall.agents.run import AgentEvent, AgentStream, Run, SyncAgentStream, keep_on
from polycall.agents.sessions.store import ExportedSession, SessionConflictError, SessionStore
from polycall.agents.sessions.turn import Keep, SessionTurn, checked_keep, history_of
from polycall.agents.synchronous import portal, run_blocking
from polycall.errors import RequestError
from polycall.instrumentation import conversing
from polycall.ir import Message


class Runnable(Protocol[OutputT]):
    """An agent, or what stands for one: `Guarded`, `Router`."""

    @property
    def run(self) -> Callable[..., Coroutine[Any, Any, Run[OutputT]]]: ...


class Resumable(Runnable[OutputT], Protocol[OutputT]):
    """A runner that can also continue a paused run."""

    @property
    def resume(self) -> Callable[..., Coroutine[Any, Any, Run[OutputT]]]: ...


class Streamable(Runnable[OutputT], Protocol[OutputT]):
    """A runner that can also give its run as events."""

    @property
    def stream(self) -> Callable[..., AgentStream[OutputT]]: ...
    @property
    def resume_stream(self) -> Callable[..., AgentStream[OutputT]]: ...


class Sessions:
    """Conversations in a database: `sqlite:///FILE`, or `postgresql://...`.

    Every message is kept; `compaction` says how much of it is sent.  A session runs once at a time:
    a second run waits, `wait_s` seconds at most.  `keep` says what is kept of a run that raised or
    was stopped, as `Session.run` does.  With a `secret`, what was said lies encrypted in the
    database; ids, users and times do not.
    """

    def __init__(
        self,
        url: str,
        *,
        compaction: Compaction | None = None,
        keep: Keep = "partial",
        wait_s: float = 60.0,
        secret: str | bytes | None = None,
    ) -> None:
        self.compaction = compaction or Compaction()
        self.keep: Keep = checked_keep(keep)
        self.wait_s = wait_s
        self.store = SessionStore(url, secret)
        # The address of a server may hold a password.
        self._where = "postgresql://..." if url.startswith("postgres") else url

    def __repr__(self) -> str:
        """The address of the store."""
        return f"Sessions({self._where!r})"

    def open(self, session_id: str, *, user: str = "") -> Session:
        """A conversation, which need not exist yet.

        With `user` it belongs to that user from its first run on, whose runs are this `user`'s:
        every use raises `RequestError` where it belongs to another one, or to none.
        """
        for name, value in (("a session's id", session_id), ("user", user)):
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - from the caller
                raise RequestError(f"{name} is text, not {value!r}")
            check_id(value, name)
        if not session_id:
            raise RequestError("a session needs an id: the conversation's, not empty text")
        return Session(self, session_id, user)

    def list(self, *, user: str = "") -> builtins.list[str]:
        """The ids of all, or of those that belong to a user, the one that spoke last first."""
        return self.store.names(user)

    def delete(self, session_id: str) -> bool:
        """Forget one; whether there was one."""
        return self.store.delete(session_id)

    def delete_user(self, user: str) -> int:
        """Forget all that belong to a user; how many there were."""
        return self.store.delete_user(user)

    def turns(self, session_id: str) -> builtins.list[int]:
        """The number of messages after each turn: the places where it may be branched."""
        return [state.count for state in self.store.export(session_id).turns]

    def branch(self, session_id: str, new_id: str, *, at: int | None = None) -> Session:
        """A second conversation with the same past: all of it, or its first `at` messages.

        It begins as the first one was after that turn: who held it, variables, opened tools, what
        was allowed for always.  Runs that wait for people stay with the first one.
        """
        whole = self.store.export(session_id)
        self.store.add(branched(whole, new_id, at))
        return Session(self, new_id, whole.user)

    def export(self, session_id: str) -> str:
        """A whole conversation as JSON; `RequestError` where there is none."""
        return jsontext.encode(self.store.export(session_id))

    def import_session(self, text: str | bytes, *, session_id: str = "", user: str = "") -> Session:
        """Keep an exported conversation, under another id or for another user where given.

        Under its own id, runs that wait for people can be resumed here.
        """
        made = imported(text, session_id, user)
        self.store.add(made)
        return Session(self, made.id, made.user)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """One conversation, which runs once at a time."""

    def __init__(self, sessions: Sessions, session_id: str, user: str = "") -> None:
        self.id = session_id
        self.user = user
        self._sessions = sessions
        self._store = sessions.store

    def __repr__(self) -> str:
        """Which one it is."""
        return f"Session({self.id!r}{f', user={self.user!r}' if self.user else ''})"

    async def run(
        self,
        agent: Runnable[OutputT],
        prompt: Prompt,
        *,
        keep: Keep | None = None,
        **options: Any,
    ) -> Run[OutputT]:
        """`agent.run` with what was said before; its messages are kept when it has ended.

        A run that pauses is continued by `resume`, and kept then.  With `keep="partial"` a run
        that raises, or is stopped, is kept as far as it came, where a tool has been called or the
        model has said something: a second try finds what was done.  With `"whole"` it leaves the
        session as it was, and the error alone has the run (`agents.partial_run`).
        """
        kept = self._sessions.keep if keep is None else checked_keep(keep)
        check_runnable(agent, "a session")
        new = messages_of(prompt)
        options = self._with_user(options)
        async with self.turn(kept) as turn:
            history = await turn.begin(new)
            return await turn.end(await agent.run(prompt, history=history, **options))

    async def resume(
        self,
        agent: Resumable[OutputT],
        paused: PausedRun,
        *,
        keep: Keep | None = None,
        **options: Any,
    ) -> Run[OutputT]:
        """`agent.resume` of a run of this session that has paused; the session keeps the turn.

        What was said meanwhile stays before it.  A run is continued once: `RequestError` for a
        paused run of another session, and for one that was resumed already.
        """
        kept = self._sessions.keep if keep is None else checked_keep(keep)
        async with self.turn(kept) as turn:
            resumed = await turn.begin_again(paused)
            return await turn.end(await agent.resume(resumed, **options))

    def run_sync(self, agent: Runnable[OutputT], prompt: Prompt, **options: Any) -> Run[OutputT]:
        """`run` for code without an event loop."""
        return run_blocking(self.run, agent, prompt, **options)

    def resume_sync(
        self, agent: Resumable[OutputT], paused: PausedRun, **options: Any
    ) -> Run[OutputT]:
        """`resume` for code without an event loop."""
        return run_blocking(self.resume, agent, paused, **options)

    def stream(
        self,
        agent: Streamable[OutputT],
        prompt: Prompt,
        *,
        keep: Keep | None = None,
        **options: Any,
    ) -> AgentStream[OutputT]:
        """`agent.stream` with what was said before; its messages are kept after the last event.

        A stream that is left before its end is kept as a run is that is stopped.
        """

        check_runnable(agent, "a session")
        given = self._with_user(options)

        async def begin(turn: SessionTurn) -> AgentStream[OutputT]:
            history = await turn.begin(messages_of(prompt))
            return agent.stream(prompt, history=history, **given)

        return self._streamed(agent, begin, keep)

    def resume_stream(
        self,
        agent: Streamable[OutputT],
        paused: PausedRun,
        *,
        keep: Keep | None = None,
        **options: Any,
    ) -> AgentStream[OutputT]:
        """`resume` as events; the session keeps the turn after the last one."""

        async def begin(turn: SessionTurn) -> AgentStream[OutputT]:
            return agent.resume_stream(await turn.begin_again(paused), **options)

        return self._streamed(agent, begin, keep)

    def stream_sync(
        self, agent: Streamable[OutputT], prompt: Prompt, **options: Any
    ) -> SyncAgentStream[OutputT]:
        """`stream` for code without an event loop."""
        return SyncAgentStream(portal(), self.stream(agent, prompt, **options))

    def resume_stream_sync(
        self, agent: Streamable[OutputT], paused: PausedRun, **options: Any
    ) -> SyncAgentStream[OutputT]:
        """`resume_stream` for code without an event loop."""
        return SyncAgentStream(portal(), self.resume_stream(agent, paused, **options))

    def _streamed(
        self,
        agent: Streamable[OutputT],
        begin: Callable[[SessionTurn], Coroutine[Any, Any, AgentStream[OutputT]]],
        keep: Keep | None,
    ) -> AgentStream[OutputT]:
        kept = self._sessions.keep if keep is None else checked_keep(keep)
        begun: list[AgentStream[OutputT]] = []

        async def events() -> AsyncGenerator[AgentEvent | Run[OutputT]]:
            async with self._locked(kept) as turn:
                with conversing(self.id):
                    stream = await begin(turn)
                begun.append(stream)
                async with stream:
                    while True:
                        try:
                            # Not around the `yield`: the reader is no part of the conversation.
                            with conversing(self.id):
                                event = await anext(stream)
                        except StopAsyncIteration:
                            break
                        try:
                            yield event
                        except GeneratorExit as left:
                            keep_on(left, stream.partial)
                            raise
                run = await turn.end(stream.run)
            yield run

        def so_far() -> Run[OutputT] | None:
            return begun[0].so_far() if begun else None

        inner = getattr(agent, "agent", agent)  # of a `Guarded`, what it guards
        return AgentStream(events(), so_far, getattr(inner, "output", None))

    def _with_user(self, options: dict[str, Any]) -> dict[str, Any]:
        if "history" in options:
            raise RequestError(
                f"the session {self.id!r} gives a run its history; leave out history=, or run the "
                "agent without the session"
            )
        if not self.user:
            return options
        if options.get("user", self.user) != self.user:
            raise RequestError(
                f"the session {self.id!r} belongs to the user {self.user!r}, and its runs are "
                f"theirs, not {options['user']!r}'s; leave out user="
            )
        return {**options, "user": self.user}

    async def history(self) -> History:
        """The history that the next run would find."""
        _, state, messages = await asyncio.to_thread(self._store.load, self.id, self.user)
        return history_of(state, messages)

    async def messages(self) -> list[Message]:
        """Everything that was ever said."""
        return await asyncio.to_thread(self._store.messages, self.id, self.user)

    async def waiting(self) -> list[str]:
        """The ids of runs whose turns it does not have yet: paused ones, and durable ones."""
        _, state, _ = await asyncio.to_thread(self._store.load, self.id, self.user)
        return list(state.paused)

    @asynccontextmanager
    async def turn(self, keep: Keep) -> AsyncGenerator[SessionTurn]:
        """The session, locked, for one run of it; what raises inside is kept as `keep` says."""
        with conversing(self.id):
            async with self._locked(keep) as turn:
                yield turn

    @asynccontextmanager
    async def _locked(self, keep: Keep) -> AsyncGenerator[SessionTurn]:
        turn = SessionTurn(self.id, self.user, self._store, self._sessions.compaction)
        async with locked(self._store, self.id, self._sessions.wait_s):
            try:
                yield turn
            except BaseException as error:
                await turn.failed(error, keep)
                raise


def branched(session: ExportedSession, new_id: str, at: int | None) -> ExportedSession:
    """The beginning of a branch; `RequestError` where no turn ended there."""
    turns = [state for state in session.turns if at is None or state.count <= at]
    if not turns or at not in (None, turns[-1].count):
        ends = ", ".join(str(state.count) for state in session.turns)
        raise RequestError(
            f"no turn of the session {session.id!r} ended after {at!r} messages; turns ended "
            f"after {ends}"
        )
    return _named(replace(session, turns=turns), new_id, session.user)


def imported(text: str | bytes, session_id: str, user: str) -> ExportedSession:
    """An exported session, under another id or user where they are given."""
    try:
        session = msgspec.convert(jsontext.decode(text), ExportedSession)
    except (ValueError, msgspec.ValidationError) as error:
        raise RequestError(f"this is not an exported session: {error}") from None
    counts = [0, *(state.count for state in session.turns)]
    rises = all(before <= after for before, after in itertools.pairwise(counts))
    fits = rises and all(0 <= state.gone <= state.count for state in session.turns)
    if not session.id or not session.turns or not fits or counts[-1] != len(session.messages):
        raise RequestError(
            f"this is not an exported session: it has {len(session.messages)} messages, and turns "
            f"that ended after {counts[1:]}"
        )
    return _named(session, session_id or session.id, user or session.user)


def _named(session: ExportedSession, new_id: str, user: str) -> ExportedSession:
    """The session under an id; under another one it does not wait for runs of the first."""
    check_id(new_id, "a session's id")
    check_id(user, "user")
    turns = session.turns
    if new_id != session.id:
        turns = [replace(state, paused={}) for state in turns]
    messages = session.messages[: turns[-1].count]
    return replace(session, id=new_id, user=user, turns=turns, messages=messages)


# A process that has died holds a session up for so long at most.
LEASE_S = 30.0


_POLL_S = (0.01, 0.25)


@dataclass
class _Hold:
    """A session that code holds, until it gives it back: maybe where its context is another's."""

    store: SessionStore
    session: str
    is_held: bool = True


_holds: ContextVar[tuple[_Hold, ...]] = ContextVar("polycall_sessions_held", default=())


@asynccontextmanager
async def locked(store: SessionStore, session: str, wait_s: float) -> AsyncGenerator[None]:
    """Hold the session; `SessionConflictError` where it is not free within `wait_s` seconds."""
    before = _holds.get()
    if any(each.is_held and each.store is store and each.session == session for each in before):
        raise SessionConflictError(
            f"session {session!r} is being run by the code that calls this run, so it would wait "
            "for itself; nothing was run"
        )
    owner = secrets.token_hex(8)
    await _taken(store, session, owner, wait_s)
    renewing = asyncio.create_task(_renewed(store, session, owner))
    hold = _Hold(store, session)
    _holds.set((*before, hold))
    try:
        yield
    finally:
        hold.is_held = False
        _holds.set(before)
        renewing.cancel()
        await asyncio.wait([renewing])
        # Where the database is out of reach, the lease runs out by itself.
        with contextlib.suppress(RequestError):
            await asyncio.shield(asyncio.to_thread(store.give_back, session, owner))


async def _taken(store: SessionStore, session: str, owner: str, wait_s: float) -> None:
    ends_at, pause_s = time.monotonic() + wait_s, _POLL_S[0]
    while not await asyncio.to_thread(store.take, session, owner, LEASE_S):
        if time.monotonic() >= ends_at:
            raise SessionConflictError(
                f"session {session!r} is being run elsewhere, and was not free within {wait_s:g} "
                "s; nothing was run"
            )
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S[1])


async def _renewed(store: SessionStore, session: str, owner: str) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 3)
        with contextlib.suppress(RequestError):
            await asyncio.to_thread(store.take, session, owner, LEASE_S)
