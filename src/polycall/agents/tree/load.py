"""Branches from what is there already: Python packages, OpenAPI documents, folders of JSON."""

from __future__ import annotations

import codecs
import importlib
import inspect
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.agents.offer import AnyTool
from polycall.agents.tree.openapi import as_openapi_31, body_content, joined, separators
from polycall.agents.tree.parameters import (
    IGNORED_HEADERS,
    check_segments,
    cookie_of,
    header_of,
    segment_of,
)
from polycall.errors import ToolDefinitionError, ToolError
from polycall.ir import JSON
from polycall.tools import FunctionTool, tool, tool_from_schema

ReadT = TypeVar("ReadT")

_METHODS = ("get", "put", "post", "delete", "patch")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]+")
_COMPONENTS = "#/components/schemas/"
_OPERATIONS_MAX = 10_000


class Operation(Struct, frozen=True):
    """One operation of an OpenAPI document: what a request for it is made of."""

    method: str
    path: str
    places: dict[str, str]  # of each parameter: path, query, header or cookie
    has_body: bool = False
    slashes: frozenset[str] = frozenset()  # path parameters that may have them: allowReserved
    media_type: str = "application/json"  # of the body

    def url(self, arguments: JSON) -> str:
        """The path and query for a call's arguments.

        Raises `ToolError` where a value would leave its place in the path, or is missing.
        """
        path = self.path
        values: dict[str, str] = {}
        for name, place in self.places.items():
            if place == "path":
                if arguments.get(name) is None:
                    raise ToolError(f"the parameter {name!r} is missing; nothing was sent")
                values[name] = _spelt(arguments[name])
                path = path.replace(
                    f"{{{name}}}",
                    segment_of(name, values[name], takes_slashes=name in self.slashes),
                )
        check_segments(self.path, values)
        query = [
            (name, _spelt(value))
            for name, place in self.places.items()
            if place == "query" and name in arguments
            for value in _several(arguments[name])
        ]
        return f"{path}?{urlencode(query)}" if query else path

    def headers(self, arguments: JSON) -> dict[str, str]:
        """The headers that are parameters, and the cookies among them as one.

        Raises `ToolError` where a value would be more than its header or cookie.
        """
        headers: dict[str, str] = {}
        cookies: list[str] = []
        for name, place in self.places.items():
            if name not in arguments:
                continue
            if place == "header" and name.lower() not in IGNORED_HEADERS:
                headers[name] = header_of(name, _spelt(arguments[name]))
            elif place == "cookie":
                cookies.append(cookie_of(name, _spelt(arguments[name])))
        return {**headers, "Cookie": "; ".join(cookies)} if cookies else headers


class _Document(Struct, frozen=True):
    """The fields that are read of a document; the rest may be anything."""

    paths: dict[str, dict[str, Any]] | None = None
    components: _Components | None = None


class _Components(Struct, frozen=True):
    schemas: dict[str, Any] | None = None


class _Described(Struct, frozen=True, rename={"id": "operationId", "body": "requestBody"}):
    parameters: list[JSON] = []
    body: JSON = {}
    tags: list[str] = []
    responses: JSON = {}
    id: str = ""
    summary: str = ""
    description: str = ""


class _Parameter(Struct, frozen=True, rename={"place": "in", "is_reserved": "allowReserved"}):
    name: str
    place: str
    schema: JSON | bool = {}
    description: str = ""
    required: bool = False
    is_reserved: bool = False


class _Body(Struct, frozen=True):
    content: dict[str, JSON] = {}
    required: bool = False


class _Definition(Struct, frozen=True):
    """A tool in a file, as OpenAI or as Anthropic writes it."""

    name: str = ""
    description: str = ""
    parameters: JSON | None = None
    input_schema: JSON | None = None


# Sends what an operation asks for, and gives its answer: where keys and addresses belong.
Send: TypeAlias = Callable[[Operation, JSON], Awaitable[Any]]
# Runs a tool of a definition: its full name and its arguments.
RunNamed: TypeAlias = Callable[[str, JSON], Any]


def package_branches(package: str | ModuleType) -> dict[str, Any]:
    """Modules as namespaces; functions of the package itself stand below its own name."""
    root = importlib.import_module(package) if isinstance(package, str) else package
    branches: dict[str, Any] = {}
    found = pkgutil.walk_packages(getattr(root, "__path__", []), root.__name__ + ".")
    for name in sorted(info.name for info in found):
        trail = name.removeprefix(root.__name__ + ".").split(".")
        _put(branches, trail, _public(importlib.import_module(name)))
    _put(branches, [root.__name__.rpartition(".")[2]], _public(root))
    return branches


