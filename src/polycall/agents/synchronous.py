"""The face for code without an event loop, of what runs as an agent does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic

from typing_extensions import Unpack

from polycall.agents.default import portal, run_blocking
from polycall.agents.options import Prompt, ResumeOptions, RunOptions
from polycall.agents.output import OutputT
from polycall.agents.pausing import PausedRun
from polycall.agents.run import AgentStream, Run, SyncAgentStream


class Synchronous(ABC, Generic[OutputT]):
    """Each method of an agent, waited for."""

    @abstractmethod
    async def run(self, prompt: Prompt, **options: Unpack[RunOptions[Any]]) -> Run[OutputT]: ...

    @abstractmethod
    def stream(
        self, prompt: Prompt, **options: Unpack[RunOptions[Any]]
    ) -> AgentStream[OutputT]: ...

    @abstractmethod
    async def resume(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]
    ) -> Run[OutputT]: ...

    @abstractmethod
    def resume_stream(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]
    ) -> AgentStream[OutputT]: ...

    def run_sync(self, prompt: Prompt, **options: Unpack[RunOptions[Any]]) -> Run[OutputT]:
        """`run` for code without an event loop."""
        return run_blocking(self.run, prompt, **options)

    def stream_sync(
        self, prompt: Prompt, **options: Unpack[RunOptions[Any]]
    ) -> SyncAgentStream[OutputT]:
        """`stream` for code without an event loop."""
        return SyncAgentStream(portal(), self.stream(prompt, **options))

    def resume_sync(self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]) -> Run[OutputT]:
        """`resume` for code without an event loop."""
        return run_blocking(self.resume, paused, **options)

    def resume_stream_sync(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]
    ) -> SyncAgentStream[OutputT]:
        """`resume_stream` for code without an event loop."""
        return SyncAgentStream(portal(), self.resume_stream(paused, **options))
