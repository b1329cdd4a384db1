"""Gemini's subset of OpenAPI, as `parameters` and `responseSchema` take it, and back."""

from __future__ import annotations

import re
from typing import Any

from polycall.ir import JSON
from polycall.schema.memo import remembered
from polycall.schema.merge import combine, flat
from polycall.schema.refs import inline_refs
from polycall.schema.walk import (
    ANNOTATIONS,
    TYPE_NAMES,
    array_at,
    as_array,
    as_object,
    as_schema,
    checked,
    implied_types,
    names_at,
    object_at,
    rebuild,
    type_of,
    types_at,
    without,
)
from polycall.schema.words import describe, kept, keyword_notes, shown

_KEYWORDS = frozenset(
    {
        "anyOf",
        "default",
        "description",
        "enum",
        "example",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    }
)
_FORMATS = {
    "string": frozenset({"date-time", "enum"}),
    "number": frozenset({"float", "double"}),
    "integer": frozenset({"int32", "int64"}),
}

# Which keywords speak of which type, for a schema that is split by type.
_KEYWORDS_BY_TYPE = {
    "string": frozenset({"format", "minLength", "maxLength", "pattern"}),
    "number": frozenset({"format", "minimum", "maximum", "multipleOf"}),
    "integer": frozenset({"format", "minimum", "maximum", "multipleOf"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset(
        {
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyOrdering",
            "minProperties",
            "maxProperties",
        }
    ),
}

# Gemini refuses a schema without a type, so "anything" is spelt out, arrays one level deep.
_ANYTHING_FLAT: list[JSON] = [{"type": name} for name in ("string", "number", "boolean", "object")]
_ANYTHING: list[JSON] = [
    *_ANYTHING_FLAT,
    {"type": "array", "items": {"anyOf": _ANYTHING_FLAT}},
]


@remembered
def to_gemini(schema: JSON) -> JSON:
    """The schema in Gemini's subset of OpenAPI, for `parameters` and `responseSchema`.

    Its root is an object; nothing in it refers to anything.  Values that fit it need not fit the
    original, which is still the one to validate by.
    """
    root = _write(inline_refs(schema))
    if any(branch.get("type") == "object" for branch in array_at(root, "anyOf")):
        root = _merged_branches(root)
    if root.get("type") != "object":
        return root  # no parameters at all; a response may be an array
    return {**without(root, "nullable"), "properties": object_at(root, "properties")}


def _write(node: JSON) -> JSON:
    node = flat(node)
    types, is_nullable = _types_and_null(node)
    branches = [as_schema(branch) for key in ("anyOf", "oneOf") for branch in array_at(node, key)]
    branches = [branch for branch in branches if branch.get("not") != {}]
    if branches:
        return _write_union(node, branches, is_nullable)
    if not types:
        if is_nullable:  # null and nothing else
            return kept({**without(node, "enum", "const"), "type": "null"}, _KEYWORDS)
        remarks = {key: node[key] for key in ANNOTATIONS if key in node}
        told = kept(without(node, "type", *ANNOTATIONS), frozenset())
        return _union(_ANYTHING, _with_remarks(told, remarks), True)
    if len(types) > 1:
        return _union([_of_type(node, name) for name in types], node, is_nullable)
    copy = _write_single(_of_type(node, types[0], with_remarks=True), types[0])
    return {**copy, "nullable": True} if is_nullable else copy


def _types_and_null(node: JSON) -> tuple[list[str], bool]:
    """The types but null, and whether null is allowed."""
    types = implied_types(without(node, "anyOf", "oneOf"))
    values = array_at(node, "enum")
    allows_null = "null" in types or node.get("nullable") is True
    if values and None not in values and node.get("nullable") is not True:
        allows_null = False
    names = [name for name in types if name != "null"]
    if values and len(names) > 1:
        used = {type_of(value) for value in values}
        used |= {"number"} if "integer" in used else set[str]()
        names = [name for name in names if name in used] or names
    # An integer is a number: said once is enough.
    if "number" in names and "integer" in names:
        names.remove("integer")
    return names, allows_null


def _of_type(node: JSON, name: str, *, with_remarks: bool = False) -> JSON:
    """The part of the schema for values of one type."""
    others = {
        key
        for keys in _KEYWORDS_BY_TYPE.values()
        for key in keys
        if key not in _KEYWORDS_BY_TYPE.get(name, ())
    }
    copy = without(node, "anyOf", "oneOf", *others, *(() if with_remarks else ANNOTATIONS))
    if "enum" in copy:
        fitting = {name, "integer"} if name == "number" else {name}
        copy["enum"] = [value for value in array_at(copy, "enum") if type_of(value) in fitting]
    copy["type"] = name
    return copy


def _write_union(node: JSON, branches: list[JSON], is_nullable: bool) -> JSON:
    """A union; what stands alongside it goes into each branch, since nothing may stand there."""
    beside = {
        key: value
        for key, value in node.items()
        if key not in ("anyOf", "oneOf", "nullable", *ANNOTATIONS)
    }
    wholes = [combine(branch, beside) or branch for branch in branches] if beside else branches
    return _union(wholes, node, is_nullable)


def _union(branches: list[JSON], node: JSON, is_nullable: bool) -> JSON:
    remarks = {key: node[key] for key in ("title", "description") if key in node}
    told = {key: node[key] for key in ("default", "examples") if key in node}
    remarks = describe(remarks, keyword_notes(told))
    rendered: list[JSON] = []
    for branch in branches:
        if types_at(branch) == ["null"] or branch.get("const", "") is None:
            is_nullable = True
            continue
        one = _write(branch)
        inner = array_at(one, "anyOf")
        for item in inner or [one]:
            is_nullable = is_nullable or item.get("nullable") is True
            plain = without(item, "nullable")
            if plain not in rendered:
                rendered.append(plain)
    if not rendered:
        return {**remarks, "type": "null"}
    if len(rendered) == 1:
        copy = _with_remarks(rendered[0], remarks)
        return {**copy, "nullable": True} if is_nullable else copy
    # Vertex refuses any field alongside anyOf, so each branch bears the remarks and the null.
    last = {"nullable": True} if is_nullable else {}
    return {"anyOf": [{**_with_remarks(branch, remarks), **last} for branch in rendered]}


def _with_remarks(node: JSON, remarks: JSON) -> JSON:
    outer, inner = remarks.get("description"), node.get("description")
    copy = {**remarks, **node}
    if "title" in remarks:
        copy["title"] = remarks["title"]
    if isinstance(outer, str) and isinstance(inner, str) and inner != outer:
        copy["description"] = f"{outer} {inner}"
    return copy


def _write_single(node: JSON, name: str) -> JSON:
    """A schema of one type."""
    lost: list[str] = []
    if "const" in node and name == "string":
        node = {**without(node, "const"), "enum": [node["const"]]}
    if "enum" in node:
        values = array_at(node, "enum")
        # Only strings are taken, and of those not the empty one: a list without it would forbid
        # what the caller allows.
        if name != "string" or not values or "" in values:
            lost.append("enum")
    if node.get("format") not in tuple(_FORMATS.get(name, ())):
        lost.append("format")
    examples = array_at(node, "examples")
    if len(examples) == 1 and "example" not in node:
        node = {**without(node, "examples"), "example": examples[0]}
    if name == "object":
        node = _write_object(node)
    elif name == "array":
        node = _write_array(node)
    return kept(node, _KEYWORDS, *lost)


def _write_object(node: JSON) -> JSON:
    properties = {
        key: _write(as_schema(child))
        for key, child in object_at(node, "properties").items()
        if child is not False
    }
    copy = without(node, "properties", "required", "propertyOrdering")
    if properties or "properties" in node:
        copy["properties"] = properties
    for key in ("required", "propertyOrdering"):
        names = [name for name in names_at(node, key) if name in properties]
        if names:
            copy[key] = names
    extra = node.get("additionalProperties")
    if extra is True or extra == {}:
        return describe(copy, "(other properties are allowed)")
    if isinstance(extra, dict):
        return describe(copy, f"(the value of every other property: {shown(extra)})")
    return copy


def _write_array(node: JSON) -> JSON:
    first = array_at(node, "prefixItems") or array_at(node, "items")
    items = as_object(node.get("items"))
    if not first and not items:
        return {**node, "items": {"anyOf": _ANYTHING_FLAT}}
    if not first:
        return {**node, "items": _write(items or {})}
    # Each place has its own schema: the description says which, the union what may stand at all.
    branches = [as_schema(item) for item in first] + ([items] if items else [])
    copy = {**node, "prefixItems": first}
    return {**copy, "items": _union(branches, {}, False)}


def _merged_branches(root: JSON) -> JSON:
    """An object with the properties of all branches; required are those that all require."""
    branches = [
        branch for branch in array_at(root, "anyOf") if as_schema(branch).get("type") == "object"
    ]
    properties: JSON = {}
    required: list[Any] | None = None
    description = ""
    for branch in branches:
        for name, child in object_at(branch, "properties").items():
            if name not in properties:
                properties[name] = child
            elif properties[name] != child:
                properties[name] = _union_rendered(properties[name], child)
        names = names_at(branch, "required")
        required = names if required is None else [name for name in required if name in names]
        description = description or branch.get("description", "")
    copy: JSON = {"type": "object", "properties": properties}
    if required:
        copy["required"] = required
    if description:
        copy["description"] = description
    if len(branches) > 1:
        shapes = [list(object_at(branch, "properties")) for branch in branches]
        copy = describe(copy, f"(exactly one of these sets of properties: {shown(shapes)})")
    return copy


def _union_rendered(first: JSON, second: JSON) -> JSON:
    """Two schemas in Gemini's spelling, as one."""
    branches: list[Any] = []
    for node in (first, second):
        for branch in array_at(node, "anyOf") or [node]:
            if branch not in branches:
                branches.append(branch)
    if all(set(branch) <= {"type", "enum"} and branch.get("enum") for branch in branches):
        values = [value for branch in branches for value in branch["enum"]]
        return {"type": "string", "enum": list(dict.fromkeys(values))}
    return {"anyOf": branches}


# ---------------------------------------------------------------------------------------------
# Back to JSON Schema

_CAMEL = {
    "additional_properties": "additionalProperties",
    "any_of": "anyOf",
    "defs": "$defs",
    "max_items": "maxItems",
    "max_length": "maxLength",
    "max_properties": "maxProperties",
    "min_items": "minItems",
    "min_length": "minLength",
    "min_properties": "minProperties",
    "property_ordering": "propertyOrdering",
    "ref": "$ref",
}
_COUNTS = ("maxItems", "minItems", "maxLength", "minLength", "maxProperties", "minProperties")


# Proto-JSON may give an enum's number for its name.
_TYPE_NUMBERS = {
    "1": "string",
    "2": "number",
    "3": "integer",
    "4": "boolean",
    "5": "array",
    "6": "object",
    "7": "null",
}


def from_gemini(schema: JSON) -> JSON:
    """A schema in Gemini's subset of OpenAPI as JSON Schema.

    Proto-JSON is taken as it comes: both casings, types in capitals, counts as strings.
    """
    return _read(checked(schema))


def _read(node: JSON) -> JSON:
    node = {_CAMEL.get(key, key): value for key, value in node.items()}
    copy = rebuild(node, _read)
    reference = copy.get("$ref")
    if isinstance(reference, str):
        copy["$ref"] = re.sub("^#/defs/", "#/$defs/", reference)
    declared = copy.get("type")
    if not isinstance(declared, list):  # a list is JSON Schema's already
        name = str(declared).lower()
        copy["type"] = _TYPE_NUMBERS.get(name, name)
        if copy["type"] not in TYPE_NAMES:
            del copy["type"]
    for key in _COUNTS:
        count = copy.get(key)
        if isinstance(count, str) and count.strip().isdecimal():
            copy[key] = int(count)
    if copy.get("format") == "enum":
        del copy["format"]
    if "example" in copy:
        copy.setdefault("examples", [copy["example"]])
        del copy["example"]
    if "enum" in copy and copy.get("type") in ("integer", "number"):
        copy["enum"] = [_number(value) for value in array_at(copy, "enum")]
    _order(copy)
    return _with_null(copy) if copy.pop("nullable", None) is True else copy


def _order(copy: JSON) -> None:
    """Write the properties in their declared order, which JSON Schema has no keyword for."""
    order = as_array(copy.pop("propertyOrdering", None))
    properties = as_object(copy.get("properties"))
    if order is not None and properties is not None:
        names = [name for name in order if isinstance(name, str) and name in properties]
        copy["properties"] = {name: properties[name] for name in [*names, *properties]}


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def _with_null(node: JSON) -> JSON:
    types = types_at(node)
    if "anyOf" in node:
        branches = array_at(node, "anyOf")
        if any("null" in types_at(as_schema(branch)) for branch in branches):
            return node
        return {**node, "anyOf": [*branches, {"type": "null"}]}
    if "null" in types:
        return node
    copy = {**node, "type": [*types, "null"]} if types else dict(node)
    if "enum" in node and None not in array_at(node, "enum"):
        copy["enum"] = [*array_at(node, "enum"), None]
    return copy
