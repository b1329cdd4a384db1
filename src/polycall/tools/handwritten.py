"""Generated schemas as somebody would have written them.

No titles made from class names, no `default: null`, nothing of OpenAPI's, and no definition where a
schema is used in one place only: definitions are for what is shared or contains itself.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from polycall._support import jsontext
from polycall.ir import JSON
from polycall.schema.merge import combined
from polycall.schema.refs import recursive_references, references_in
from polycall.schema.walk import (
    escape_pointer,
    object_at,
    rebuild,
    reference_of,
    without,
)


def handwritten(schema: JSON) -> JSON:
    """The schema that means the same, as a person would write it."""
    definitions = {
        f"#/$defs/{escape_pointer(name)}": without(node, "title")
        if _NO_NAME.sub("_", str(node.get("title", "-"))) in name
        else node
        for name, node in object_at(schema, "$defs").items()
    }
    uses = Counter(references_in(without(schema, "$defs")))
    for node in definitions.values():
        uses.update(references_in(node))
    recursive = recursive_references(schema)
    written_out = {
        reference
        for reference, node in definitions.items()
        if reference not in recursive and (uses[reference] <= 1 or "enum" in node)
    }

    def write(node: JSON) -> JSON:
        reference = reference_of(node)
        if reference in written_out:
            return write(combined(definitions[str(reference)], without(node, "$ref")))
        copy = _ordered(rebuild(without(node, "discriminator"), write))
        if isinstance(copy.get("enum"), list):
            copy["enum"] = _distinct(copy["enum"])
        return without(copy, "default") if copy.get("default", 0) is None else copy

    result = write(without(schema, "$defs", "title"))
    kept = {
        reference.removeprefix("#/$defs/"): write(node)
        for reference, node in definitions.items()
        if reference not in written_out
    }
    return {**result, "$defs": kept} if kept else result


# What pydantic leaves out of the names of definitions: `Page[int]` is `Page_int_`.
_NO_NAME = re.compile(r"[^a-zA-Z0-9.\-_]")


def _distinct(values: list[Any]) -> list[Any]:
    """Each value once: an `Enum` has other names for the same one."""
    return list({jsontext.encode(value): value for value in values}.values())


_FIRST = ("$ref", "type", "title", "description", "properties", "required")


def _ordered(node: JSON) -> JSON:
    """Order the keys: those that a reader needs first come first."""
    return {key: node[key] for key in (*_FIRST, *node) if key in node}
