"""Tools as a program sees them: typed Python stubs, and what a call's arguments are named.

Stubs of the same tools are the same text, byte for byte, in whatever order the tools come: a
prompt cache holds only then.
"""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from polycall.errors import SchemaError
from polycall.ir import JSON
from polycall.schema.refs import References
from polycall.schema.walk import array_at, as_array, as_object, as_schema, names_at, object_at
from polycall.tools import FunctionTool

# Longer texts are for the model's own tools; a stub has a line for each.
DOC_LENGTH_MAX = 200
REMARK_LENGTH_MAX = 80
CHOICES_MAX = 20

_DEPTH_MAX = 12
_SCALARS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
# A tool must not take the place of what a program needs.
_TAKEN = frozenset(
    {*keyword.kwlist, *dir(builtins), "asyncio", "ToolError", "search_tools", "describe_tool"}
)


class Signature(Struct, frozen=True):
    """The signature by which a program calls one tool, with the tool's name for each parameter."""

    function: str
    tool: str
    parameters: dict[str, str]

    def arguments(self, positional: tuple[Any, ...], named: dict[str, Any]) -> JSON:
        """The arguments as the tool takes them; `TypeError` as Python would raise it.

        A name that is not a parameter continues as it is: whether it may is for the tool's schema.
        """
        names = list(self.parameters)
        if len(positional) > len(names):
            raise TypeError(
                f"{self.function}() takes {len(names)} positional arguments but "
                f"{len(positional)} were given"
            )
        arguments = {
            self.parameters[name]: value for name, value in zip(names, positional, strict=False)
        }
        for name, value in named.items():
            wire_name = self.parameters.get(name, name)
            if wire_name in arguments:
                raise TypeError(f"{self.function}() got multiple values for argument {name!r}")
            arguments[wire_name] = value
        return arguments


def signatures(tools: Iterable[FunctionTool[..., Any]]) -> dict[str, Signature]:
    """The signatures by function name, sorted; names that Python cannot have are changed."""
    found: dict[str, Signature] = {}
    for tool in sorted(tools, key=lambda tool: tool.name):
        function = _identifier(tool.name, taken=found.keys() | _TAKEN)
        parameters: dict[str, str] = {}
        for name in _parameter_names(tool.parameters):
            parameters[_identifier(name, taken=parameters.keys() | set(keyword.kwlist))] = name
        found[function] = Signature(function, tool.name, parameters)
    return found


def summary(tool: FunctionTool[..., Any]) -> str:
    """The first paragraph of a tool's description on one line."""
    return _line(tool.description.strip().partition("\n\n")[0], DOC_LENGTH_MAX)


