"""Records of a run's programs: plain values, ready to be stored."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from polycall.ir import ToolCall, ToolResult

Form: TypeAlias = Literal["direct", "code"]
Calling: TypeAlias = Literal["direct", "code", "auto"]
ProgramStatus: TypeAlias = Literal[
    "finished", "failed", "timeout", "killed", "crashed", "paused", "native"
]


class NestedCall(Struct, frozen=True):
    """A call that a program made.  `call.caller` is the program.

    `result` is `None` where the program ended, or was paused, before the tool had answered.
    """

    call: ToolCall
    result: ToolResult | None = None
    duration_s: float = 0.0


class PendingCall(Struct, frozen=True):
    """A call whose result comes later.  `id` is that of its `ToolCall`, `number` the journal's."""

    id: str
    number: int
    name: str
    arguments_json: str


class PausedProgram(Struct, frozen=True):
    """All that another process needs to continue: the call of the program, its journal, its calls.

    Holds the program's data and its tools' results: keep it as safe as those.
    """

    call_id: str
    journal: str
    pending: list[PendingCall]


class ProgramRun(Struct):
    """One program: what ran, which calls it made, what of it the model has read.

    `status="native"` is a program that ran at the provider; `output` is what it printed there.
    """

    id: str
    code: str = ""
    status: ProgramStatus = "finished"
    calls: list[NestedCall] = []
    output: str = ""
    duration_s: float = 0.0
    resumed: bool = False

    @property
    def result_bytes(self) -> int:
        """The bytes that the tools gave to the program; none of it is in the model's context."""
        return sum(len(each.result.text.encode()) for each in self.calls if each.result is not None)


class Parked(Struct, frozen=True):
    """A direct result that was put into the session, and is a variable of its programs."""

    call_id: str
    variable: str
    result_bytes: int


class CallingDecision(Struct, frozen=True):
    """The chosen way of offering the tools, and the reason.

    `rule` is the rule that decided; `reason` says it in words.  The numbers are what it went by:
    tokens that each form is expected to cost, calls of a run, tokens of a result.
    """

    form: Form
    rule: Literal["asked", "no_code", "code_only", "native", "ability", "parked", "estimate"]
    reason: str
    direct_tokens: int = 0
    code_tokens: int = 0
    calls: int = 0
    result_tokens: int = 0
    dependent: bool = False
    overrides: dict[str, Form] = {}
