"""Gemini's two ways of writing a schema, and back.

`parameters` takes a subset of OpenAPI without references; `parametersJsonSchema` takes a part of
JSON Schema with them.  What neither has a keyword for is told in the description: the model reads
it there, and whoever validates the arguments has the original.
"""

from __future__ import annotations

import re
from typing import Any

from polycall.ir import JSON
from polycall.schema.refs import References, inline_refs, recursive_references
from polycall.schema.walk import (
    ANNOTATIONS,
    DEFINITION_KEYS,
    REFERENCE_KEYS,
    array_at,
    as_array,
    as_object,
    as_schema,
    checked,
    children,
    combine,
    describe,
    escape_pointer,
    implied_types,
    keyword_notes,
    object_at,
    rebuild,
    reference_of,
    shown,
    type_of,
    types_at,
    without,
)

# ---------------------------------------------------------------------------------------------
# What becomes words, in both spellings

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


def _kept(node: JSON, keywords: frozenset[str], *lost: str) -> JSON:
    """A shallow copy with the known keywords; the others told in the description."""
    gone = {key for key in node if key not in keywords} | set(lost)
    told = {key: node[key] for key in _TOLD if key in gone and key in node}
    return describe(without(node, *gone), keyword_notes(told))


def _flat(node: JSON) -> JSON:
    """The schema with its `allOf` merged as far as that goes, and with integer bounds closed."""
    rest: list[Any] = []
    for part in array_at(node, "allOf"):
        whole = combine(_flat(as_schema(part)), without(node, "allOf"))
        if whole is None:
            rest.append(part)
        else:
            node = {**whole, **({"allOf": node["allOf"]} if "allOf" in node else {})}
    if "allOf" in node:
        node = {**without(node, "allOf"), **({"allOf": rest} if rest else {})}
    if implied_types(node) != ["integer"]:
        return node
    for exclusive, inclusive, step in (
        ("exclusiveMinimum", "minimum", 1),
        ("exclusiveMaximum", "maximum", -1),
    ):
        bound = node.get(exclusive)
        if isinstance(bound, int) and bound is not True and inclusive not in node:
            node = {**without(node, exclusive), inclusive: bound + step}
    return node


# ---------------------------------------------------------------------------------------------
# `parameters` and `responseSchema`

