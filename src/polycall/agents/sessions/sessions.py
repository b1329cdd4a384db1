"""A conversation that goes on: each run finds what was said before, and keeps what it adds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from msgspec.structs import replace

from polycall.agents.agent import Prompt, messages_of
from polycall.agents.compaction import Compaction, Shortened, opening, other_tokens, size_of
from polycall.agents.context import Frame
from polycall.agents.history import History
from polycall.agents.run import AgentEvent, AgentStream, Run
from polycall.agents.sessions.store import SessionState, SessionStore
from polycall.instrumentation import conversing
from polycall.ir import Message


class Runnable(Protocol):
    """An agent, or what stands for one."""

    async def run(self, prompt: Prompt, **options: Any) -> Run[Any]: ...

    def stream(self, prompt: Prompt, **options: Any) -> AgentStream[Any]: ...


class Sessions:
    """Conversations in a database: `sqlite:///FILE`, or `postgresql://...`.

    Every message is kept; `compaction` says how much of it is sent.
    """

    def __init__(self, url: str, *, compaction: Compaction | None = None) -> None:
        self.compaction = compaction or Compaction()
        self.store = SessionStore(url)

    def open(self, session_id: str) -> Session:
        """A conversation, which need not exist yet."""
        return Session(self, session_id)

    def list(self) -> list[str]:
        """The ids of all, the one that spoke last first."""
        return self.store.names()

    def delete(self, session_id: str) -> bool:
        """Forget one; whether there was one."""
        return self.store.delete(session_id)

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Session:
    """One conversation.  Of two runs of it at once, one is refused at its end."""

    def __init__(self, sessions: Sessions, session_id: str) -> None:
        self.id = session_id
        self._store = sessions.store
        self._compaction = sessions.compaction

    async def run(self, agent: Runnable, prompt: Prompt, **options: Any) -> Run[Any]:
        """`agent.run` with what was said before; its messages are kept when it has ended.

        A run that raises, or pauses, leaves the session as it was.
        """
        with conversing(self.id):
            begun = await self._begin(prompt)
            run = await agent.run(prompt, history=begun.history, **options)
        await self._keep(begun, run)
        return run

    def stream(self, agent: Runnable, prompt: Prompt, **options: Any) -> AgentStream[Any]:
        """`agent.stream` with what was said before; its messages are kept after the last event.

        A stream that is left before its end leaves the session as it was.
        """

        async def events() -> AsyncGenerator[AgentEvent | Run[Any]]:
            with conversing(self.id):
                begun = await self._begin(prompt)
                stream = agent.stream(prompt, history=begun.history, **options)
            async with stream:
                while True:
                    try:
                        # Not around the `yield`: who reads is not a part of the conversation.
                        with conversing(self.id):
                            event = await anext(stream)
                    except StopAsyncIteration:
                        break
                    yield event
            await self._keep(begun, stream.run)
            yield stream.run

        return AgentStream(events())

    async def _begin(self, prompt: Prompt) -> _Begun:
        version, state, messages = await asyncio.to_thread(self._store.load, self.id)
        state, messages = await self._shortened(state, messages, messages_of(prompt))
        return _Begun(version, state, _history(state, messages))

    async def _keep(self, begun: _Begun, run: Run[Any]) -> None:
        if run.reason == "paused":
            return
        added = run.messages[len(begun.history.messages) :]
        state = _after(begun.state, run, added)
        await asyncio.to_thread(self._store.save, self.id, begun.version, state, added)

    async def history(self) -> History:
        """What the next run would find."""
        _, state, messages = await asyncio.to_thread(self._store.load, self.id)
        return _history(state, messages)

    async def messages(self) -> list[Message]:
        """Everything that was ever said."""
        return await asyncio.to_thread(self._store.messages, self.id)

    async def _shortened(
        self, state: SessionState, messages: list[Message], new: list[Message]
    ) -> tuple[SessionState, list[Message]]:
        before = Shortened(state.gone, state.summary)
        made = await self._compaction.shorten(
            before, messages, other_tokens=state.other_tokens, kept=new
        )
        left = messages[made.gone - before.gone :]
        return replace(state, gone=made.gone, summary=made.summary), left


@dataclass(frozen=True)
class _Begun:
    """What a run of a session found."""

    version: int
    state: SessionState
    history: History


def _history(state: SessionState, messages: list[Message]) -> History:
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
    )


def _after(state: SessionState, run: Run[Any], added: list[Message]) -> SessionState:
    shift = state.gone - (1 if state.gone else 0)
    frames: list[Frame] = [
        replace(frame, start=frame.start + shift if frame.start else 0)
        for frame in run.history.frames
    ]
    return replace(
        state,
        count=state.count + len(added),
        other_tokens=_other_tokens(run, state.other_tokens),
        frames=frames,
        variables=run.history.variables,
        opened=run.history.opened,
        allowed=run.history.allowed,
        tasks=run.history.tasks,
    )


def _other_tokens(run: Run[Any], before: int) -> int:
    if not run.steps:
        return before
    sent = sum(map(size_of, run.messages[:-1]))
    return other_tokens(run.steps[-1].response.usage, sent, before)
