"""YAML that others wrote, no larger than it looks: its aliases may repeat it a billion times.

Needs pyyaml, an extra: import this where it is used.
"""

from __future__ import annotations

from typing import Any, cast

import yaml

_PLACES_MIN = 10_000
_TAGS = "tag:yaml.org,2002:"
_PLAIN = {
    _TAGS + each for each in ("bool", "float", "int", "map", "null", "seq", "str", "timestamp")
}


class _Loader(yaml.SafeLoader):
    """Makes of collections dicts and lists alone: sets and lists of pairs have tags."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        tag = node.tag.replace(_TAGS, "!!")[:100]
        line = node.start_mark.line + 1
        if node.tag not in _PLAIN:
            raise ValueError(
                f"line {line} has the tag {tag!r}, which is not read; write lists and mappings "
                "without a tag, and texts in quotes"
            )
        try:
            return cast("Any", super()).construct_object(node, deep)
        except (AttributeError, LookupError):  # such as of `!!bool 5`
            raise ValueError(
                f"line {line} has the tag {tag!r} before another value; write it without"
            ) from None


def load_yaml(text: str | bytes) -> Any:
    """What it says; `ValueError` where it is not plain, too deep, or repeats too much."""
    try:
        value: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 - less than safe_load reads
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"not plain YAML: {error}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Each place but those of aliases takes a character at least.
    most = max(len(text), _PLACES_MIN)
    if _has_more_places(value, most):
        raise ValueError(f"more than {most} values, since its aliases repeat so much")
    return value


def _has_more_places(value: Any, most: int) -> bool:
    """Whether there are more, aliases counted as often as they stand; one may hold itself."""
    layers = [iter([value])]
    count = 0
    while layers:
        item = next(layers[-1], layers)
        if item is layers:
            layers.pop()
            continue
        count += 1
        if count > most:
            return True
        if isinstance(item, dict):
            layers.append(iter(cast("dict[Any, Any]", item).values()))
        elif isinstance(item, list):
            layers.append(iter(cast("list[Any]", item)))
    return False
