"""What a tool may know of the run that it is part of."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    timer: asyncio.Timeout | None = field(default=None, repr=False)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Stop the call's deadline meanwhile, for what a person must be waited for."""
        ends_at = self.timer.when() if self.timer is not None else None
        if self.timer is None or ends_at is None:
            yield
            return
        loop = asyncio.get_running_loop()
        left_s = ends_at - loop.time()
        self.timer.reschedule(None)
        try:
            yield
        finally:
            self.timer.reschedule(loop.time() + left_s)
