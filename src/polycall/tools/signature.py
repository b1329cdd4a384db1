"""A tool's schema from a function's signature, and its arguments checked by pydantic.

The schema is what somebody would write by hand: names, types, bounds, defaults and descriptions,
without the titles that generators add.  Imported when the first tool is made, since pydantic
takes its time.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

import typing_extensions
from msgspec import Struct
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import (
    PydanticSerializationError,
    PydanticUndefined,
    to_jsonable_python,
)

from polycall._support import jsontext
from polycall.errors import ToolDefinitionError
from polycall.ir import JSON, Media, Opaque, Text, ToolResult
from polycall.tools.context import ToolContext
from polycall.tools.docstrings import Docstring, parse_docstring
from polycall.tools.handwritten import handwritten
from polycall.tools.loading import Loader, MisfitError
from polycall.tools.plain_schema import PlainSchema
from polycall.tools.problems import Problem

# Results of these types are shown as they are, and have no schema.
_SHOWN_TYPES = (Text, Media, Opaque, ToolResult, bytes, bytearray, memoryview)
_ENDLESS_TYPES = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
)
_AWAITED_TYPES = (collections.abc.Awaitable, collections.abc.Coroutine)

_EMPTY = inspect.Parameter.empty


class PydanticChecker:
    """Arguments checked by the schema that the model sees, and made into the parameters' types."""

    def __init__(self, adapter: TypeAdapter[dict[str, Any]], schema: JSON) -> None:
        self._loader = Loader(adapter, schema)
        self.keeps_digits = self._loader.keeps_digits

    def problems(self, arguments: JSON) -> list[Problem]:
        """The problems of the arguments; empty where they fit."""
        try:
            self.load(arguments)
        except MisfitError as error:
            return [
                Problem(
                    path=tuple(detail["loc"]),
                    message=detail["msg"],
                    kind="unexpected" if detail["type"] == "extra_forbidden" else "",
                    value=detail["input"],
                    has_value=detail["type"] not in ("missing", "json_invalid"),
                )
                for detail in error.details
            ]
        return []

    def load(self, arguments: JSON) -> dict[str, Any]:
        """The arguments in Python's terms.  JSON's types are not bent into each other."""
        return self._loader.load(jsontext.encode_exactly(arguments))


class Signature(Struct, frozen=True):
    """A function's signature, ready to be a tool."""

    name: str
    description: str
    parameters: JSON
    output_schema: JSON | None
    checker: PydanticChecker
    context_parameter: str
    positional: tuple[str, ...]  # parameters that cannot be given by name
    defaults: dict[str, Callable[[], Any]]  # those that Python itself does not know
    is_bound: bool


def describe_function(
    function: Callable[..., Any], names: Mapping[str, Any], *, name: str = "", description: str = ""
) -> Signature:
    """Read a function's signature and docstring.

    `names` are those that its annotations may use beyond the function's own module.  Raises
    `ToolDefinitionError` naming the parameter that cannot be described.
    """
    if not callable(function):
        raise ToolDefinitionError(
            f"a {type(function).__name__} cannot be a tool: {str(function)[:60]!r}; "
            "give the function itself, without calling it"
        )
    label = name or _name_of(function)
    if inspect.isclass(function):
        _refuse(label, "it is a class; make a tool of a function or a method")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        _refuse(label, "it is a generator, which has no single result; return a list")
    docs = parse_docstring(inspect.getdoc(_core(function)))
    hints = _hints(label, function, names)
    reader = _ParameterReader(label, docs, hints, _fixed_by_partial(function))
    is_bound = True
    for position, parameter in enumerate(_parameters(label, function)):
        if position == 0 and parameter.name in ("self", "cls") and parameter.name not in hints:
            is_bound = False
        else:
            reader.read(parameter)
    parameters, checker = reader.finish()
    return Signature(
        name=label,
        description=description or docs.description,
        parameters=parameters,
        output_schema=_output_schema(label, hints.get("return", _EMPTY), docs),
        checker=checker,
        context_parameter=reader.context_parameter,
        positional=tuple(reader.positional),
        defaults=reader.defaults,
        is_bound=is_bound,
    )


