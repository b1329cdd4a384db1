"""Keywords that a target does not know, written into the description.

The model reads them there; the code that validates the arguments has the caller's own schema.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from polycall._support import jsontext
from polycall.ir import JSON
from polycall.schema.walk import without

# In the order of telling.  Keywords that are not listed say nothing that a model could use.
_TOLD = (
    "const",
    "enum",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "prefixItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "not",
    "if",
    "then",
    "else",
    "allOf",
    "default",
    "example",
    "examples",
)


def kept(node: JSON, keywords: Set[str], *lost: str) -> JSON:
    """A shallow copy with the known keywords but the lost ones; those left out are reported."""
    gone = {key for key in node if key not in keywords}.union(lost)
    told = {key: node[key] for key in _TOLD if key in gone and key in node}
    return describe(without(node, *gone), keyword_notes(told))


def describe(node: JSON, *notes: str) -> JSON:
    """A copy whose description also says the notes."""
    said = node.get("description")
    text = said if isinstance(said, str) else ""
    added = " ".join(note for note in notes if note and note not in text)
    if not added:
        return node
    return {**node, "description": f"{text} {added}" if text else added}


def keyword_notes(dropped: JSON) -> str:
    """Keywords that the target does not know, as one remark for the description."""
    told = ", ".join(
        f"{key}: {shown(value)}"
        for key, value in dropped.items()
        if not (key == "default" and value is None)  # what "optional" says already
    )
    return f"({told})" if told else ""


def shown(value: Any, length_max: int = 300) -> str:
    """A value as short JSON text."""
    text = jsontext.encode(value)
    return text if len(text) <= length_max else text[: length_max - 3] + "..."
