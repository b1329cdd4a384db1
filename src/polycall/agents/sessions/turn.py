"""One run of a session: what it finds, and what the session keeps of it, however it ends."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, Literal, TypeAlias

from msgspec.structs import replace

from polycall.agents.compaction import Compaction, Shortened, opening, other_tokens, size_of
from polycall.agents.context import Frame
from polycall.agents.history import History
from polycall.agents.output import OutputT
from polycall.agents.pausing import PausedRun, Start
from polycall.agents.run import Run, keep_on, partial_run
from polycall.agents.sessions.store import SessionConflictError, SessionState, SessionStore
from polycall.errors import RequestError
from polycall.ir import Message

# What a session keeps of a run that has not come to its end: as far as it came, or nothing.
Keep: TypeAlias = Literal["partial", "whole"]


def checked_keep(keep: Any) -> Keep:
    """`keep`, or `RequestError` where it is none."""
    if keep not in ("partial", "whole"):
        raise RequestError(f"keep is 'partial' or 'whole', not {keep!r}")
    return keep


class SessionTurn:
    """A run of a session from its beginning to what is kept of it."""

    def __init__(
        self, session_id: str, user: str, store: SessionStore, compaction: Compaction
    ) -> None:
        self._id = session_id
        self._user = user
        self._store = store
        self._compaction = compaction
        self._version = 0
        self._state = SessionState()
        self._earlier = 0  # messages that the run was given
        self._start: Start | None = None  # of a run that is continued
        self._entries = 0  # what that run had done when it paused
        self._is_kept = False

    async def begin(self, new: list[Message]) -> History:
        """The history that the run is given."""
        self._version, state, messages = await asyncio.to_thread(
            self._store.load, self._id, self._user
        )
        before = Shortened(state.gone, state.summary)
        made = await self._compaction.shorten(
            before, messages, other_tokens=state.other_tokens, kept=new
        )
        # What an agent left out by itself is counted from the first message that it is given.
        shortened = state.shortened if made.gone == before.gone else {}
        self._state = replace(state, gone=made.gone, summary=made.summary, shortened=shortened)
        history = history_of(self._state, messages[made.gone - before.gone :])
        self._earlier = len(history.messages)
        return replace(history, session=self._id)

    async def begin_again(self, paused: PausedRun) -> PausedRun:
        """The paused run as its agent may resume it, if it is one that this session waits for."""
        start = paused.start
        if start.session != self._id:
            whose = (
                f"belongs to the session {start.session!r}" if start.session else "has no session"
            )
            raise RequestError(f"the run {start.run_id!r} {whose}, and this is {self._id!r}")
        self._version, self._state, _ = await asyncio.to_thread(
            self._store.load, self._id, self._user
        )
        if start.run_id not in self._state.paused:
            raise RequestError(
                f"the session {self._id!r} does not wait for the run {start.run_id!r}: it was "
                "resumed already, or the session was deleted"
            )
        self._start, self._earlier = start, start.earlier
        self._entries = len(paused.entries)
        return _of_session(paused, "")

    async def begin_elsewhere(self, start: Start) -> Start:
        """The beginning of a run that another process may do; the session waits for its end.

        The same `run_id` again is the same run.
        """
        history = await self.begin(start.messages[start.earlier :])
        if start.run_id not in self._state.paused:
            waiting = {start.run_id: self._state.count, **self._state.paused}
            state = replace(self._state, paused=waiting)
            await asyncio.to_thread(
                self._store.save, self._id, self._version, state, [], self._user
            )
        new = start.messages[start.earlier :]
        return replace(
            Start.of(start.agent, start.run_id, history, new, start.user), session=self._id
        )

    async def end_elsewhere(self, start: Start, run: Run[OutputT]) -> None:
        """Keep what such a run has added; nothing where that was done before."""
        _, state, _ = await asyncio.to_thread(self._store.load, self._id, self._user)
        if start.run_id in state.paused:
            await self.begin_again(PausedRun(start, {}, {}))
            await self.end(run)

    async def end(self, run: Run[OutputT]) -> Run[OutputT]:
        """Keep what the run has added; the run as the caller gets it."""
        if run.reason == "paused" and run.paused is not None:
            run_id, state = run.paused.start.run_id, self._state
            waiting = {run_id: state.count, **state.paused}
            await self._save(run, replace(state, paused=waiting), [])
            run = dataclasses.replace(run, paused=_of_session(run.paused, self._id))
        else:
            await self._keep(run)
        return dataclasses.replace(run, history=replace(run.history, session=""))

    async def failed(self, error: BaseException, keep: Keep) -> None:
        """Keep what was done before `error`, where anything was; also while being cancelled."""
        run = partial_run(error)
        if run is None or self._is_kept or isinstance(error, SessionConflictError):
            return
        paused = run.paused and _of_session(run.paused, self._id)
        if keep == "partial" and self._has_done(run):
            # What is kept is not to be continued alongside it.
            paused = None
            saving = asyncio.ensure_future(self._keep(run))
            try:
                await asyncio.shield(saving)
            except asyncio.CancelledError:
                await saving
                raise
        history = replace(run.history, session="")
        keep_on(error, dataclasses.replace(run, paused=paused, history=history))

    def _has_done(self, run: Run[Any]) -> bool:
        if self._start is not None:
            return run.paused is None or len(run.paused.entries) > self._entries
        return any(message.role != "user" for message in run.messages[self._earlier :])

    async def _keep(self, run: Run[Any]) -> None:
        added = run.messages[self._earlier :]
        state = self._after(run, added)
        await self._save(run, state, added)

    async def _save(self, run: Run[Any], state: SessionState, added: list[Message]) -> None:
        try:
            await asyncio.to_thread(
                self._store.save, self._id, self._version, state, added, self._user
            )
        except BaseException as error:
            keep_on(error, run)
            raise
        self._is_kept = True

    def _after(self, run: Run[Any], added: list[Message]) -> SessionState:
        state, start = self._state, self._start
        run_id = "" if start is None else start.run_id
        made = replace(
            state,
            count=state.count + len(added),
            other_tokens=_other_tokens(run, state.other_tokens),
            tasks=run.history.tasks,
            opened=list(dict.fromkeys([*state.opened, *run.history.opened])),
            allowed=sorted({*state.allowed, *run.history.allowed}),
            began=run.history.began,
            shortened=run.history.shortened,
            paused={each: count for each, count in state.paused.items() if each != run_id},
        )
        # The run began where `shift` messages of the session were not before it.
        shift = state.count - self._earlier
        if start is not None and state.paused[start.run_id] != state.count:
            # Others spoke meanwhile, and hold the conversation; what the run changed is kept.
            changed = {
                name: value
                for name, value in run.history.variables.items()
                if start.variables.get(name) != value
            }
            variables = {**state.variables, **changed}
            return replace(made, variables=variables, shortened=state.shortened)
        frames: list[Frame] = [
            replace(frame, start=frame.start + shift if frame.start else 0)
            for frame in run.history.frames
        ]
        return replace(made, frames=frames, variables=run.history.variables)


def history_of(state: SessionState, messages: list[Message]) -> History:
    """The session as a run takes it; frames count from the first message that is sent."""
    head = [opening(state.gone, state.summary)] if state.gone else []
    shift = state.gone - len(head)
    return History(
        messages=[*head, *messages],
        frames=[replace(frame, start=max(0, frame.start - shift)) for frame in state.frames],
        variables=state.variables,
        opened=state.opened,
        allowed=state.allowed,
        tasks=state.tasks,
        began=state.began,
        shortened=state.shortened,
    )


def _of_session(paused: PausedRun, session: str) -> PausedRun:
    start = replace(paused.start, session=session)
    return PausedRun(start, paused.entries, paused.approvals, paused.decisions)


def _other_tokens(run: Run[Any], before: int) -> int:
    if not run.steps:
        return before
    sent = sum(map(size_of, run.messages[:-1]))
    return other_tokens(run.steps[-1].response.usage, sent, before)