class OperationTool(NamedTuple):
    """An operation of a document as a tool, and what it answers, as far as the document says."""

    branch: str
    operation: Operation
    tool: AnyTool
    result: JSON | None  # a schema; its references lead into the document's `components`


def openapi_branches(document: JSON, send: Send) -> dict[str, Any]:
    """Tags as namespaces; operations without a tag stand below the first word of their path."""
    branches: dict[str, Any] = {}
    for each in openapi_operations(document, send):
        _put(branches, [each.branch], [each.tool])
    return branches


def openapi_operations(
    document: JSON, send: Send, *, bytes_max: int | None = None, left_out: list[str] | None = None
) -> list[OperationTool]:
    """All operations of a document, in the order of their paths.

    One whose parameters take more than `bytes_max` is named in `left_out`.
    """
    kind: type[object] = type(document)
    if kind is not dict:
        raise ToolDefinitionError(
            f"an OpenAPI document is a dictionary, as json.load gives it, not a {kind.__name__}"
        )
    document = as_openapi_31(document)
    found: list[OperationTool] = []
    read = _read(document, _Document, "the document")
    schemas = _Schemas((read.components and read.components.schemas) or {}, bytes_max)
    places = [
        (path, method, item)
        for path, item in sorted((read.paths or {}).items())
        for method in _METHODS
        if method in item
    ]
    if not places:
        raise ToolDefinitionError("the document has no operations; is it OpenAPI 3, or Swagger 2?")
    if len(places) > _OPERATIONS_MAX:
        raise ToolDefinitionError(f"the document has more than {_OPERATIONS_MAX:,} operations")
    for place in places:
        made = _operation_tool(document, place, send, schemas)
        if made is not None:
            found.append(made)
        elif left_out is not None:
            left_out.append(f"{place[1].upper()} {place[0]}")
    return found


def folder_branches(folder: str | Path, run: RunNamed) -> dict[str, Any]:
    """Folders as namespaces; files right in the root are namespaces of their own name."""
    root = Path(folder)
    branches: dict[str, Any] = {}
    for file in sorted(root.rglob("*.json")):
        try:
            value = jsontext.decode(file.read_bytes().removeprefix(codecs.BOM_UTF8))
        except ValueError as error:
            raise ToolDefinitionError(f"{file}: not JSON: {error}") from None
        trail = list(file.relative_to(root).parts[:-1]) or [file.stem]
        listed = cast("list[Any]", value if isinstance(value, list) else [value])
        _put(branches, trail, [_defined(each, trail, run, file) for each in listed])
    if not branches:
        raise ToolDefinitionError(f"{folder}: there are no JSON files")
    return branches


def _public(module: ModuleType) -> Iterator[AnyTool]:
    listed: list[str] | None = getattr(module, "__all__", None)
    for name, value in sorted(vars(module).items()):
        is_public = name in listed if listed is not None else not name.startswith("_")
        if not is_public:
            continue
        if isinstance(value, FunctionTool):
            yield value
        elif inspect.isfunction(value) and (listed or value.__module__ == module.__name__):
            yield tool(value)


def _put(branches: dict[str, Any], trail: list[str], tools: Iterable[AnyTool]) -> None:
    for each in tools:
        here = branches
        for name in trail:
            here = here.setdefault(name, {})
        if each.name in here:
            raise ToolDefinitionError(f"there are two of {'.'.join([*trail, each.name])!r}")
        here[each.name] = each


def _operation_tool(
    document: JSON, place: tuple[str, str, JSON], send: Send, schemas: _Schemas
) -> OperationTool | None:
    """The operation of a path and a method; `None` where it is too large."""
    path, method, item = place
    here = f"{method} {path}"
    operation = _read(item[method], _Described, here)
    shared = _read(item.get("parameters", []), list[JSON], f"{path}: parameters")
    own = {(each.get("name"), each.get("in")) for each in operation.parameters}
    # An operation's own parameter stands in the place of the path's.
    shared = [each for each in shared if (each.get("name"), each.get("in")) not in own]
    listed = [*shared, *operation.parameters]
    between = separators([_resolved(document, each) for each in listed])
    parameters = [
        _read(_resolved(document, each), _Parameter, f"{here}: parameters[{number}]")
        for number, each in enumerate(listed)
    ]
    properties: JSON = {}
    for each in parameters:
        about = {"description": each.description} if each.description else {}
        properties[each.name] = {**(each.schema if isinstance(each.schema, dict) else {}), **about}
    required = [each.name for each in parameters if each.required]
    body = _read(_resolved(document, operation.body), _Body, f"{here}: requestBody")
    media_type, content = body_content(body.content)
    if "schema" in content:
        properties["body"] = content["schema"]
        required += ["body"] if body.required else []
    places = {each.name: each.place for each in parameters}
    slashes = frozenset(each.name for each in parameters if each.is_reserved)
    made = Operation(method.upper(), path, places, "schema" in content, slashes)
    made = replace(made, media_type=media_type)
    segments = [part for part in path.split("/") if part and not part.startswith("{")]
    tags = operation.tags or segments[:1] or ["api"]
    name = operation.id or f"{method}_{'_'.join(segments)}"
    schema = schemas.around({"type": "object", "properties": properties, "required": required})
    if schema is None:
        return None

    async def run(arguments: JSON) -> Any:
        return await send(made, joined(arguments, between))

    about = operation.summary or operation.description or here
    made_tool = tool_from_schema(_word(name), about, schema, run)
    return OperationTool(_word(tags[0]), made, made_tool, _result(document, operation.responses))


