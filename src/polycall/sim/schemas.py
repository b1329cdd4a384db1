"""The vendors' rules for JSON Schemas: which they take, and which of them in strict mode.

Each function gives the vendor's complaint, or `None`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import jsonschema_rs

from polycall.sim.shape import JSON, list_in, object_in

_OPENAI_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_OPENAI_REFUSED = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "patternProperties",
)
_OPENAI_DEPTH_MAX = 10
_ANTHROPIC_FORMATS = _OPENAI_FORMATS | {"uri"}
_ANTHROPIC_REFUSED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "not",
    "oneOf",
    "pattern",
)
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties", "not", "if", "then", "else", "contains")


def json_schema_problem(schema: Any) -> str | None:
    """Whether it is a JSON Schema at all."""
    if not isinstance(schema, dict):
        return "schema must be an object."
    try:
        # Without `$schema`: the draft is the vendor's choice, and nothing may be fetched.
        plain = {name: item for name, item in cast("JSON", schema).items() if name != "$schema"}
        jsonschema_rs.meta.validate(plain)
    except jsonschema_rs.ValidationError as error:
        return f"{error.message}."
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return f"{error}."
    return None


def children(schema: JSON) -> Iterator[tuple[tuple[str, ...], JSON]]:
    """The schemas one step inside, each with its context."""
    for keyword in _MAPS:
        inner = schema.get(keyword)
        if isinstance(inner, dict):
            for name, child in cast("JSON", inner).items():
                if isinstance(child, dict):
                    yield (keyword, name), cast("JSON", child)
    for keyword in _LISTS:
        inner = schema.get(keyword)
        if isinstance(inner, list):
            for index, child in enumerate(cast("list[Any]", inner)):
                if isinstance(child, dict):
                    yield (keyword, str(index)), cast("JSON", child)
    for keyword in _SINGLES:
        child = schema.get(keyword)
        if isinstance(child, dict):
            yield (keyword,), cast("JSON", child)


def openai_strict_problem(schema: JSON) -> str | None:
    """OpenAI's strict mode: closed objects, every property required, fewer keywords."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return "schema must be a JSON Schema of 'type: \"object\"', and not 'anyOf' at its root."
    return _openai_node(schema, (), 0)


def _openai_node(schema: JSON, context: tuple[str, ...], depth: int) -> str | None:
    where = f"In context={context!r}, "
    for keyword in _OPENAI_REFUSED:
        if keyword in schema:
            return f"{where}'{keyword}' is not permitted."
    if "$ref" in schema and len(schema) > 1:
        extra = next(name for name in schema if name != "$ref")
        return f"{where}$ref cannot have keywords {{'{extra}'}}."
    if isinstance(name := schema.get("format"), str) and name not in _OPENAI_FORMATS:
        return f"{where}'{name}' is not a valid format."
    kind = schema.get("type")
    types: list[Any] = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    if "object" in types or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            return f"{where}'additionalProperties' is required to be supplied and to be false."
        properties: JSON = object_in(schema, "properties")
        required = schema.get("required", [] if not properties else None)
        missing = [name for name in properties if name not in (required or [])]
        if required is None or missing:
            tail = f" Missing '{missing[0]}'." if missing else ""
            return (
                f"{where}'required' is required to be supplied and to be an array including "
                f"every key in properties.{tail}"
            )
        extra_names = [name for name in required if name not in properties]
        if extra_names:
            return f"{where}'required' names '{extra_names[0]}', which is not in properties."
        if depth >= _OPENAI_DEPTH_MAX:
            return f"{where}schema exceeds the maximum depth of {_OPENAI_DEPTH_MAX}."
    if "array" in types and "items" not in schema:
        return f"{where}array schema missing items."
    if not (schema.keys() & {"type", "$ref", "anyOf", "enum", "const"}):
        return f"{where}schema must have a 'type' key."
    for step, child in children(schema):
        inside = depth + (step[0] in {"properties", "items"})
        problem = _openai_node(child, (*context, *step), inside)
        if problem is not None:
            return problem
    return None


def anthropic_problem(schema: JSON) -> str | None:
    """An input schema is a JSON Schema of draft 2020-12 whose root is a plain object."""
    for keyword in ("oneOf", "allOf", "anyOf"):
        if keyword in schema:
            return "input_schema does not support oneOf, allOf, or anyOf at the top level"
    if json_schema_problem(schema) is not None:
        return (
            "JSON schema is invalid. It must match JSON Schema draft 2020-12 "
            "(https://json-schema.org/draft/2020-12). Learn more about tool use at "
            "https://docs.claude.com/en/docs/tool-use."
        )
    return None


