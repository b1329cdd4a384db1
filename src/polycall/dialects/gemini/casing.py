"""The two casings of proto-JSON.

Google takes `functionCall` and `function_call` alike, and its own SDK sends a mix of both.
Everything behind this file reads and writes camelCase.  What belongs to the user (arguments,
results, schemas, labels) keeps its keys.
"""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON

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
    if any("_" in key for key in wire):
        return {camel_key(key): value for key, value in wire.items()}
    return wire


def structural(value: Any, depth: int = _DEPTH_MAX) -> Any:
    """The value with camelCase keys wherever the protocol names them.

    Gives the value itself where nothing has to change, and never changes it.
    """
    if isinstance(value, dict):
        return _object(value, depth)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list) and depth:
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        camel = [structural(item, depth - 1) for item in items]
        if any(new is not old for new, old in zip(camel, items, strict=True)):
            return camel
        return items
    return value  # pyright: ignore[reportUnknownVariableType]


def _object(value: JSON, depth: int) -> JSON:
    camel: JSON = {}
    is_same = True
    for key, inner in value.items():
        name = camel_key(key) if "_" in key else key
        new = inner
        if isinstance(inner, dict | list) and depth and name not in _FREE:
            new = structural(inner, depth - 1)
        is_same = is_same and new is inner and name is key
        camel[name] = new
    return value if is_same else camel