def _result(document: JSON, responses: JSON) -> JSON | None:
    """The schema of the answer to a request that went well."""
    for status in ("200", "201", "202", "2XX", "default"):
        if isinstance(responses.get(status), dict):
            answer = _read(_resolved(document, responses[status]), _Body, f"responses.{status}")
            _, content = body_content(answer.content)
            schema = content.get("schema")
            return cast("JSON", schema) if isinstance(schema, dict) else None
    return None


def _read(node: Any, kind: type[ReadT], place: str) -> ReadT:
    """The node as what it should be; an error says where it is not."""
    try:
        return msgspec.convert(node, kind)
    except msgspec.ValidationError as error:
        raise ToolDefinitionError(f"{place}: {error}") from None


def _resolved(document: JSON, node: JSON) -> JSON:
    """The node behind a reference within the document."""
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return node
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(found, dict):
        raise ToolDefinitionError(f"the document has nothing at {reference!r}")
    return cast("JSON", found)


class _Schemas:
    """The components of a document as tools have them: each is made once, however many use it."""

    def __init__(self, schemas: dict[str, Any], bytes_max: int | None) -> None:
        self._schemas = schemas
        self._bytes_max = bytes_max
        self._made: dict[str, tuple[Any, list[str], int]] = {}

    def around(self, schema: JSON) -> JSON | None:
        """The schema with the components that it uses as its own definitions.

        `None` where both are larger than allowed.
        """
        whole, names, size = self._moved(schema)
        used: dict[str, Any] = {}
        ways = [iter(names)]
        while ways:
            name = next(ways[-1], None)
            if name is None:
                ways.pop()
            elif name not in used:  # a component may contain itself
                used[name], names, more = self._component(name)
                size += more
                ways.append(iter(names))
            if self._bytes_max is not None and size > self._bytes_max:
                return None
        return {**whole, "$defs": used} if used else whole

    def _component(self, name: str) -> tuple[Any, list[str], int]:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = self._moved(self._schemas.get(name, {}))
        return found

    def _moved(self, schema: Any) -> tuple[Any, list[str], int]:
        """The schema with references to definitions, their names, and its size."""
        names: list[str] = []

        def moved(node: Any) -> Any:
            if isinstance(node, list):
                return [moved(each) for each in cast("list[Any]", node)]
            if not isinstance(node, dict):
                return node
            inner = cast("JSON", node)
            reference = inner.get("$ref")
            if isinstance(reference, str) and reference.startswith(_COMPONENTS):
                name = reference.removeprefix(_COMPONENTS)
                names.append(name)
                inner = {**inner, "$ref": f"#/$defs/{name}"}
            return {key: value if key == "$ref" else moved(value) for key, value in inner.items()}

        made = moved(schema)
        return made, names, 0 if self._bytes_max is None else len(jsontext.encode_bytes(made))


def _defined(node: Any, trail: list[str], run: RunNamed, file: Path) -> AnyTool:
    definition = _read(node, _Definition, str(file))
    if not definition.name:
        raise ToolDefinitionError(f"{file}: a definition has no name")
    full = ".".join([*trail, definition.name])

    async def handle(arguments: JSON) -> Any:
        value = run(full, arguments)
        return await value if inspect.isawaitable(value) else value

    parameters = definition.parameters or definition.input_schema
    return tool_from_schema(definition.name, definition.description, parameters, handle)


def _word(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text).strip("_") or "api"


def _spelt(value: Any) -> str:
    return value if isinstance(value, str) else jsontext.encode(value)


def _several(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]
