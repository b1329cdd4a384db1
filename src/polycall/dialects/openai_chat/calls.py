"""Tool calls as they stand in messages and in histories, both ways."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects.openai_chat.names import mark, own
from polycall.ir import INVALID_ARGUMENTS, JSON, ToolCall
from polycall.translation.freeform import freeform_text
from polycall.translation.wire import Path, Reader, unread

_CALL_FIELDS = ("id", "type", "index", "function", "custom")
_FUNCTION_FIELDS = ("name", "arguments")
_EMPTY_SPELLINGS = frozenset({"", "null", '""'})


def arguments_text(value: Any) -> str:
    """Arguments as text: a string as it is, anything else as the JSON that it is."""
    if isinstance(value, str):
        return value
    return "" if value is None else jsontext.encode(value)


def custom_arguments(text: str) -> str:
    """The arguments of a freeform call."""
    return jsontext.encode({"input": text})


def custom_input(call: ToolCall) -> str:
    """The free text of a freeform call; what is not in its form is given whole."""
    return freeform_text(call)


def inside(raw: JSON, path: Path, reader: Reader) -> tuple[JSON, bool]:
    """The object that holds name and arguments, and whether the call is freeform.

    Some writers leave `type` out, some put name and arguments alongside it.
    """
    kind = raw.get("type")
    if kind == "custom" or (kind is None and "custom" in raw and "function" not in raw):
        return reader.get_object(raw, "custom", path), True
    if raw.get("function") is None and "name" in raw:
        return raw, False
    return reader.get_object(raw, "function", path), False


def parse_call(raw: JSON, path: Path, reader: Reader, call_id: str) -> ToolCall:
    """One entry of `tool_calls`, under the id it has been given."""
    inner, is_custom = inside(raw, path, reader)
    name = reader.get_string(inner, "name", path)
    notes = unread(raw, (*_CALL_FIELDS, *_FUNCTION_FIELDS) if inner is raw else _CALL_FIELDS)
    if is_custom:
        text = custom_arguments(reader.get_string(inner, "input", path))
        return ToolCall(call_id, name, text, kind="custom", metadata=mark(notes))
    if len(inner) > 2 and inner is not raw and (extra := unread(inner, _FUNCTION_FIELDS)):
        notes["function"] = extra
    return ToolCall(call_id, name, arguments_text(inner.get("arguments")), metadata=mark(notes))


def wire_arguments(call: ToolCall) -> str:
    """The arguments to send: the model's own text, and `{}` for its spellings of nothing."""
    text = call.arguments_json
    return "{}" if text.strip() in _EMPTY_SPELLINGS else text


def object_arguments(call: ToolCall) -> ToolCall:
    """The call with arguments that are an object; any other text is wrapped into one."""
    if call.arguments is not None:
        return call
    text = jsontext.encode({INVALID_ARGUMENTS: call.arguments_json})
    return replace(call, arguments_json=text)


def wire_fields(call: ToolCall) -> JSON:
    """The call's other fields, as they came over this dialect."""
    notes = own(call.metadata)
    if not notes:
        return {}
    return {key: value for key, value in notes.items() if key not in ("legacy", "function")}


def render_call(call: ToolCall, call_id: str, name: str, *, custom: bool, fields: JSON) -> JSON:
    """One entry of `tool_calls`."""
    if call.kind == "custom" and custom:
        inner: JSON = {"name": name, "input": custom_input(call)}
        return {"id": call_id, "type": "custom", "custom": inner, **fields}
    function: JSON = {"name": name, "arguments": wire_arguments(call)}
    if (notes := own(call.metadata)) and "function" in notes:
        function.update(notes["function"])
    return {"id": call_id, "type": "function", "function": function, **fields}