class _ParameterReader:
    """Parameters one by one, into one typed dictionary."""

    def __init__(
        self, label: str, docs: Docstring, hints: dict[str, Any], fixed: frozenset[str]
    ) -> None:
        self._label = label
        self._docs = docs
        self._hints = hints
        self._fixed = fixed
        self._fields: dict[str, Any] = {}
        self._shown_defaults: dict[str, Any] = {}
        self.context_parameter = ""
        self.positional: list[str] = []
        self.defaults: dict[str, Callable[[], Any]] = {}

    def read(self, parameter: inspect.Parameter) -> None:
        """Take one parameter in, or say why it cannot be one of a tool."""
        name = parameter.name
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            self._refuse(f"*{name}", "a model gives arguments by name; take a list instead")
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            self._refuse(f"**{name}", "a model must know the names; write them out")
        if name in self._fixed:
            return
        if name not in self._hints:
            self._refuse(name, "it has no annotation, and a model must know its type")
        hint = known_to_pydantic(self._hints[name])
        if _is_context(hint):
            self.context_parameter = name
            return
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            self.positional.append(name)
        default = parameter.default
        if isinstance(default, FieldInfo):
            hint, default = self._field_default(name, hint, default)
        told = _plain_remark(hint) or self._docs.parameters.get(name)
        if told and not _has_description(hint):
            hint = Annotated[hint, Field(description=told)]
        self._check_type(name, hint)
        if default is _EMPTY:
            self._fields[name] = typing_extensions.Required[hint]
        else:
            self._fields[name] = typing_extensions.NotRequired[hint]
            self._shown_defaults[name] = default

    def finish(self) -> tuple[JSON, PydanticChecker]:
        """The schema of all parameters, and what checks arguments by it."""
        # A typed dictionary, and not a model: any parameter name will do, and the defaults stay
        # where they are, in the function.
        arguments = typed_dict("Arguments", self._fields)
        arguments.__pydantic_config__ = ConfigDict(extra="forbid")
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
        schema = _json_schema(adapter, mode="validation")
        properties = schema.setdefault("properties", {})
        for name, default in self._shown_defaults.items():
            value = _jsonable(default)
            if value is not None:
                properties[name] = {**properties[name], "default": value}
        return schema, PydanticChecker(adapter, schema)

    def _field_default(self, name: str, hint: Any, field: FieldInfo) -> tuple[Any, Any]:
        """`x: int = Field(3, ge=1)`: the bounds as an annotation, the default as a default."""
        default: Any = _EMPTY
        if field.default_factory is not None:
            factory = typing.cast("Callable[[], Any]", field.default_factory)
            self.defaults[name] = factory
            default = factory()
        elif field.default is not PydanticUndefined:
            default = field.default
            self.defaults[name] = functools.partial(_same, default)
        told = Field(description=field.description, title=field.title, examples=field.examples)
        for bound in (*field.metadata, told):
            hint = Annotated[hint, bound]
        return hint, default

    def _check_type(self, name: str, hint: Any) -> None:
        """Refuse a type that has no JSON, while the parameter's name is still known."""
        try:
            _json_schema(TypeAdapter(hint), mode="validation")
        except (PydanticUserError, TypeError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            self._refuse(
                name,
                f"{_formatted(hint)} has no JSON schema ({reason}); "
                "use types that JSON can hold, a dataclass or a pydantic model",
            )

    def _refuse(self, parameter: str, reason: str) -> NoReturn:
        _refuse(self._label, reason, parameter)


def _refuse(label: str, reason: str, parameter: str = "") -> NoReturn:
    """Raise for a function that cannot be a tool."""
    if parameter:
        raise ToolDefinitionError(
            f"parameter {parameter!r} cannot be a tool's: {reason}",
            path=f"{label}({parameter})",
        )
    raise ToolDefinitionError(f"{label!r} cannot be a tool: {reason}")


# ---------------------------------------------------------------------------------------------
# Functions, and what is wrapped around them


def _core(function: Callable[..., Any]) -> Callable[..., Any]:
    """The plain function behind partials, wrappers, methods and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    function = inspect.unwrap(function)  # pyright: ignore[reportUnknownArgumentType]
    if inspect.isfunction(function) or inspect.isbuiltin(function) or inspect.isclass(function):
        return function
    if inspect.ismethod(function):
        return function.__func__
    return type(function).__call__


def _name_of(function: Callable[..., Any]) -> str:
    core = function
    while isinstance(core, functools.partial):
        core = core.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    name = getattr(core, "__name__", "") or type(core).__name__
    if not name.isidentifier():
        raise ToolDefinitionError(
            f"{name!r} is not a name that a model could call; give the tool one with name=..."
        )
    return name


def _fixed_by_partial(function: Callable[..., Any]) -> frozenset[str]:
    """The names that a partial has already given a value."""
    fixed: set[str] = set()
    while isinstance(function, functools.partial):
        fixed |= set(function.keywords)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        function = function.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return frozenset(fixed)


def _parameters(label: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        _refuse(label, "it has no signature that Python could read; wrap it in a function")


def _hints(label: str, function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """All annotations as types; one that cannot be read is named."""
    core = _core(function)
    try:
        return typing.get_type_hints(core, include_extras=True)
    except (NameError, TypeError, SyntaxError):
        pass
    try:
        return typing.get_type_hints(core, localns=dict(names), include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        failure = error
    for parameter, annotation in inspect.get_annotations(core).items():
        lone = types.SimpleNamespace(
            __annotations__={parameter: annotation},
            __globals__=getattr(core, "__globals__", {}),
        )
        try:
            typing.get_type_hints(lone, localns=dict(names), include_extras=True)
        except (NameError, TypeError, SyntaxError) as error:
            if parameter != "return":
                _refuse(label, f"its annotation {annotation!r} cannot be read ({error})", parameter)
    _refuse(label, f"the annotation of its result cannot be read ({failure})")


def _is_context(hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType, Annotated):
        return any(_is_context(part) for part in get_args(hint))
    kind = origin or hint
    return isinstance(kind, type) and issubclass(kind, ToolContext)


def _plain_remark(hint: Any) -> str:
    """The text of `Annotated[str, "text"]` or `Annotated[str, Doc("text")]`."""
    remarks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    texts = (getattr(remark, "documentation", remark) for remark in remarks)
    return next((text for text in texts if isinstance(text, str)), "")


def _has_description(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        isinstance(part, FieldInfo) and part.description for part in get_args(hint)[1:]
    )


def _formatted(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


def _same(value: Any) -> Any:
    return value


# ---------------------------------------------------------------------------------------------
# Schemas


def _json_schema(
    adapter: TypeAdapter[Any], *, mode: typing.Literal["validation", "serialization"]
) -> JSON:
    return handwritten(adapter.json_schema(schema_generator=PlainSchema, mode=mode))


def _output_schema(label: str, hint: Any, docs: Docstring) -> JSON | None:
    """The schema of what the function returns; `None` where nothing can be said of it."""
    if get_origin(hint) in _AWAITED_TYPES:
        hint = get_args(hint)[-1]
    if hint in _ENDLESS_TYPES or get_origin(hint) in _ENDLESS_TYPES:
        _refuse(label, "it returns an iterator, which has no single result; return a list")
    if hint is _EMPTY or hint is Any or _mentions_shown_types(hint):
        return None
    try:
        schema = _json_schema(TypeAdapter(known_to_pydantic(hint)), mode="serialization")
    except (PydanticUserError, TypeError):
        return None
    if docs.returns and "description" not in schema:
        schema["description"] = docs.returns
    return schema


def _mentions_shown_types(hint: Any) -> bool:
    if hint in _SHOWN_TYPES:
        return True
    return any(_mentions_shown_types(part) for part in get_args(hint) if part is not hint)


def _jsonable(default: Any) -> Any:
    """A default as JSON; `None` where it has no such form, or says nothing."""
    try:
        return to_jsonable_python(default, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError):
        return None


def typed_dict(name: str, fields: dict[str, Any]) -> Any:
    """A typed dictionary with any names as its keys."""
    make: Any = typing_extensions.TypedDict
    return make(name, fields)


def known_to_pydantic(hint: Any) -> Any:
    """The annotation, with typed dictionaries of `typing` in it made anew."""
    return _renewed(hint, {})


def _renewed(hint: Any, made: dict[Any, Any]) -> Any:
    if typing.is_typeddict(hint) and type(hint).__module__ == "typing":
        return made[hint] if hint in made else _remade(hint, made)
    arguments = get_args(hint)
    origin = get_origin(hint)
    if not arguments or origin in (typing.Literal, None):
        return hint
    renewed = tuple(_renewed(argument, made) for argument in arguments)
    if all(new is old for new, old in zip(renewed, arguments, strict=True)):
        return hint
    if origin is Annotated:
        for remark in arguments[1:]:
            renewed = (Annotated[renewed[0], remark],)
        return renewed[0]
    if origin in (Union, types.UnionType):
        return Union[renewed]  # noqa: UP007 - built from a tuple
    return origin[renewed]


def _remade(hint: Any, made: dict[Any, Any]) -> Any:
    made[hint] = hint  # one that contains itself stays as it is inside
    fields: dict[str, Any] = {}
    for key, annotation in typing.get_type_hints(hint, include_extras=True).items():
        marker = get_origin(annotation)
        if marker in (typing.Required, typing.NotRequired):
            wanted = marker is typing.Required
            annotation = get_args(annotation)[0]  # noqa: PLW2901 - without its marker
        else:
            wanted = key in hint.__required_keys__
        inner = _renewed(annotation, made)
        fields[key] = (
            typing_extensions.Required[inner] if wanted else typing_extensions.NotRequired[inner]
        )
    made[hint] = typed_dict(hint.__name__, fields)
    made[hint].__doc__ = hint.__doc__
    return made[hint]
