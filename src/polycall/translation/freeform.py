"""The text of a freeform call, however a model wrote it that was offered a function instead."""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext
from polycall.ir import ToolCall


def freeform_text(call: ToolCall) -> str:
    """The free text: the field `input`, the only string under another name, or a JSON string.

    Anything else is given as the model wrote it, for the tool to judge.
    """
    arguments = call.arguments
    if arguments:
        text = arguments.get("input")
        if isinstance(text, str):
            return text
        if len(arguments) == 1:
            (text,) = arguments.values()
            if isinstance(text, str):
                return text
    elif call.arguments_json.lstrip().startswith('"'):
        try:
            value: Any = jsontext.decode(call.arguments_json)
        except ValueError:
            return call.arguments_json
        if isinstance(value, str):
            return value
    return call.arguments_json
