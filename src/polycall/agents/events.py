"""What agents and tools say of themselves among the events of a run."""

from __future__ import annotations

from msgspec import Struct


class HandoffEvent(Struct, frozen=True):
    """The conversation goes to another agent with the next step, or back to the one before."""

    origin: str
    target: str
    reason: str
    is_return: bool = False


class ProgressEvent(Struct, frozen=True):
    """How far a tool is, from 0 to 1, in its own words."""

    progress: float
    message: str = ""
