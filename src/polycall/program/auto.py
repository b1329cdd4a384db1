"""Direct or by code: a rule that explains itself.

Both forms are estimated in tokens, over the whole run, from what the application says (`Hints`),
what earlier runs have shown (`Seen`), and the sizes of the texts that each form would send.  What
nobody knows is assumed to be one small call: then direct calling wins, as it should.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.ir import ToolResult
from polycall.program.records import CallingDecision

Ability: TypeAlias = Literal["none", "weak", "good"]

# JSON has about three bytes to a token with the tokenizers in use in 2026.
BYTES_PER_TOKEN = 3
# What the estimates take for granted; measured on the scripts of `polycall bench programs`.
PROGRAM_TOKENS = 160
OUTPUT_TOKENS = 120
CALL_TOKENS = 40
RESULT_TOKENS = 120
# A program fails now and then, and a sandbox costs time: code must be clearly cheaper.
CODE_FACTOR = 1.25
FAILURES_MAX = 2


def estimated_tokens(text: str) -> int:
    """Tokens of a text, roughly and without a tokenizer."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


class Hints(Struct, frozen=True):
    """Facts that the application knows of a run before it begins; `None` is unknown.

    `calls` is how many calls the task takes, `result_tokens` the size of one result, `dependent`
    whether each call needs the result of the one before, `ability` how well the model writes
    programs.
    """

    calls: int | None = None
    result_tokens: int | None = None
    dependent: bool | None = None
    ability: Ability | None = None


class Seen:
    """Observations of runs so far.  Keep one for runs of the same kind, and it learns."""

    def __init__(self) -> None:
        self.failures_in_a_row: Counter[str] = Counter()
        self._runs = 0
        self._calls = 0
        self._run_calls = 0
        self._tokens = 0
        self._direct_calls = 0
        self._direct_steps = 0

    def begin_run(self) -> None:
        """A run begins."""
        self._runs += 1
        self._run_calls = 0

    def step(self) -> None:
        """The model has had direct results once more."""
        self._direct_steps += 1

    def result(self, result: ToolResult, *, direct: bool = False) -> None:
        """A tool that programs may call has answered."""
        self._calls += 1
        self._run_calls += 1
        self._direct_calls += direct
        self._tokens += estimated_tokens(result.text)

    def program(self, model: str, *, failed: bool) -> None:
        """A program of this model has ended."""
        self.failures_in_a_row[model] = self.failures_in_a_row[model] + 1 if failed else 0

    @property
    def result_tokens(self) -> int | None:
        """The mean size of a result."""
        return self._tokens // self._calls if self._calls else None

    @property
    def calls_per_run(self) -> int | None:
        """The mean number of calls, or what this run has had already where that is more."""
        if not self._calls:
            return None
        earlier = self._calls - self._run_calls
        return max(round(earlier / max(self._runs - 1, 1)), self._run_calls, 1)

    @property
    def dependent(self) -> bool | None:
        """Whether direct calls came one in a step; `None` where there were too few to tell."""
        return self._direct_steps >= self._direct_calls if self._direct_calls > 1 else None


class Sizes(Struct, frozen=True):
    """The tokens that each form sends with every request: `prompt` with either."""

    direct: int
    code: int
    prompt: int = 0


def decide(sizes: Sizes, hints: Hints, seen: Seen, *, model: str = "") -> CallingDecision:
    """The cheaper form for a run, among tools that allow both."""
    calls = _first(hints.calls, seen.calls_per_run, 1)
    result_tokens = _first(hints.result_tokens, seen.result_tokens, RESULT_TOKENS)
    dependent = bool(_first(hints.dependent, seen.dependent, 0))
    direct = _direct_tokens(sizes, calls, result_tokens, dependent=dependent)
    code = _code_tokens(sizes)
    refusal = _unable(hints, seen, model)
    form = "direct" if refusal or code * CODE_FACTOR >= direct else "code"
    rule = "ability" if refusal else "estimate"
    found = CallingDecision(form, rule, refusal, direct, code, calls, result_tokens, dependent)
    return found if refusal else replace(found, reason=_words(found))


def _direct_tokens(sizes: Sizes, calls: int, result_tokens: int, *, dependent: bool) -> int:
    """Every request sends the definitions and all that came before it."""
    each = CALL_TOKENS + result_tokens
    if not dependent:
        return 2 * (sizes.direct + sizes.prompt) + calls * each
    return (calls + 1) * (sizes.direct + sizes.prompt) + each * calls * (calls + 1) // 2


def _code_tokens(sizes: Sizes) -> int:
    return 2 * (sizes.code + sizes.prompt) + PROGRAM_TOKENS + OUTPUT_TOKENS


def _unable(hints: Hints, seen: Seen, model: str) -> str:
    if hints.ability in ("none", "weak"):
        return f"the model is said to be {hints.ability} at programs"
    failures = seen.failures_in_a_row[model]
    if failures >= FAILURES_MAX:
        return f"the last {failures} programs of this model failed"
    return ""


def _words(decision: CallingDecision) -> str:
    order = "each after the one before" if decision.dependent else "independent of each other"
    what = f"{decision.calls} calls, {order}," if decision.calls != 1 else "one call"
    verdict = "programs are" if decision.form == "code" else "direct calling is"
    return (
        f"{what} of about {decision.result_tokens} tokens a result: about "
        f"{decision.direct_tokens} tokens directly and {decision.code_tokens} by a program, so "
        f"{verdict} chosen"
    )


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
