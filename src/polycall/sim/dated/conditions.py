"""Conditions of a rule: paths into a request, and what the values there must be.

A path is names and numbers joined by dots; `*` stands for every item (`tools.*.strict`).  A
condition holds if one of the values that its path leads to satisfies the test.  Tests, as TOML:

* a scalar: the value is it; a list: the value is one of them
* `{present = true}`: there is such a value, and it is not null; `false`: there is none
* `{not = [...]}`: the value is there and is not one of them
* `{above = 1}`, `{below = 1}`: a number beyond the bound; `{from = 2}`: or at it;
  `{above_limit = "output_tokens_max"}`: beyond the model's own
* `{longer = 64}`: a string or a list with more characters or items
* `{matches = "..."}`: a string that the pattern finds something in; `{lacks = "..."}`: none has it
* `{count = 20}`: more values than that; with `where`, of those objects that satisfy its conditions
* `{where = {...}}`: an object that satisfies conditions of its own
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

JSON: TypeAlias = dict[str, Any]
Found: TypeAlias = dict[str, Any]  # what a refusal's words may quote

TESTS = frozenset(
    {
        "present",
        "not",
        "above",
        "above_limit",
        "below",
        "from",
        "longer",
        "matches",
        "lacks",
        "count",
        "where",
    }
)


def values_at(document: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value that the path leads to, with its own path; nulls and absent ones left out."""
    yield from _walk(document, path.split("."), ())


def _walk(value: Any, steps: list[str], trail: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if not steps:
        yield ".".join(trail), value
        return
    step, rest = steps[0], steps[1:]
    if step == "*":
        if isinstance(value, list):
            for index, item in enumerate(cast("list[Any]", value)):
                yield from _walk(item, rest, (*trail, str(index)))
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        if step.isdigit() and int(step) < len(items):
            yield from _walk(items[int(step)], rest, (*trail, step))
    elif isinstance(value, dict):
        yield from _walk(cast("JSON", value).get(step), rest, (*trail, step))


def match(document: Any, conditions: Mapping[str, Any]) -> Found | None:
    """The finding where every condition holds; `None` if one does not.

    `value`, `path`, `count` and `length` are of the last condition that found a value.
    """
    found: Found = {}
    for path, test in conditions.items():
        hit = _check(list(values_at(document, path)), _resolve(document, test))
        if hit is None:
            return None
        found.update(hit)
    return found


def _resolve(document: Any, test: Any) -> Any:
    """The test with the model's own limit in it; a model without one is never beyond it."""
    if not isinstance(test, dict) or "above_limit" not in test:
        return cast("Any", test)
    fields = cast("JSON", test)
    limits = cast("JSON", cast("JSON", document).get("limits") or {})
    bound = limits.get(fields["above_limit"])
    rest = {name: value for name, value in fields.items() if name != "above_limit"}
    return {**rest, "above": float("inf") if bound is None else bound}


def _check(values: list[tuple[str, Any]], test: Any) -> Found | None:
    if not isinstance(test, dict):
        wanted = cast("list[Any]", test) if isinstance(test, list) else [test]
        return _first(values, lambda value: _is_one_of(value, wanted))
    tests = cast("JSON", test)
    if "present" in tests:
        if bool(values) != tests["present"]:
            return None
        return _quote(*values[0]) if values else {}
    if "where" in tests:
        values = [(path, value) for path, value in values if match(value, tests["where"])]
    if "count" in tests:
        return {"count": len(values)} if len(values) > tests["count"] else None
    if "lacks" in tests:
        pattern = re.compile(tests["lacks"])
        texts = [value for _, value in values if isinstance(value, str)]
        return None if any(pattern.search(text) for text in texts) else {}
    return _first(values, lambda value: all(_holds(value, name, tests[name]) for name in tests))


def _holds(value: Any, name: str, bound: Any) -> bool:
    match name:
        case "where":
            return True  # filtered already
        case "not":
            return not _is_one_of(value, bound)
        case "above":
            return _is_number(value) and value > bound
        case "below":
            return _is_number(value) and value < bound
        case "from":
            return _is_number(value) and value >= bound
        case "longer":
            return isinstance(value, str | list) and len(cast("str", value)) > bound
        case "matches":
            return isinstance(value, str) and re.search(bound, value) is not None
        case _:
            raise ValueError(f"unknown test {name!r}; there are {', '.join(sorted(TESTS))}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_one_of(value: Any, wanted: list[Any]) -> bool:
    # JSON's true is not its 1.
    return any(
        value == item and isinstance(value, bool) == isinstance(item, bool) for item in wanted
    )


def _first(values: list[tuple[str, Any]], holds: Callable[[Any], bool]) -> Found | None:
    for path, value in values:
        if holds(value):
            return _quote(path, value)
    return None


def _quote(path: str, value: Any) -> Found:
    found: Found = {"path": path, "value": value, "brackets": _brackets(path)}
    if isinstance(value, str | list):
        found["length"] = len(cast("str", value))
    return found


def _brackets(path: str) -> str:
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path)
