"""A function the model can call: what it learns of it, how the call is checked, how it runs."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
    overload,
)

from polycall import ir
from polycall.errors import ToolDefinitionError, ToolError
from polycall.ir import JSON
from polycall.schema.walk import object_at
from polycall.tools.context import ToolContext
from polycall.tools.mending import Mending
from polycall.tools.pickling import reduced
from polycall.tools.problems import Checker
from polycall.tools.threads import Slots, run_in_thread
from polycall.tools.validate import Checked, SchemaChecker, check_arguments

if TYPE_CHECKING:
    from polycall.tools.signature import Signature

Background: TypeAlias = Literal[True, False, "optional"]
Tell: TypeAlias = Literal["when_idle", "silent", "interrupt"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, eq=False, repr=False)
class FunctionTool(Generic[P, R_co]):
    """A tool and its handler.  Calling it calls the function, as if it were no tool.

    `parameters` is its JSON Schema.  `allowed_callers` names who may call it: `"direct"` (the
    model), `"code"` (a program of the model's); empty is the model alone.
    `deadline_s` bounds one call.  `needs_approval` marks it for anyone who asks people.
    `background` makes an agent's calls of it tasks that continue by themselves: all, or those for
    which the model asks (`"optional"`).  `concurrency` bounds how many calls run at a time: in an
    event loop, and of background tasks over all processes that share a database of durable runs.
    Exceptions of the types in `raises` leave the run; the model reads all others.
    """

    name: str
    description: str
    parameters: JSON
    function: Callable[P, R_co]
    checker: Checker
    strict: bool | None = None
    output_schema: JSON | None = None
    output_is_derived: bool = False  # from the signature; nobody asked for it
    examples: tuple[JSON, ...] = ()
    allowed_callers: tuple[str, ...] = ()
    defer_loading: bool | None = None
    deadline_s: float | None = None
    needs_approval: bool = False
    context_parameter: str = ""
    positional: tuple[str, ...] = ()
    defaults: Mapping[str, Callable[[], Any]] = field(default_factory=dict[str, Callable[[], Any]])
    whole_arguments: bool = False  # the function takes all arguments as one dictionary
    is_bound: bool = True
    has_steps: bool = False  # made of calls of its own, such as another agent
    background: Background = False
    concurrency: int | None = None
    tell: Tell = "when_idle"
    raises: tuple[type[BaseException], ...] = ()
    slots: Slots = field(default_factory=Slots, repr=False)

    def __post_init__(self) -> None:
        # Whatever looks at functions finds one: `inspect.signature`, `help`, `functools.wraps`.
        function: Any = self.function
        known = {
            "__name__": self.name,
            "__qualname__": getattr(function, "__qualname__", self.name),
            "__module__": getattr(function, "__module__", __name__),
            "__doc__": getattr(function, "__doc__", None) or self.description or None,
            "__wrapped__": function,
        }
        for name, value in known.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"<tool {self.name}({', '.join(object_at(self.parameters, 'properties'))})>"

    def _repr_html_(self) -> str:
        """In a notebook: its description and its schema."""
        from polycall._support.html_text import tool_html  # noqa: PLC0415 - for notebooks

        return tool_html(self.name, self.description, self.parameters)

    def __reduce__(self) -> Any:
        return reduced(self)

    @property
    def bound(self) -> int | None:
        """The number of calls that may run at a time.

        Background tasks are counted by their runner.
        """
        return None if self.background else self.concurrency

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> FunctionTool[..., R_co]:
        """The tool of one object, where the function is a method of its class."""
        if instance is None or self.is_bound:
            return self
        method: Callable[..., R_co] = self.function
        bound = functools.partial(method, instance)
        return replace(self, function=bound, is_bound=True)  # pyright: ignore[reportReturnType]

    @functools.cached_property
    def definition(self) -> ir.Tool:
        """The tool as the model sees it.

        A result schema that comes from the signature is reported only where programs may call the
        tool: they handle results, while a model that calls directly reads them.
        """
        told = not self.output_is_derived or "code" in self.allowed_callers
        return ir.Tool(
            name=self.name,
            description=self.description,
            parameters=self.parameters,
            strict=self.strict,
            output_schema=self.output_schema if told else None,
            examples=list(self.examples),
            defer_loading=self.defer_loading,
            allowed_callers=list(self.allowed_callers),
        )

    def check(self, arguments_json: str) -> Checked:
        """The arguments, fit to run with; raises `ArgumentsError` with words for the model."""
        return check_arguments(
            arguments_json,
            name=self.name,
            parameters=self.parameters,
            checker=self.checker,
            mending=self._mending,
        )

    async def run(self, arguments: JSON, context: ToolContext[Any]) -> Any:
        """Call the function with arguments that were checked."""
        if not self.is_bound:
            raise ToolError(f"{self.name!r} is a method; use it from an object of its class")
        loaded = self.checker.load(arguments)
        if self.whole_arguments:
            positional, named = [loaded], {}
        else:
            for name, make in self.defaults.items():
                loaded.setdefault(name, make())
            positional = [loaded.pop(name) for name in self.positional if name in loaded]
            named = loaded
        if self.context_parameter:
            named = {**named, self.context_parameter: context}
        call: functools.partial[Any] = functools.partial(self.function, *positional, **named)  # pyright: ignore[reportCallIssue]
        if _is_async(self.function):
            return await call()
        result = await run_in_thread(call)
        return await result if inspect.isawaitable(result) else result

    @functools.cached_property
    def _mending(self) -> Mending:
        return Mending(self.parameters)


@overload
def tool(function: Callable[P, R_co], /) -> FunctionTool[P, R_co]: ...
@overload
def tool(
    function: Callable[P, R_co],
    /,
    *,
    name: str = "",
    description: str = "",
    strict: bool | None = None,
    examples: Sequence[JSON] = (),
    allowed_callers: Sequence[str] = (),
    defer_loading: bool | None = None,
    deadline_s: float | None = None,
    needs_approval: bool = False,
    background: Background = False,
    concurrency: int | None = None,
    tell: Tell = "when_idle",
    raises: Sequence[type[BaseException]] = (),
) -> FunctionTool[P, R_co]: ...
@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    strict: bool | None = None,
    examples: Sequence[JSON] = (),
    allowed_callers: Sequence[str] = (),
    defer_loading: bool | None = None,
    deadline_s: float | None = None,
    needs_approval: bool = False,
    background: Background = False,
    concurrency: int | None = None,
    tell: Tell = "when_idle",
    raises: Sequence[type[BaseException]] = (),
) -> Callable[[Callable[P, R_co]], FunctionTool[P, R_co]]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a tool of a function, plainly or as a decorator, with or without options.

    The schema comes from the signature and the docstring.  Raises `ToolDefinitionError` where
    that cannot be, naming the parameter and the reason.
    """
    names = sys._getframe(1).f_locals  # pyright: ignore[reportPrivateUsage]
    if function is None:
        return functools.partial(_make_tool, names=names, **options)
    return _make_tool(function, names=names, **options)


def _make_tool(
    function: Callable[..., Any],
    *,
    names: Mapping[str, Any],
    name: str = "",
    description: str = "",
    examples: Sequence[JSON] = (),
    allowed_callers: Sequence[str] = (),
    background: Background = False,
    concurrency: int | None = None,
    tell: Tell = "when_idle",
    raises: Sequence[type[BaseException]] = (),
    **options: Any,
) -> FunctionTool[..., Any]:
    if isinstance(function, FunctionTool):
        raise ToolDefinitionError(f"{function.name!r} is a tool already")  # pyright: ignore[reportUnknownMemberType]
    _check_wraps_no_tool(function)
    # Loaded with the first tool: pydantic behind it takes longer than all of the rest.
    reader = importlib.import_module("polycall.tools.signature")
    signature: Signature = reader.describe_function(
        function, names, name=name, description=description
    )
    made: FunctionTool[..., Any] = FunctionTool(
        name=signature.name,
        description=signature.description,
        parameters=signature.parameters,
        function=function,
        checker=signature.checker,
        output_schema=signature.output_schema,
        output_is_derived=True,
        examples=tuple(examples),
        allowed_callers=_callers(signature.name, allowed_callers),
        context_parameter=signature.context_parameter,
        positional=signature.positional,
        defaults=signature.defaults,
        is_bound=signature.is_bound,
        background=_checked_background(signature.name, background, concurrency),
        concurrency=concurrency,
        tell=_checked_tell(signature.name, tell, background),
        raises=_checked_raises(signature.name, raises),
        **options,
    )
    _check_examples(made)
    return made


def _check_wraps_no_tool(function: Any) -> None:
    """A function around a tool would run it without what the tool says: approval, deadline."""
    seen: list[Any] = []
    while function is not None and not any(function is each for each in seen):
        if isinstance(function, FunctionTool):
            name: str = function.name
            raise ToolDefinitionError(
                f"this is a function around the tool {name!r}, and what the tool says (approval, "
                f"callers, background) would be lost; put @tool outside: wrap {name}.function, and "
                "make the result a tool"
            )
        seen.append(function)
        is_partial = isinstance(function, functools.partial | functools.partialmethod)
        function = function.func if is_partial else getattr(function, "__wrapped__", None)


def tool_from_schema(
    name: str,
    description: str,
    parameters: JSON | None,
    handler: Callable[..., Any],
    *,
    strict: bool | None = None,
    output_schema: JSON | None = None,
    examples: Sequence[JSON] = (),
    allowed_callers: Sequence[str] = (),
    defer_loading: bool | None = None,
    deadline_s: float | None = None,
    needs_approval: bool = False,
    background: Background = False,
    concurrency: int | None = None,
    tell: Tell = "when_idle",
    raises: Sequence[type[BaseException]] = (),
) -> FunctionTool[..., Any]:
    """Make a tool of a JSON Schema and a handler, which is called with one dictionary.

    The schema is the caller's own and stays as it is.  A handler with a second parameter that is
    named `context` gets the `ToolContext` too.
    """
    schema: JSON = parameters or {"type": "object", "properties": {}}
    takes_context = "context" in inspect.signature(handler).parameters
    made: FunctionTool[..., Any] = FunctionTool(
        name=name,
        description=description,
        parameters=schema,
        function=handler,
        checker=SchemaChecker(schema, label=name),
        strict=strict,
        output_schema=output_schema,
        examples=tuple(examples),
        allowed_callers=_callers(name, allowed_callers),
        defer_loading=defer_loading,
        deadline_s=deadline_s,
        needs_approval=needs_approval,
        context_parameter="context" if takes_context else "",
        whole_arguments=True,
        background=_checked_background(name, background, concurrency),
        concurrency=concurrency,
        tell=_checked_tell(name, tell, background),
        raises=_checked_raises(name, raises),
    )
    _check_examples(made)
    return made


def definition_of(offered: ir.Tool | FunctionTool[..., Any] | Callable[..., Any]) -> ir.Tool:
    """The definition of whatever may be offered to a model."""
    if isinstance(offered, ir.Tool):
        return offered
    if isinstance(offered, FunctionTool):
        return offered.definition  # pyright: ignore[reportUnknownMemberType]
    return tool(offered).definition


def _callers(name: str, callers: Sequence[str]) -> tuple[str, ...]:
    """Check and return the allowed callers; a typing mistake here would lock everybody out."""
    unknown = [caller for caller in callers if caller not in ("direct", "code")]
    if isinstance(callers, str) or unknown:
        raise ToolDefinitionError(
            f'allowed_callers of {name!r} takes a list of "direct" and "code", got {callers!r}'
        )
    return tuple(callers)


def _checked_background(name: str, background: Background, concurrency: int | None) -> Background:
    if background not in (True, False, "optional"):
        raise ToolDefinitionError(
            f"background of {name!r} is True, False or 'optional', not {background!r}"
        )
    if concurrency is not None and (isinstance(concurrency, bool) or concurrency < 1):
        raise ToolDefinitionError(
            f"concurrency of {name!r} is a whole number above 0, not {concurrency!r}"
        )
    return background


def _checked_tell(name: str, tell: Tell, background: Background) -> Tell:
    if tell not in ("when_idle", "silent", "interrupt"):
        raise ToolDefinitionError(
            f"tell of {name!r} is 'when_idle', 'silent' or 'interrupt', not {tell!r}"
        )
    if tell != "when_idle" and not background:
        raise ToolDefinitionError(
            f"tell of {name!r} is for background tasks; add background=True or 'optional'"
        )
    return tell


def _checked_raises(name: str, raises: Any) -> tuple[type[BaseException], ...]:
    given: tuple[Any, ...] = (raises,) if isinstance(raises, type) else tuple(raises)
    for each in given:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ToolDefinitionError(f"raises of {name!r} lists types of exceptions, not {each!r}")
    return given


def _check_examples(made: FunctionTool[..., Any]) -> None:
    """An example that does not fit would teach the model a mistake."""
    for position, example in enumerate(made.examples):
        problems = made.checker.problems(example)
        if problems:
            known = ", ".join(object_at(made.parameters, "properties")) or "none"
            raise ToolDefinitionError(
                f"example {position + 1} of {made.name!r} does not fit its own parameters "
                f"({known}): {problems[0].message}",
                path=f"{made.name}.examples[{position}]",
            )


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    called = getattr(function, "__call__", None)  # noqa: B004 - the method itself is wanted
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
