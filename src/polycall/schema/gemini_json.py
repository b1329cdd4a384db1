"""The part of JSON Schema that Gemini's `parametersJsonSchema` takes."""

from __future__ import annotations

import re

from polycall.ir import JSON
from polycall.schema.memo import remembered
from polycall.schema.merge import combine, flat
from polycall.schema.refs import References, recursive_references
from polycall.schema.walk import (
    ANNOTATIONS,
    DEFINITION_KEYS,
    REFERENCE_KEYS,
    as_array,
    as_schema,
    checked,
    children,
    escape_pointer,
    names_at,
    object_at,
    rebuild,
    reference_of,
    type_of,
    types_at,
    unescape_pointer,
    without,
)
from polycall.schema.words import describe, kept, keyword_notes

_KEYWORDS = frozenset(
    {
        "$anchor",
        "$defs",
        "$id",
        "$ref",
        "additionalProperties",
        "anyOf",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "oneOf",
        "prefixItems",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    }
)
# References with constraints alongside them that are written out.
_INLINED_MAX = 32

_DEFINITION = re.compile(r"#/\$defs/[^/]+")


@remembered
def gemini_json_schema(schema: JSON) -> JSON:
    """The schema as `parametersJsonSchema` and `responseJsonSchema` take it.

    Definitions stay definitions: inlining them runs into the limit on nesting.
    """
    return _JsonSchemaWriter(checked(schema)).run()


class _JsonSchemaWriter:
    def __init__(self, root: JSON) -> None:
        self._root = root
        self._references = References(root)
        self._recursive = recursive_references(root)
        self._definitions: JSON = {}
        self._names: dict[str, str] = {}
        self._taken = set(object_at(root, "$defs"))
        self._waiting: list[tuple[str, str]] = []
        self._inlined = 0

    def run(self) -> JSON:
        root = without(self._root, *DEFINITION_KEYS)
        if reference_of(root) is not None:
            root = without(self._references.resolved(root), *DEFINITION_KEYS)
        written = self._schema(root, "#")
        while self._waiting:
            name, reference = self._waiting.pop(0)
            target = without(self._references.target(reference), *DEFINITION_KEYS)
            self._definitions[name] = self._schema(target, reference)
        written.setdefault("type", "object")
        if written["type"] == "object":
            written.setdefault("properties", {})
        if self._definitions:
            written["$defs"] = self._definitions
        return written

    def _schema(self, node: JSON, home: str) -> JSON:
        """One schema.  `home` is the reference to the definition that it stands in."""
        reference = reference_of(node)
        if reference is not None:
            return self._reference(node, reference, home)
        node = flat(without(node, *DEFINITION_KEYS))
        if reference_of(node) is not None:
            return self._schema(node, home)
        if not types_at(node):
            node = without(node, "type")
        if "const" in node:
            node = {"enum": [node["const"]], **without(node, "const", "enum")}
        node = _split_enum(node)
        copy = rebuild(kept(node, _KEYWORDS), lambda child: self._schema(child, home))
        return self._relaxed(copy, node, home)

    def _reference(self, node: JSON, reference: str, home: str) -> JSON:
        siblings = without(node, *REFERENCE_KEYS, *DEFINITION_KEYS)
        if (
            any(key not in ANNOTATIONS for key in siblings)
            and reference not in self._recursive
            and self._inlined < _INLINED_MAX
        ):
            target = without(self._references.target(reference), *DEFINITION_KEYS)
            whole = combine(target, siblings)
            if whole is not None:
                self._inlined += 1
                return self._schema(whole, home)
        link = {"$ref": self._link(reference)}
        remarks = kept(siblings, frozenset({"title", "description"}))
        # Nothing may stand alongside a reference.
        return {**remarks, "anyOf": [link]} if remarks else link

    def _link(self, reference: str) -> str:
        """The reference as it is written; its definition will be."""
        if reference == "#":
            return reference
        name = self._names.get(reference)
        if name is None:
            self._references.target(reference)
            name = self._name(reference)
            self._names[reference] = name
            self._waiting.append((name, reference))
        return f"#/$defs/{escape_pointer(name)}"

    def _name(self, reference: str) -> str:
        last = unescape_pointer(reference.rsplit("/", 1)[-1].lstrip("#"))
        if _DEFINITION.fullmatch(reference):
            return last
        name = last or "definition"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _relaxed(self, copy: JSON, node: JSON, home: str) -> JSON:
        """Without the demand for properties that lead back to their own definition.

        Gemini takes cycles in optional properties only.
        """
        required = names_at(node, "required")
        if not required or not self._recursive:
            return copy
        cyclic = [
            name
            for name, child in object_at(node, "properties").items()
            if name in required and self._leads_back(as_schema(child), home)
        ]
        if not cyclic:
            return copy
        others = [name for name in required if name not in cyclic]
        copy = {**without(copy, "required"), **({"required": others} if others else {})}
        return describe(copy, f"(required too: {', '.join(cyclic)})")

    def _leads_back(self, node: JSON, home: str) -> bool:
        seen: set[str] = set()
        nodes = [node]
        while nodes:
            current = nodes.pop()
            reference = reference_of(current)
            if reference is not None:
                if reference == home:
                    return True
                if reference in self._recursive and reference not in seen:
                    seen.add(reference)
                    nodes.append(without(self._references.target(reference), *DEFINITION_KEYS))
            nodes.extend(child for _, child in children(current))
        return False


def _split_enum(node: JSON) -> JSON:
    """An `enum` of strings and numbers; null becomes a type, true and false become words."""
    values = as_array(node.get("enum"))
    if values is None:
        return node
    types = types_at(node) or list(dict.fromkeys(type_of(value) for value in values))
    plain = [value for value in values if type_of(value) in ("string", "integer", "number")]
    if plain and len(plain) == len(values):
        return {"type": types[0], **node} if len(types) == 1 else node
    rest = without(node, "enum", "type")
    if None in values and plain and len(plain) == len(values) - 1:
        kinds = [name for name in types if name != "null"]
        one = {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": plain}
        return {**rest, "anyOf": [one, {"type": "null"}]}
    told = describe(rest, keyword_notes({"enum": values}))
    return {"type": types[0] if len(types) == 1 else types, **told}
