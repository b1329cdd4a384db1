"""Agents for code without an event loop: `run_sync` and its like, their loop, their client."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

from typing_extensions import Unpack

from polycall._support.blocking import PerLoop, Portal, shared_portal
from polycall.agents.options import DepsT, Prompt, ResumeOptions, RunOptions
from polycall.agents.output import OutputT
from polycall.agents.pausing import PausedRun
from polycall.agents.run import AgentStream, Run, SyncAgentStream
from polycall.client import Client

P = ParamSpec("P")
T = TypeVar("T")

_clients = PerLoop(Client, Client.close)


async def default_client() -> Client:
    """Made on first use, shared, and closed with its event loop."""
    return await _clients.get()


async def close_default_client() -> None:
    """Close the clients that were made; the next agent that needs one gets a new one."""
    await _clients.close()


@functools.cache
def portal() -> Portal:
    """The event loop of `run_sync`, one for the process."""
    made = shared_portal()
    made.before_end(close_default_client)
    return made


def run_blocking(
    work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs
) -> T:
    """Run `work` to its end and return its value.

    `RequestError` where an event loop would block.
    """
    return portal().run(work(*args, **options))


class Synchronous(ABC, Generic[DepsT, OutputT]):
    """Each method of an agent, waited for."""

    @abstractmethod
    async def run(self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]) -> Run[OutputT]: ...

    @abstractmethod
    def stream(
        self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]
    ) -> AgentStream[OutputT]: ...

    @abstractmethod
    async def resume(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[DepsT]]
    ) -> Run[OutputT]: ...

    @abstractmethod
    def resume_stream(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[DepsT]]
    ) -> AgentStream[OutputT]: ...

    def run_sync(self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]) -> Run[OutputT]:
        """`run` for code without an event loop, with its options."""
        return run_blocking(self.run, prompt, **options)

    def stream_sync(
        self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]
    ) -> SyncAgentStream[OutputT]:
        """`stream` for code without an event loop.

        Approvals come as events here too: answer them before the next event is asked for.
        """
        return SyncAgentStream(portal(), self.stream(prompt, **options))

    def resume_sync(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[DepsT]]
    ) -> Run[OutputT]:
        """`resume` for code without an event loop."""
        return run_blocking(self.resume, paused, **options)

    def resume_stream_sync(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[DepsT]]
    ) -> SyncAgentStream[OutputT]:
        """`resume_stream` for code without an event loop."""
        return SyncAgentStream(portal(), self.resume_stream(paused, **options))
