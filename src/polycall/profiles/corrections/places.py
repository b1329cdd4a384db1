"""A field as a vendor names it, found in the body that was sent.

Vendors write `messages[0].name`, `tools.0.custom.strict` with words of their schema between,
`generation_config` for `generationConfig`, or the last name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from polycall.ir import JSON

_STEP = re.compile(r"[A-Za-z_][\w-]*|\d+")
_WORDS_SKIPPED = frozenset({"body", "request", "root", "generatecontentrequest", "params"})
_DEPTH_MAX = 5
# Lists whose items say what is asked: a bare name is never looked for in them.
_CONTENT = frozenset({"messages", "input", "contents", "system", "tools", "systeminstruction"})


def found_in(body: JSON, said: str) -> str | None:
    """The path of the field that is meant, `*` for every item of a list; `None` without one."""
    steps = [step for step in _STEP.findall(said) if _plain(step) not in _WORDS_SKIPPED]
    if not steps or len(steps) > 12:
        return None
    path = _walked(body, steps)
    if path is not None:
        return ".".join(path)
    names = [step for step in steps if not step.isdigit()]
    if len(names) > 2:
        return None
    # A bare name, or one with its parent: the one place where the body has it.
    wanted = [_plain(name) for name in names]
    places = [
        path
        for path in _paths(body, ())
        if [_plain(step) for step in path[-len(wanted) :]] == wanted
    ]
    return ".".join(places[0]) if len(places) == 1 else None


def value_at(body: JSON, path: str) -> Any:
    """The first value there; `None` without one."""
    return next(_values(body, path.split(".")), None)


def _values(value: Any, steps: list[str]) -> Iterator[Any]:
    if not steps:
        yield value
    elif steps[0] == "*" and isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _values(item, steps[1:])
    elif isinstance(value, dict) and steps[0] in value:
        yield from _values(value[steps[0]], steps[1:])


def _walked(value: Any, steps: list[str]) -> list[str] | None:
    """The path through the body, words of the vendor's schema left out."""
    if not steps:
        return []
    step = steps[0]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if step.isdigit():
            rest = steps[1:]
            items = items[int(step) : int(step) + 1] if int(step) < len(items) else []
        else:
            rest = steps
        for item in items:
            below = _walked(item, rest)
            if below:
                return ["*", *below]
        return None
    if not isinstance(value, dict):
        return None
    fields = cast("JSON", value)
    name = next((name for name in fields if _plain(name) == _plain(step)), None)
    if name is not None:
        below = _walked(fields[name], steps[1:])
        if below is not None:
            return [name, *below]
    # A name of the vendor's schema that no body has: `custom`, `enabled`.
    return _walked(value, steps[1:]) if name is None and len(steps) > 1 else None


def _paths(value: Any, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if len(above) >= _DEPTH_MAX or not isinstance(value, dict):
        return
    for name, below in cast("JSON", value).items():
        if not above and _plain(name) in _CONTENT:
            continue
        yield (*above, name)
        yield from _paths(below, (*above, name))


def _plain(name: str) -> str:
    return re.sub(r"[_-]", "", name).lower()
