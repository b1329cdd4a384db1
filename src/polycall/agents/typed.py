"""Answers that pydantic reads.  Imported with the first of them: it takes longer than the rest."""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from polycall.ir import JSON, ResponseFormat
from polycall.tools.handwritten import handwritten

_TOLD_MAX = 10
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class _PlainSchema(GenerateJsonSchema):
    """Schemas without titles made from names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No: a name in another spelling tells a model nothing."""
        return False


class TypedOutput:
    """Reads answers of one type.

    Providers want an object at the top; other types are put under the key `result`.
    """

    def __init__(self, kind: Any) -> None:
        name = _NOT_IN_NAMES.sub("_", getattr(kind, "__name__", "")) or "answer"
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        schema: JSON = self._adapter.json_schema(schema_generator=_PlainSchema)
        self._is_wrapped = _points_to(schema).get("type") != "object"
        if self._is_wrapped:
            self._adapter = TypeAdapter(create_model(name, result=(kind, ...)))
            schema = self._adapter.json_schema(schema_generator=_PlainSchema)
        self.format = ResponseFormat("json_schema", schema=handwritten(schema), name=name)

    def parse(self, text: str) -> Any:
        """The value; `ValueError` with words for the model that wrote the text."""
        # Models that are asked in words alone like to put their JSON into a fence.
        fenced = _FENCE.match(text)
        try:
            value = self._adapter.validate_json(fenced[1] if fenced else text, strict=True)
        except ValidationError as error:
            raise ValueError(_explained(error)) from None
        return value.result if self._is_wrapped else value


def _points_to(schema: JSON) -> JSON:
    """The schema, or the definition that it is only a reference to."""
    reference = str(schema.get("$ref", ""))
    found: JSON = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), schema)
    return found


def _explained(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"- {'.'.join(map(str, problem['loc'])) or 'the answer'}: {problem['msg']}"
        for problem in problems[:_TOLD_MAX]
    ]
    return "\n".join(lines)
