"""Answers that pydantic reads.  Imported with the first of them: it takes longer than the rest."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from pydantic import TypeAdapter, create_model
from pydantic.errors import PydanticUserError

from polycall._support import jsontext
from polycall._support.fences import inside_fence
from polycall.errors import RequestError
from polycall.ir import JSON, ResponseFormat
from polycall.tools.handwritten import handwritten
from polycall.tools.loading import Loader, MisfitError
from polycall.tools.plain_schema import PlainSchema
from polycall.tools.validate import SchemaChecker

_TOLD_MAX = 10
_FENCE = re.compile(r"```(?:json)?\s*\n")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class _Output(ABC):
    """Reads answers; `is_wrapped` where the value stands under the key `result`."""

    is_wrapped: bool
    format: ResponseFormat

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value; `ValueError` with words for the model that wrote the text."""

    def parse_result(self, text: str) -> Any:
        """The same for the value itself, put under no key; text that is no JSON is a string."""
        try:
            value = jsontext.decode(text)
        except ValueError:
            value = text
        return self.parse(jsontext.encode({"result": value} if self.is_wrapped else value))


class TypedOutput(_Output):
    """Reads answers of one type.

    Providers want an object at the top; other types are put under the key `result`.
    """

    def __init__(self, kind: Any) -> None:
        name = _NOT_IN_NAMES.sub("_", getattr(kind, "__name__", "")) or "answer"
        self._adapter, schema = _described(kind, kind)
        self.is_wrapped = _points_to(schema).get("type") != "object"
        if self.is_wrapped:
            self._adapter, schema = _described(create_model(name, result=(kind, ...)), kind)
        sent = handwritten(schema)
        self.format = ResponseFormat("json_schema", schema=sent, name=name)
        self._loader = Loader(self._adapter, sent)

    def parse(self, text: str) -> Any:
        # Models that are asked in words alone like to put their JSON into a fence.
        fenced = inside_fence(text, _FENCE)
        try:
            value = self._loader.load(text if fenced is None else fenced)
        except MisfitError as error:
            raise ValueError(_explained(error)) from None
        return value.result if self.is_wrapped else value


class SchemaOutput(_Output):
    """Reads answers that a JSON schema describes, as plain values."""

    def __init__(self, schema: JSON) -> None:
        self.is_wrapped = _points_to(schema).get("type") != "object"
        own: JSON = schema
        if self.is_wrapped:
            own = {"type": "object", "properties": {"result": schema}, "required": ["result"]}
        self._checker = SchemaChecker(own, label="the answer")
        name = _NOT_IN_NAMES.sub("_", str(schema.get("title", ""))) or "answer"
        self.format = ResponseFormat("json_schema", schema=own, name=name)

    def parse(self, text: str) -> Any:
        fenced = inside_fence(text, _FENCE)
        value = jsontext.decode(text if fenced is None else fenced)
        problems = self._checker.problems(value)
        if problems:
            lines = [
                f"- {'.'.join(map(str, each.path)) or 'the answer'}: {each.message}"
                for each in problems[:_TOLD_MAX]
            ]
            raise ValueError("\n".join(lines))
        return value["result"] if self.is_wrapped else value


def _described(kind: Any, given: Any) -> tuple[TypeAdapter[Any], JSON]:
    """The adapter of the type, and its schema; `RequestError` where JSON cannot hold it."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        return adapter, adapter.json_schema(schema_generator=PlainSchema)
    except (PydanticUserError, TypeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise RequestError(
            f"output: {given!r} has no JSON schema ({reason}); "
            "use types that JSON can hold, a dataclass or a pydantic model"
        ) from None


def _points_to(schema: JSON) -> JSON:
    """The schema, or the definition that it is only a reference to."""
    reference = str(schema.get("$ref", ""))
    found: JSON = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), schema)
    return found


def _explained(error: MisfitError) -> str:
    lines = [
        f"- {'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}"
        for problem in error.details[:_TOLD_MAX]
    ]
    return "\n".join(lines)