class StubWriter:
    """Writes the stubs of one set of tools; a shape that several share is written once."""

    def __init__(self) -> None:
        self._shapes: dict[str, str] = {}
        self._open: dict[tuple[int, str], str] = {}
        self._new: list[str] = []
        self._references = References({})

    def stub(self, signature: Signature, tool: FunctionTool[..., Any]) -> str:
        """The function, after the shapes that no earlier stub has shown."""
        self._new = []
        self._references = References(tool.parameters)
        parameters = self._parameters(signature, tool)
        returns = "Any"
        if tool.output_schema is not None:
            self._references = References(tool.output_schema)
            returns = self._type(tool.output_schema, f"{_camel(signature.function)}Result", 0)
        lines = [*self._new, f"async def {signature.function}({parameters}) -> {returns}:"]
        doc = summary(tool).replace("\\", "\\\\").replace('"""', "'''")
        doc = f"{doc} " if doc.endswith('"') else doc
        lines.append(f'    """{doc}"""' if doc else "    ...")
        return "\n".join(lines)

    def _parameters(self, signature: Signature, tool: FunctionTool[..., Any]) -> str:
        properties = object_at(tool.parameters, "properties")
        required = set(names_at(tool.parameters, "required"))
        words: list[tuple[str, str]] = []
        for name, wire_name in signature.parameters.items():
            node = as_schema(properties[wire_name])
            text = f"{name}: {self._type(node, _camel(signature.function) + _camel(name), 0)}"
            if wire_name not in required:
                text += f" = {_default(node)}"
            words.append((text, _remark(node)))
        if not any(remark for _, remark in words):
            return ", ".join(text for text, _ in words)
        lines = [f"    {text},  # {remark}" if remark else f"    {text}," for text, remark in words]
        return "\n" + "\n".join(lines) + "\n"

    def _type(self, node: JSON, hint: str, depth: int) -> str:
        """The Python type of a schema; `hint` names it where it has no name of its own."""
        return _union(self._types(node, hint, depth))

    def _types(self, node: JSON, hint: str, depth: int) -> list[str]:
        """The alternatives of a schema's type."""
        if depth > _DEPTH_MAX:
            return ["Any"]
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return self._types_of(node, hint, depth, None)
        key = (id(self._references.root), reference)
        if key in self._open:
            return [self._open[key]]
        try:
            target = self._references.resolved(node)
        except SchemaError:
            return ["Any"]
        return self._types_of(target, _camel(reference.rpartition("/")[2]) or hint, depth, key)

    def _types_of(
        self, node: JSON, hint: str, depth: int, key: tuple[int, str] | None
    ) -> list[str]:
        values = [node["const"]] if "const" in node else array_at(node, "enum")
        if values and len(values) <= CHOICES_MAX and all(map(_is_literal, values)):
            return [f"Literal[{', '.join(map(repr, values))}]"]
        branches = array_at(node, "anyOf") or array_at(node, "oneOf")
        wholes = array_at(node, "allOf")
        if not branches and len(wholes) == 1 and "properties" not in node:
            branches = wholes
        if branches:
            return [
                text for each in branches for text in self._types(as_schema(each), hint, depth + 1)
            ]
        names = as_array(node.get("type")) or [node.get("type")]
        return [self._single(node, name, hint, depth, key) for name in names]

    def _single(
        self, node: JSON, name: Any, hint: str, depth: int, key: tuple[int, str] | None
    ) -> str:
        if isinstance(name, str) and name in _SCALARS:
            return _SCALARS[name]
        if name == "array":
            inner = [as_schema(each) for each in array_at(node, "prefixItems")]
            if as_object(node.get("items")) is not None:
                inner.append(as_schema(node["items"]))
            items = [text for each in inner for text in self._types(each, f"{hint}Item", depth + 1)]
            return f"list[{_union(items) or 'Any'}]"
        if name == "object" or "properties" in node:
            if object_at(node, "properties"):
                return self._shape(node, hint, depth, key)
            values = as_object(node.get("additionalProperties"))
            item = self._type(values, f"{hint}Value", depth + 1) if values else "Any"
            return f"dict[str, {item}]"
        return "Any"

    def _shape(self, node: JSON, hint: str, depth: int, key: tuple[int, str] | None) -> str:
        """A typed dictionary under a name that nothing else has, or under that of its equal."""
        title = node.get("title")
        wanted = title if isinstance(title, str) and title.isidentifier() else hint
        wanted = f"{wanted}_" if wanted in _TAKEN or not wanted.isidentifier() else wanted
        name, number = wanted, 1
        while name in self._shapes:
            number += 1
            name = f"{wanted}{number}"
        self._shapes[name] = ""
        if key is not None:
            self._open[key] = name
        body = self._fields(node, wanted, depth)
        if key is not None:
            del self._open[key]
        # Only those that wanted the same name can be the same shape.
        earlier = [wanted, *(f"{wanted}{again}" for again in range(2, number))]
        for known in earlier[: number - 1]:
            if self._shapes[known] == re.sub(rf"\b{name}\b", known, body):
                del self._shapes[name]
                return known
        self._shapes[name] = body
        is_class = body.startswith(" ")
        functional = f"{name} = TypedDict({name!r}, {{{body}}})"
        self._new.append(f"class {name}(TypedDict):\n{body}" if is_class else functional)
        return name

    def _fields(self, node: JSON, hint: str, depth: int) -> str:
        required = set(names_at(node, "required"))
        fields: list[tuple[str, str, str]] = []
        for field, schema in object_at(node, "properties").items():
            inner = as_schema(schema)
            text = self._type(inner, hint + _camel(field), depth + 1)
            text = text if field in required else f"NotRequired[{text}]"
            fields.append((field, text, _remark(inner)))
        if all(field.isidentifier() and not keyword.iskeyword(field) for field, _, _ in fields):
            return "\n".join(
                f"    {field}: {text}  # {remark}" if remark else f"    {field}: {text}"
                for field, text, remark in fields
            )
        return ", ".join(f"{field!r}: {text}" for field, text, _ in fields)


def _parameter_names(parameters: JSON) -> list[str]:
    """Required ones first, as Python wants them."""
    properties = object_at(parameters, "properties")
    required = set(names_at(parameters, "required"))
    return sorted(properties, key=lambda name: name not in required)


def _identifier(name: str, *, taken: Iterable[str]) -> str:
    """The name, changed as little as possible, as one that Python and this place can have."""
    # Python reads identifiers in this form, so a program could not say any other.
    normal = unicodedata.normalize("NFKC", name)
    wanted = "".join(letter if f"_{letter}".isidentifier() else "_" for letter in normal) or "_"
    wanted = wanted if wanted.isidentifier() else f"_{wanted}"
    names = set(taken)
    found, number = wanted, 1
    while found in names:
        found = f"{wanted}_{number}" if number > 1 else f"{wanted}_"
        number += 1
    return found


def _camel(name: str) -> str:
    words = re.split(r"[\W_]+", unicodedata.normalize("NFKC", name))
    joined = "".join(word[:1].upper() + word[1:] for word in words if word)
    return "".join(letter for letter in joined if f"_{letter}".isidentifier())


def _union(types: list[str]) -> str:
    """The types in their order without doubles, `None` last."""
    if "Any" in types:
        return "Any"
    return " | ".join(sorted(dict.fromkeys(types), key=lambda each: each == "None"))


def _is_literal(value: Any) -> bool:
    return value is None or isinstance(value, str | int | bool)


def _default(node: JSON) -> str:
    """The default as Python writes it; `...` where there is none to show."""
    if "default" not in node:
        return "..."
    text = repr(node["default"])
    return text if len(text) <= REMARK_LENGTH_MAX else "..."


def _remark(node: JSON) -> str:
    text = node.get("description")
    words = _line(text, REMARK_LENGTH_MAX) if isinstance(text, str) else ""
    form = node.get("format")
    if isinstance(form, str) and form not in words and node.get("type") == "string":
        words = f"{form}; {words}" if words else form
    return words


def _line(text: str, length_max: int) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= length_max else f"{words[: length_max - 3].rstrip()}..."