_OPENAPI_KEYWORDS = frozenset(
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
_OPENAPI_FORMATS = {
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
_ANY_TYPES = ("string", "number", "boolean", "object")


def to_gemini(schema: JSON) -> JSON:
    """The schema in Gemini's subset of OpenAPI, for `parameters` and `responseSchema`.

    Its root is an object; nothing in it refers to anything.  Values that fit it need not fit the
    original, which is still the one to validate by.
    """
    root = _openapi(inline_refs(schema))
    if "anyOf" in root:
        root = _merged_branches(root)
    if root.get("type") != "object":
        return {"type": "object", "properties": {}}
    return {"properties": {}, **without(root, "nullable")}


def _openapi(node: JSON) -> JSON:
    node = _flat(node)
    types, is_nullable = _types_and_null(node)
    branches = [as_schema(branch) for key in ("anyOf", "oneOf") for branch in array_at(node, key)]
    branches = [branch for branch in branches if branch.get("not") != {}]
    if branches:
        return _openapi_union(node, branches, is_nullable)
    if not types:
        if is_nullable:  # null and nothing else
            return _kept({**without(node, "enum", "const"), "type": "null"}, _OPENAPI_KEYWORDS)
        types = list(_ANY_TYPES)
    if len(types) > 1:
        return _union([_of_type(node, name) for name in types], node, is_nullable)
    copy = _openapi_single(_of_type(node, types[0], with_remarks=True), types[0])
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
        names = [name for name in names if name in used] or names
    # An integer is a number: said once is enough.
    if "number" in names and "integer" in names:
        names.remove("integer")
    return names, allows_null


def _of_type(node: JSON, name: str, *, with_remarks: bool = False) -> JSON:
    """What the schema says of values of one type."""
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


def _openapi_union(node: JSON, branches: list[JSON], is_nullable: bool) -> JSON:
    """A union; what stands beside it goes into each branch, since nothing may stand there."""
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
        one = _openapi(branch)
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
    # Vertex refuses any field beside anyOf, so each branch bears the remarks and the null.
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


def _openapi_single(node: JSON, name: str) -> JSON:
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
    if node.get("format") not in _OPENAPI_FORMATS.get(name, ()):
        lost.append("format")
    examples = array_at(node, "examples")
    if len(examples) == 1 and "example" not in node:
        node = {**without(node, "examples"), "example": examples[0]}
    if name == "object":
        node = _openapi_object(node)
    elif name == "array":
        node = _openapi_array(node)
    return _kept(node, _OPENAPI_KEYWORDS, *lost)


def _openapi_object(node: JSON) -> JSON:
    properties = {
        key: _openapi(as_schema(child))
        for key, child in object_at(node, "properties").items()
        if child is not False
    }
    copy = without(node, "properties", "required", "propertyOrdering")
    if properties or "properties" in node:
        copy["properties"] = properties
    for key in ("required", "propertyOrdering"):
        names = [name for name in array_at(node, key) if name in properties]
        if names:
            copy[key] = names
    extra = node.get("additionalProperties")
    if extra is True or extra == {}:
        return describe(copy, "(other properties are allowed)")
    if isinstance(extra, dict):
        return describe(copy, f"(the value of every other property: {shown(extra)})")
    return copy


def _openapi_array(node: JSON) -> JSON:
    first = array_at(node, "prefixItems") or array_at(node, "items")
    items = as_object(node.get("items"))
    if not first:
        return {**node, "items": _openapi(items or {})}
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
        names = array_at(branch, "required")
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
# `parametersJsonSchema` and `responseJsonSchema`

_JSON_SCHEMA_KEYWORDS = frozenset(
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
_DEFINITION = re.compile(r"#/\$defs/[^/]+")


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

    def run(self) -> JSON:
        root = without(self._root, *DEFINITION_KEYS)
        if reference_of(root) is not None:
            root = without(self._references.resolved(root), *DEFINITION_KEYS)
        written = self._schema(root, "#")
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
        node = _flat(without(node, *DEFINITION_KEYS))
        if reference_of(node) is not None:
            return self._schema(node, home)
        if "allOf" in node:
            node = self._merged(node)
        if "const" in node:
            node = {"enum": [node["const"]], **without(node, "const", "enum")}
        node = _split_enum(node)
        copy = rebuild(_kept(node, _JSON_SCHEMA_KEYWORDS), lambda child: self._schema(child, home))
        return self._relaxed(copy, node, home)

    def _reference(self, node: JSON, reference: str, home: str) -> JSON:
        siblings = without(node, *REFERENCE_KEYS, *DEFINITION_KEYS)
        if any(key not in ANNOTATIONS for key in siblings):
            whole = combine(without(self._references.target(reference), *DEFINITION_KEYS), siblings)
            if whole is not None and reference not in self._recursive:
                return self._schema(whole, home)
        link = {"$ref": self._link(reference)}
        remarks = _kept(siblings, frozenset({"title", "description"}))
        # Nothing may stand beside a reference.
        return {**remarks, "anyOf": [link]} if remarks else link

    def _link(self, reference: str) -> str:
        """The reference as it is written, its definition written too."""
        if reference == "#":
            return reference
        name = self._names.get(reference)
        if name is None:
            target = self._references.target(reference)
            name = self._name(reference)
            self._names[reference] = name
            self._definitions[name] = {}  # holds its place: definitions keep their order
            self._definitions[name] = self._schema(without(target, *DEFINITION_KEYS), reference)
        return f"#/$defs/{escape_pointer(name)}"

    def _name(self, reference: str) -> str:
        last = reference.rsplit("/", 1)[-1].lstrip("#").replace("~1", "/").replace("~0", "~")
        if _DEFINITION.fullmatch(reference):
            return last
        name = last or "definition"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _merged(self, node: JSON) -> JSON:
        """Without `allOf`: its parts resolved and merged where that can be said at all."""
        copy = without(node, "allOf")
        rest: list[Any] = []
        for part in array_at(node, "allOf"):
            schema = as_schema(part)
            if reference_of(schema) not in self._recursive:
                schema = without(self._references.resolved(schema), *DEFINITION_KEYS)
            whole = combine(_flat(schema), copy)
            if whole is None:
                rest.append(part)
            else:
                copy = whole
        return {**copy, "allOf": rest} if rest else copy

    def _relaxed(self, copy: JSON, node: JSON, home: str) -> JSON:
        """Without the demand for properties that lead back to their own definition.

        Gemini takes cycles in optional properties only.
        """
        required = array_at(node, "required")
        if not required or not self._recursive:
            return copy
        cyclic = [
            name
            for name, child in object_at(node, "properties").items()
            if name in required and self._leads_back(as_schema(child), home)
        ]
        if not cyclic:
            return copy
        kept = [name for name in required if name not in cyclic]
        copy = {**without(copy, "required"), **({"required": kept} if kept else {})}
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
        return node
    rest = without(node, "enum", "type")
    if None in values and plain and len(plain) == len(values) - 1:
        kinds = [name for name in types if name != "null"]
        one = {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": plain}
        return {**rest, "anyOf": [one, {"type": "null"}]}
    told = describe(rest, keyword_notes({"enum": values}))
    return {"type": types[0] if len(types) == 1 else types, **told}


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
_TYPE_NAMES = {
    "string",
    "number",
    "integer",
    "boolean",
    "array",
    "object",
    "null",
}


def from_gemini(schema: JSON) -> JSON:
    """A schema in Gemini's subset of OpenAPI as JSON Schema.

    Proto-JSON is taken as it comes: both casings, types in capitals, counts as strings.
    """
    return _from_openapi(checked(schema))


def _from_openapi(node: JSON) -> JSON:
    node = {_CAMEL.get(key, key): value for key, value in node.items()}
    copy = rebuild(node, _from_openapi)
    declared = copy.get("type")
    if isinstance(declared, str):
        name = declared.lower()
        if name in _TYPE_NAMES:
            copy["type"] = name
        else:
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
    if not types or "null" in types:
        return node
    copy = {**node, "type": [*types, "null"]}
    if "enum" in node and None not in array_at(node, "enum"):
        copy["enum"] = [*array_at(node, "enum"), None]
    return copy
