"""The face for code without an event loop, of what runs as an agent does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic

from typing_extensions import Unpack

from polycall.agents.default import portal, run_blocking
from polycall.agents.options import DepsT, Prompt, ResumeOptions, RunOptions
from polycall.agents.output import OutputT
from polycall.agents.pausing import PausedRun
from polycall.agents.run import AgentStream, Run, SyncAgentStream


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
