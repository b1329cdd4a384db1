"""YAML that others wrote, no larger than it looks: its aliases may repeat it a billion times.

Needs pyyaml, an extra: import this where it is used.
"""

from __future__ import annotations

from typing import Any, cast

import yaml

_PLACES_MIN = 10_000


def load_yaml(text: str | bytes) -> Any:
    """What it says; `ValueError` where it is no YAML, too deep, or repeats itself too much."""
    try:
        value: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"not YAML: {error}") from None
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
