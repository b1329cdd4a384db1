"""Random schemas together with values that fit them, for the laws of schema translation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

NAMES = ["a", "b", "title", "$ref", "enum", "properties", "$defs", "format", "cache_control"]
WORDS = st.sampled_from(["", "x", "null", "{}", "word", "한국어", "1"])


@dataclass
class Case:
    """A schema, a value that fits it, and the value as a strict schema makes a model write it."""

    schema: dict[str, Any]
    value: Any
    filled: Any


@st.composite
def scalars(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    """A schema of one scalar type, and its value."""
    kind = draw(
        st.sampled_from(["string", "enum", "const", "integer", "number", "boolean", "codes"])
    )
    if kind == "string":
        return {"type": "string"}, draw(WORDS)
    if kind == "enum":
        values = ["red", "green", "blue"]
        return {"type": "string", "enum": values}, draw(st.sampled_from(values))
    if kind == "const":
        return {"const": "fixed"}, "fixed"
    if kind == "integer":
        return {"type": "integer", "minimum": -5}, draw(st.integers(-5, 9))
    if kind == "number":
        return {"type": "number"}, draw(st.sampled_from([0, 1, 2.5, -1e9]))
    if kind == "boolean":
        return {"type": "boolean"}, draw(st.booleans())
    return {"type": "integer", "enum": [1, 2, 3]}, draw(st.sampled_from([1, 2, 3]))


@st.composite
def cases(draw: st.DrawFn, depth: int = 3) -> Case:
    """Any schema that strict modes can take."""
    kinds = ["scalar", "nullable", "object", "array", "union", "described"]
    kind = draw(st.sampled_from(kinds if depth else ["scalar"]))
    if kind == "scalar":
        schema, value = draw(scalars())
        return Case(schema, value, value)
    if kind == "nullable":
        inner = draw(cases(depth=0))
        schema = {"anyOf": [inner.schema, {"type": "null"}]}
        if draw(st.booleans()):
            return Case(schema, None, None)
        return Case(schema, inner.value, inner.filled)
    if kind == "array":
        inner = draw(cases(depth=depth - 1))
        count = draw(st.integers(0, 2))
        schema = {"type": "array", "items": inner.schema}
        return Case(schema, [inner.value] * count, [inner.filled] * count)
    if kind == "union":
        inner = draw(objects(depth=depth - 1))
        other: dict[str, Any] = {"type": "string"}
        schema = {"anyOf": [other, inner.schema]}
        if draw(st.booleans()):
            text = draw(WORDS)
            return Case(schema, text, text)
        return Case(schema, inner.value, inner.filled)
    if kind == "described":
        inner = draw(cases(depth=depth - 1))
        return Case({"description": "what it is", **inner.schema}, inner.value, inner.filled)
    return draw(objects(depth=depth - 1))


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> Case:
    """A schema of an object."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    properties: dict[str, Any] = {}
    value: dict[str, Any] = {}
    filled: dict[str, Any] = {}
    required: list[str] = []
    for name in names:
        inner = draw(cases(depth=depth))
        properties[name] = inner.schema
        takes_null = {"type": "null"} in inner.schema.get("anyOf", [])
        if draw(st.booleans()):
            required.append(name)
        elif not takes_null and draw(st.booleans()):
            filled[name] = None
            continue
        value[name] = inner.value
        filled[name] = inner.filled
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required or draw(st.booleans()):
        schema["required"] = required
    if draw(st.booleans()):
        schema["additionalProperties"] = False
    return Case(schema, value, filled)


@st.composite
def documents(draw: st.DrawFn) -> Case:
    """A whole schema: an object whose parts may be definitions, referred to."""
    case = draw(objects())
    definitions: dict[str, Any] = {}
    properties = dict(case.schema["properties"])
    key = draw(st.sampled_from(["$defs", "definitions"]))
    for name, schema in properties.items():
        if draw(st.booleans()):
            label = f"D~/{name}"
            definitions[label] = schema
            escaped = label.replace("~", "~0").replace("/", "~1").replace("$", "%24")
            properties[name] = {"$ref": f"#/{key}/{escaped}"}
            if draw(st.booleans()):
                properties[name]["description"] = "told here"
    schema = {**case.schema, "properties": properties}
    if definitions:
        schema[key] = definitions
    return Case(schema, case.value, case.filled)
