"""An answer of a given type: asked for by schema, read, and explained where it does not fit.

A tool can end the run as well: what it returned becomes the output.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from polycall.agents.context import AgentContext
from polycall.errors import PolycallError, RequestError
from polycall.ir import JSON, ResponseFormat, Text
from polycall.tools import EndRun, ToolContext, WrappedToolset
from polycall.tools.results import result_parts

if TYPE_CHECKING:
    from polycall.agents.typed import SchemaOutput, TypedOutput


OutputT = TypeVar("OutputT", default=str)


class OutputError(PolycallError):
    """There is no output of the type that was asked for; the message says why."""


def _check_type(kind: Any) -> None:
    is_value = isinstance(kind, str | bytes | int | float | list | tuple | set)
    if is_value or inspect.isroutine(kind):
        raise RequestError(
            "output is a type, such as a pydantic model, a dataclass or list[int], or a JSON "
            f"schema, not {kind!r}"
        )


class OutputType(Generic[OutputT]):
    """A type that answers must have: text as it is, or anything that pydantic can read.

    A dictionary is a JSON schema, and its answers are plain values.
    """

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._typed: TypedOutput | SchemaOutput | None = None
        if kind is not str:
            _check_type(kind)
            typed = importlib.import_module("polycall.agents.typed")
            made = typed.SchemaOutput if isinstance(kind, dict) else typed.TypedOutput
            self._typed = made(kind)

    def __reduce__(self) -> Any:
        return OutputType, (self._kind,)

    @property
    def format(self) -> ResponseFormat | None:
        """The response format that is sent to the provider."""
        return self._typed.format if self._typed else None

    @property
    def is_wrapped(self) -> bool:
        """Whether its JSON stands under the key `result`."""
        return self._typed is not None and self._typed.is_wrapped

    def parse_result(self, text: str) -> OutputT:
        """The value of a tool's result: the JSON of the type itself, put under no key."""
        if self._typed is None:
            return text  # pyright: ignore[reportReturnType]
        try:
            return self._typed.parse_result(text)
        except ValueError as error:
            raise OutputError(str(error)) from None

    def parse(self, text: str) -> OutputT:
        """The value; `OutputError` with words for the model that wrote the text."""
        if self._typed is None:
            return text  # pyright: ignore[reportReturnType]
        try:
            return self._typed.parse(text)
        except ValueError as error:
            raise OutputError(str(error)) from None


class EndingToolset(WrappedToolset):
    """Tools of which those that return `EndRun` end the run of the agent that called them."""

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        value = await super().run(name, arguments, context)
        if not isinstance(value, EndRun):
            return value
        if isinstance(context, AgentContext):
            parts = result_parts(value.result)
            texts = [part.text for part in parts if isinstance(part, Text)]
            context.run.end, context.run.ended_with = "finished", "".join(texts)
        return value.result
