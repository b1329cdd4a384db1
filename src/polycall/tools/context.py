"""What a tool may know of the run that it is part of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from typing_extensions import TypeVar

from polycall.ir import ToolCall

DepsT_co = TypeVar("DepsT_co", default=None, covariant=True)


@dataclass(frozen=True, kw_only=True)
class ToolContext(Generic[DepsT_co]):
    """Given to tools with a parameter annotated `ToolContext`; the model never sees it.

    `deps` is whatever the application hands to its tools: a database, a user, a setting.
    """

    deps: DepsT_co
    call: ToolCall | None = None
    model: str = ""
