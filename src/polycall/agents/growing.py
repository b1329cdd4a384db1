"""An output while it is written: the value of what has come of its JSON."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

from polycall.agents.output import OutputType
from polycall.ir import Event, PartDelta, PartStart, ResponseStart, Text

# What may still grow into another number is no value yet.
_NUMBER_AT_END = re.compile(r"(?<![-+0-9.eE])[-+0-9.eE]++\Z")
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n?")
# A long text is read again each time it has grown by this share of itself.
_SHARE = 100


class GrowingOutput:
    """Reads an answer's events; `None` for an output that is text.

    An answer that is asked for again begins anew.
    """

    def __init__(self, output: OutputType[Any] | None) -> None:
        self._is_text = output is None or output.format is None
        self._is_wrapped = output is not None and output.is_wrapped
        self._text = ""
        self._read = 0
        self._last: Any = None

    def feed(self, event: Event) -> list[Any]:
        """The new value, if the event makes one."""
        match event:
            case ResponseStart():
                self._text, self._read, self._last = "", 0, None
                return []
            case PartStart(part=Text(text=text)) if text:
                self._text += text
            case PartDelta(kind="text", text=text) if text:
                self._text += text
            case _:
                return []
        if self._is_text:
            return [self._text]
        if len(self._text) - self._read <= self._read // _SHARE and self._text[-1] not in "]}":
            return []
        self._read = len(self._text)
        return self._value()

    def _value(self) -> list[Any]:
        text = _NUMBER_AT_END.sub("", _FENCE.sub("", self._text)).removesuffix("```")
        try:
            value = from_json(text, allow_partial="trailing-strings")
        except ValueError:
            return []  # words around the JSON, or before it
        if self._is_wrapped:
            if not isinstance(value, dict) or "result" not in value:
                return []
            value = value["result"]  # pyright: ignore[reportUnknownVariableType]
        if value == self._last:
            return []
        self._last = value
        return [value]