def anthropic_strict_problem(schema: JSON) -> str | None:
    """Strict tools and structured answers: closed objects, few bounds, no recursion."""
    if is_recursive(schema):
        return "Circular references are not supported"
    return _anthropic_node(schema)


def _anthropic_node(schema: JSON) -> str | None:
    for keyword in _ANTHROPIC_REFUSED:
        if keyword in schema:
            kind = schema.get("type", "any")
            return f"For '{kind}' type, property '{keyword}' is not supported"
    if schema.get("minItems", 0) not in (0, 1):
        return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if isinstance(name := schema.get("format"), str) and name not in _ANTHROPIC_FORMATS:
        return f"For 'string' type, format '{name}' is not supported"
    is_object = schema.get("type") == "object" or "properties" in schema
    if is_object and schema.get("additionalProperties") is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    for _, child in children(schema):
        problem = _anthropic_node(child)
        if problem is not None:
            return problem
    return None


def resolve(root: JSON, reference: Any) -> JSON | None:
    """The schema that a local reference (`#/$defs/Name`) names."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    node: Any = root
    for step in reference[1:].split("/")[1:]:
        if not isinstance(node, dict):
            return None
        node = cast("JSON", node).get(step.replace("~1", "/").replace("~0", "~"))
    return cast("JSON", node) if isinstance(node, dict) else None


def is_recursive(root: JSON) -> bool:
    """Whether a reference leads back to itself."""

    def walk(node: JSON, open_refs: frozenset[str]) -> bool:
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in open_refs:
                return True
            target = resolve(root, reference)
            if target is not None and walk(target, open_refs | {reference}):
                return True
        steps = children(node)
        return any(walk(child, open_refs) for step, child in steps if step[0] not in _DEFINITIONS)

    return walk(root, frozenset())


_DEFINITIONS = frozenset({"$defs", "definitions"})


def gemini_json_schema_problem(schema: Any) -> str | None:
    """Gemini's `parametersJsonSchema`: a JSON Schema without `const`."""
    problem = json_schema_problem(schema)
    if problem is not None:
        return problem
    return _gemini_node(cast("JSON", schema))


def _gemini_node(schema: JSON) -> str | None:
    if "const" in schema:
        return "const is not supported, use an enum of one value."
    for _, child in children(schema):
        problem = _gemini_node(child)
        if problem is not None:
            return problem
    return None


def gemini_schema_problem(schema: JSON) -> tuple[str, str] | None:
    """Gemini's own `parameters`, beyond its shape: the place and the complaint."""
    kind = str(schema.get("type", "")).upper()
    if "enum" in schema and kind != "STRING":
        return "enum", "only allowed for STRING type"
    if kind == "ARRAY" and "items" not in schema:
        return "items", "missing field."
    if "properties" in schema and kind != "OBJECT":
        return "properties", "only allowed for OBJECT type"
    properties: JSON = object_in(schema, "properties")
    for index, name in enumerate(list_in(schema, "required")):
        if name not in properties:
            return f"required[{index}]", "property is not defined"
    inner: list[tuple[str, JSON]] = [
        (f"properties[{name}]", child) for name, child in properties.items()
    ]
    if isinstance(schema.get("items"), dict):
        inner.append(("items", schema["items"]))
    inner += [(f"any_of[{index}]", one) for index, one in enumerate(list_in(schema, "anyOf"))]
    for place, child in inner:
        problem = gemini_schema_problem(child)
        if problem is not None:
            return f"{place}.{problem[0]}", problem[1]
    return None


def from_gemini(schema: JSON) -> JSON:
    """Gemini's own schema as a JSON Schema, for the rules to read."""
    result: JSON = {}
    for name, value in schema.items():
        match name:
            case "type":
                result["type"] = str(value).lower()
            case "properties":
                result[name] = {key: from_gemini(child) for key, child in value.items()}
            case "items":
                result[name] = from_gemini(value)
            case "anyOf":
                result[name] = [from_gemini(child) for child in value]
            case "nullable" | "propertyOrdering" | "example":
                continue
            case "format" if value == "enum":
                continue
            case _:
                result[name] = value
    return result
