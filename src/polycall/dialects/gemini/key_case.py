"""The two casings of proto-JSON.

Google takes `functionCall` and `function_call` alike, and its own SDK sends a mix of both.
Everything behind this file reads and writes camelCase.  What belongs to the user (arguments,
results, schemas, labels) keeps its keys.
"""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON
from polycall.translation.conversation import Conversation, mapped

# Under these keys are the user's own objects, or the wire's that are kept as they came.
_FREE = frozenset(
    {
        "args",
        "avgLogprobs",
        "citationMetadata",
        "groundingMetadata",
        "headers",
        "labels",
        "logprobsResult",
        "parameters",
        "parametersJsonSchema",
        "partMetadata",
        "promptFeedback",
        "properties",
        "response",
        "responseJsonSchema",
        "responseSchema",
        "safetyRatings",
        "schema",
        "urlContextMetadata",
        "usageMetadata",
    }
)

_CONTAINERS = (dict, list)
# A tower of objects deeper than any message of the protocol is somebody's data.
_DEPTH_MAX = 24


def camel_key(key: str) -> str:
    """`function_call` as `functionCall`; a key without an underscore as it is."""
    head, *rest = key.split("_")
    if not head or not rest:
        return key
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def camel_keys(wire: JSON) -> JSON:
    """The object with its own keys in camelCase, and what is inside untouched."""
    if "_" in "".join(wire):
        return {camel_key(key): value for key, value in wire.items()}
    return wire


def structural(value: Any) -> Any:
    """The value with camelCase keys wherever the protocol names them.

    Gives the value itself where nothing has to change, and never changes it.
    """
    return value if _is_camel(value, _DEPTH_MAX) else _camel(value, _DEPTH_MAX)


def _camel_item(item: Any) -> Any:
    return item if _is_camel(item, _DEPTH_MAX - 2) else _camel(item, _DEPTH_MAX - 2)


def _is_camel(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        wire: JSON = value  # pyright: ignore[reportUnknownVariableType]
        if "_" in "".join(wire):
            return False
        for key, inner in wire.items():
            is_ours = isinstance(inner, _CONTAINERS) and depth and key not in _FREE
            if is_ours and not _is_camel(inner, depth - 1):
                return False
    elif isinstance(value, Conversation):
        return mapped(value, _camel_item, _camel_item) is value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    elif isinstance(value, list) and depth:
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(item, _CONTAINERS) and not _is_camel(item, depth - 1):  # pyright: ignore[reportUnknownArgumentType]
                return False
    return True


def _camel(value: Any, depth: int) -> Any:
    if isinstance(value, Conversation):
        return mapped(value, _camel_item, _camel_item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, list) and depth:
        return [_camel(item, depth - 1) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]
    wire: JSON = value  # pyright: ignore[reportUnknownVariableType]
    camel: JSON = {}
    for key, inner in wire.items():
        name = camel_key(key)
        is_ours = depth and name not in _FREE
        camel[name] = _camel(inner, depth - 1) if is_ours else inner
    return camel
