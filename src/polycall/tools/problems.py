"""Problems of a call's arguments, reported so that a model can correct them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from polycall.ir import JSON
from polycall.schema.walk import as_array, as_object, object_at
from polycall.schema.words import shown

_TOLD_MAX = 10
_VALUE_LENGTH_MAX = 80
_MESSAGE_LENGTH_MAX = 300


class Problem(Struct, frozen=True):
    """One thing that is wrong, and where.

    `path` may name branches of unions as well as keys; only what leads into the arguments is
    reported.  `kind` is `"unexpected"` for a property that the tool does not have.
    """

    path: tuple[str | int, ...]
    message: str
    kind: str = ""
    value: Any = None
    has_value: bool = True


class Checker(Protocol):
    """Checks arguments, and makes them into the handler's values.

    With `keeps_digits` it wants a number that no float holds as a `Decimal`.
    """

    keeps_digits: bool

    def problems(self, arguments: JSON) -> list[Problem]: ...
    def load(self, arguments: JSON) -> dict[str, Any]: ...


def explain(name: str, problems: Sequence[Problem], arguments: JSON, parameters: JSON) -> str:
    """All problems of one call, for the model that made it."""
    lines = list(dict.fromkeys(_line(problem, arguments, parameters) for problem in problems))
    if len(lines) > _TOLD_MAX:
        lines = [*lines[:_TOLD_MAX], f"- and {len(lines) - _TOLD_MAX} more"]
    told = "\n".join(lines)
    return (
        f"the arguments do not fit {name!r}, so nothing was run:\n{told}\n"
        "correct them and call again"
    )


def truncated(text: str) -> str:
    """The text, with its middle left out where it is long."""
    half = _MESSAGE_LENGTH_MAX // 2
    return text if len(text) <= 2 * half else f"{text[:half]} ... {text[-half:]}"


def near_miss(name: str, names: Iterable[str]) -> str:
    """A question about the name that was probably meant; empty where none is near."""
    known = list(names)
    folded = {candidate.casefold(): candidate for candidate in known}
    wanted = name.casefold()
    close = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6) or [
        candidate
        for candidate in folded
        if min(len(wanted), len(candidate)) >= 3 and (wanted in candidate or candidate in wanted)
    ]
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def _line(problem: Problem, arguments: JSON, parameters: JSON) -> str:
    path = _path_into(arguments, problem.path)
    place = _formatted(path) or "the arguments"
    if problem.kind == "unexpected":
        names = object_at(parameters, "properties") if len(path) == 1 else {}
        hint = near_miss(str(problem.path[-1]), names)
        if len(path) == 1 and not names:
            hint = "; the tool takes none"
        return f"- {place}: there is no such parameter{hint}"
    value = f", got {shown(problem.value, _VALUE_LENGTH_MAX)}" if problem.has_value else ""
    return f"- {place}: {problem.message}{value}"


def _path_into(arguments: JSON, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The steps that lead into the arguments; the last may name what is missing there."""
    kept: list[str | int] = []
    value: Any = arguments
    for position, step in enumerate(path):
        mapping, items = as_object(value), as_array(value)
        if mapping is not None and step in mapping:
            value = mapping[str(step)]
        elif items is not None and isinstance(step, int) and step < len(items):
            value = items[step]
        elif position < len(path) - 1 or mapping is None or not isinstance(step, str):
            continue
        kept.append(step)
    return tuple(kept)


def _formatted(path: tuple[str | int, ...]) -> str:
    spelt = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return spelt.lstrip(".")
