"""The calls of a talk: which are open, what each is answered with, and how late."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from polycall.errors import ToolDefinitionError
from polycall.ir import JSON, ToolCall
from polycall.tools import FunctionTool, tool_from_schema
from polycall.tools.function_tool import Tell
from polycall.voices.protocol import CallReady

# So many replies in a row whose calls all failed are spoken about; then the caller is waited for.
FAILURES_MAX = 3


@dataclass(frozen=True)
class Manners:
    """The treatment of a tool's calls in a talk."""

    background: bool = False
    is_optional: bool = False  # the model says for each call whether it is in the background
    tell: Tell = "when_idle"
    silence: StaySilent | None = None

    @classmethod
    def of(cls, tool: FunctionTool[..., object]) -> Manners:
        """Those that the tool declares."""
        function = tool.function
        return cls(
            background=tool.background is True,
            is_optional=tool.background == "optional",
            tell=tool.tell,
            silence=function if isinstance(function, StaySilent) else None,
        )


@dataclass
class OpenCall:
    """A call that runs."""

    call: ToolCall
    reply_id: str
    connection: int
    is_late: bool
    manners: Manners


@dataclass
class Calls:
    """The calls of the whole talk."""

    open: dict[str, OpenCall] = field(default_factory=dict[str, OpenCall])
    _known: set[str] = field(default_factory=set[str])
    _waiting: dict[str, list[CallReady]] = field(default_factory=dict[str, list[CallReady]])
    _groups: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _spoken: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _failed: Counter[str] = field(default_factory=Counter[str])
    _sizes: dict[str, int] = field(default_factory=dict[str, int])
    failures: int = 0

    def hold(self, ready: CallReady) -> None:
        """A call is complete, and waits for its reply to be."""
        self._waiting.setdefault(ready.reply_id, []).append(ready)

    def release(self, reply_id: str) -> list[CallReady]:
        """The calls of a reply that is over."""
        return self._waiting.pop(reply_id, [])

    def release_all(self) -> list[CallReady]:
        """The calls of all replies that will not end any more."""
        held = [each for group in self._waiting.values() for each in group]
        self._waiting.clear()
        return held

    def is_known(self, call_id: str) -> bool:
        """Whether a call of this id was seen before."""
        return call_id in self._known

    def twin(self, call: ToolCall) -> OpenCall | None:
        """A call that runs in the background with the same tool and arguments."""
        for each in self.open.values():
            same = each.call.name == call.name and each.call.arguments == call.arguments
            if each.is_late and same and call.arguments is not None:
                return each
        return None

    def begin(self, opened: OpenCall) -> None:
        """A call runs."""
        call_id, reply_id = opened.call.id, opened.reply_id
        self._known.add(call_id)
        self.open[call_id] = opened
        if not opened.is_late:
            self._groups.setdefault(reply_id, set()).add(call_id)
            self._sizes[reply_id] = self._sizes.get(reply_id, 0) + 1

    def end(self, opened: OpenCall, *, speaks: bool, failed: bool) -> list[str]:
        """A call in time has ended: the calls to speak about, once all of its reply have."""
        call_id, reply_id = opened.call.id, opened.reply_id
        self.open.pop(call_id, None)
        group = self._groups.get(reply_id)
        if group is None or call_id not in group:
            return []
        group.discard(call_id)
        if speaks:
            self._spoken.setdefault(reply_id, []).append(call_id)
        self._failed[reply_id] += failed
        if group:
            return []
        del self._groups[reply_id]
        spoken, size = self._spoken.pop(reply_id, []), self._sizes.pop(reply_id)
        all_failed = self._failed.pop(reply_id, 0) == size
        self.failures = self.failures + 1 if all_failed else 0
        return spoken if self.failures <= FAILURES_MAX else []

    def in_time(self) -> bool:
        """Whether calls run that are waited for."""
        return bool(self._groups)


_ABOUT = (
    "Say nothing for now: the caller is thinking, is not done, or speaks to somebody else. "
    "What the caller says next belongs to the same turn."
)
NUDGE = (
    "The caller has said nothing more. Say something short that helps the caller to continue, or "
    "answer what was said so far."
)


class StaySilent:
    """The silence that a voice is allowed: so many times in a row, and so long."""

    def __init__(self, wait_s: float, silences_max: int) -> None:
        self.wait_s = wait_s
        self.silences_max = silences_max

    def __call__(self, arguments: JSON) -> str:
        return ""


def stay_silent(*, wait_s: float = 6.0, silences_max: int = 3) -> FunctionTool[..., Any]:
    """A tool by which the voice stays silent until the caller continues, or `wait_s` are over.

    Then the voice speaks, once.  After `silences_max` silences in a row the tool tells the model
    to answer.  Outside of a talk it does nothing.
    """
    if not 0 < wait_s <= 600:
        raise ToolDefinitionError(f"wait_s is from 0 to 600 seconds, got {wait_s!r}")
    if silences_max < 1:
        raise ToolDefinitionError(f"silences_max is 1 or more, got {silences_max!r}")
    return tool_from_schema("stay_silent", _ABOUT, None, StaySilent(wait_s, silences_max))
