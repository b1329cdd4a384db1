"""The amount of reasoning in the target's words: the nearest effort that it knows.

What the targets take is in `Quirks`; how it is written on each wire is the dialects' business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from polycall.ir import Effort, ReasoningConfig
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses

EFFORTS: tuple[Effort, ...] = get_args(Effort)
# Thinking budgets and the efforts that cost about as much.
_BUDGETS: tuple[tuple[int, Effort], ...] = ((2_048, "low"), (8_192, "medium"), (24_576, "high"))
# Claude has no word for the first two, and some of its models take budgets only.
CLAUDE_EFFORTS: frozenset[str] = frozenset(EFFORTS) - {"none", "minimal"}
_CLAUDE_BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}


def known_effort(word: object) -> Effort | None:
    """The effort that this is a word for."""
    return next((each for each in EFFORTS if each == word), None)


def is_off(config: ReasoningConfig) -> bool:
    """Whether no thinking is asked for."""
    return config.budget_tokens == 0 or (config.budget_tokens is None and config.effort == "none")


def effort_for(config: ReasoningConfig, known: Iterable[str], losses: Losses) -> Effort | None:
    """The effort to send, of those that are known; `None` where the model may choose.

    A budget becomes the effort that costs about as much; `none` and a budget of 0 the least one
    where thinking cannot be turned off.
    """
    taken: list[Effort] = [word for word in EFFORTS if word in known]
    if config.effort is not None or config.budget_tokens == 0:
        return _fitted(config.effort or "none", taken, losses)
    if config.budget_tokens is None or config.budget_tokens < 0:
        return None
    nearby: list[Effort] = [word for most, word in _BUDGETS if config.budget_tokens <= most]
    effort = _nearest(nearby[0] if nearby else "xhigh", taken)
    if effort is not None:
        detail = f"{config.budget_tokens} tokens are sent as effort {effort!r}"
        losses.adjust("reasoning.budget_tokens", detail)
    return effort


def claude_budget(effort: Effort | None, losses: Losses) -> int:
    """The budget for an effort, for a model that takes no effort."""
    budget = _CLAUDE_BUDGETS.get(effort or "medium", _CLAUDE_BUDGETS["medium"])
    losses.emulate("reasoning.effort", f"sent as a budget of {budget} tokens")
    return budget


def fitted_effort(effort: str, known: Iterable[str], losses: Losses) -> str | None:
    """The nearest effort that is known; a word that nobody knows stays, for the vendor to judge."""
    word = known_effort(effort)
    if word is None:
        return effort
    taken: list[Effort] = [each for each in EFFORTS if each in known]
    return _fitted(word, taken, losses)


def _fitted(effort: Effort, taken: list[Effort], losses: Losses) -> Effort | None:
    if effort in taken or not taken:
        return effort if effort in taken else None
    if effort == "none":
        losses.adjust("reasoning.effort", f"thinking cannot be turned off: sent as {taken[0]!r}")
        return taken[0]
    nearest = _nearest(effort, taken)
    if nearest is not None:
        losses.adjust("reasoning.effort", f"{effort!r} is sent as {nearest!r}")
    return nearest


def _nearest(effort: Effort, taken: list[Effort]) -> Effort | None:
    wanted = EFFORTS.index(effort)
    thinking: list[Effort] = [word for word in taken if word != "none"]
    return min(thinking, key=lambda word: abs(EFFORTS.index(word) - wanted), default=None)


def at_most(effort: str, most: str, losses: Losses) -> str:
    """The effort, or `most` where it is higher; any where `most` is empty."""
    order: list[str] = [*EFFORTS]
    if not most or effort not in order or order.index(effort) <= order.index(most):
        return effort
    losses.adjust("reasoning.effort", f"{effort!r} is sent as {most!r}: thinking is off")
    return most


def refuses_sampling(effort: str | None, quirks: Quirks) -> bool:
    """Whether the target takes no sampling fields, since it thinks with this effort."""
    return quirks.sampling_without_thinking and (effort or quirks.default_effort) not in (
        "",
        "none",
    )


SAMPLING = ("temperature", "top_p")
