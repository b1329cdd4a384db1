"""Content blocks to parts and back, one at a time, in requests and answers alike."""

from __future__ import annotations

from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.anthropic.binding import NOTES
from polycall.dialects.anthropic.ids import decode_id, encode_id
from polycall.dialects.anthropic.media import parse_media
from polycall.dialects.anthropic.names import NAME
from polycall.ir import JSON
from polycall.translation.calls import arguments_object, arguments_text
from polycall.translation.wire import Losses, Reader, short_hash

_TEXT_KEYS = frozenset({"type", "text"})
_THINKING_KEYS = frozenset({"type", "thinking"})
_REDACTED_KEYS = frozenset({"type", "data"})
_CALL_KEYS = frozenset({"type", "id", "name", "input"})
_RESULT_KEYS = frozenset({"type", "tool_use_id", "content", "is_error"})


# ---------------------------------------------------------------------------------------------
# Wire to part


def parse_block(value: Any, position: int, path: str, reader: Reader) -> ir.Part:
    """One content block; what the middle language has no part for is `Opaque`.

    `position` is the block's among its siblings: it names a call that came without an id.
    """
    block = reader.object(value, path)
    kind = reader.string(block.get("type"), f"{path}.type")
    match kind:
        case "text":
            return parse_text(block, path, reader)
        case "tool_use":
            return parse_call(block, position, path, reader)
        case "tool_result":
            return _parse_result(block, path, reader)
        case "thinking":
            text = reader.get_string(block, "thinking", path)
            return ir.Reasoning(text, {NAME: extras(block, _THINKING_KEYS)})
        case "redacted_thinking":
            return parse_redacted(block, path, reader)
        case "image" | "document":
            return parse_media(block, kind, path, reader)
        case _:
            return ir.Opaque(NAME, kind, block)


def extras(block: JSON, known: frozenset[str]) -> JSON:
    """The keys of a block that are not read; nulls are dropped."""
    if len(block) <= len(known) and block.keys() <= known:
        return {}
    return {
        key: value for key, value in block.items() if key not in known and value not in (None, [])
    }


def parse_text(block: JSON, path: str, reader: Reader) -> ir.Text:
    """A `text` block, its citations and cache mark kept."""
    more = extras(block, _TEXT_KEYS)
    return ir.Text(reader.get_string(block, "text", path), {NAME: more} if more else {})


def parse_redacted(block: JSON, path: str, reader: Reader) -> ir.Reasoning:
    """A `redacted_thinking` block: a state without a text."""
    more = extras(block, _REDACTED_KEYS)
    data = reader.get_string(block, "data", path)
    return ir.Reasoning("", {NAME: {"redacted_data": data, **more}})


def parse_call(block: JSON, position: int, path: str, reader: Reader) -> ir.ToolCall:
    """A `tool_use` block, arguments and all."""
    arguments_json = arguments_text(block.get("input"))
    name = reader.get_string(block, "name", path)
    call_id = decode_id(reader.get_string(block, "id", path))
    caller, metadata = call_caller(block)
    return ir.ToolCall(
        id=call_id or missing_id(position, name, arguments_json),
        name=name,
        arguments_json=arguments_json,
        namespace=toolset_of(block),
        caller=caller,
        metadata=metadata,
    )


def toolset_of(block: JSON) -> str:
    """The set that a call's tool belongs to; empty for a tool of its own."""
    name = block.get("toolset_name")
    return name if isinstance(name, str) else ""


def call_caller(block: JSON) -> tuple[str, ir.Metadata]:
    """The caller of the call, and the further keys of its block."""
    more = extras(block, _CALL_KEYS)
    if not more:
        return "direct", {}
    caller = more.get("caller")
    by = caller.get("tool_id") if isinstance(caller, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return (by if isinstance(by, str) and by else "direct"), {NAME: more}


def missing_id(position: int, name: str, arguments_json: str) -> str:
    """An id for a call that came without one."""
    arguments = ir.parse_arguments(arguments_json)
    text = arguments_json if arguments is None else jsontext.encode(arguments)
    return "call_" + short_hash(str(position), name, text)


def _parse_result(block: JSON, path: str, reader: Reader) -> ir.ToolResult:
    more = extras(block, _RESULT_KEYS)
    is_error = reader.get_bool(block, "is_error", path)
    if is_error is False:
        more["is_error"] = False
    content = block.get("content")
    parts: list[ir.Text | ir.Media | ir.Opaque] = []
    if isinstance(content, str):
        parts.append(ir.Text(content))
        if not content:
            more["content"] = "empty"
    elif content is not None:
        items = reader.array(content, f"{path}.content")
        for index, item in enumerate(items):
            part = parse_block(item, index, f"{path}.content[{index}]", reader)
            if not isinstance(part, ir.Text | ir.Media | ir.Opaque):
                part = ir.Opaque(NAME, str(item["type"]), item)
            parts.append(part)
        if is_plain_text(parts):
            more["content"] = "blocks"
    return ir.ToolResult(
        call_id=decode_id(reader.get_string(block, "tool_use_id", path)),
        content=parts,
        is_error=bool(is_error),
        metadata={NAME: more} if more else {},
    )


def is_plain_text(parts: list[Any]) -> bool:
    """Whether a string says all of the content."""
    return len(parts) == 1 and isinstance(parts[0], ir.Text) and NAME not in parts[0].metadata


# ---------------------------------------------------------------------------------------------
# Part to wire


def text_block(part: ir.Text) -> JSON:
    """A `text` block."""
    own = part.metadata.get(NAME)
    if own:
        return {"type": "text", "text": part.text, **own}
    return {"type": "text", "text": part.text}


def reasoning_block(part: ir.Reasoning) -> JSON:
    """A `thinking` or `redacted_thinking` block; the signature is empty where there is none."""
    own = {key: value for key, value in part.metadata.get(NAME, {}).items() if key not in NOTES}
    if "redacted_data" in own:
        more = {key: value for key, value in own.items() if key != "redacted_data"}
        return {"type": "redacted_thinking", "data": own["redacted_data"], **more}
    return {"type": "thinking", "thinking": part.text, "signature": "", **own}


def call_block(part: ir.ToolCall, wire_id: str, wire_name: str) -> JSON:
    """A `tool_use` block; arguments that are no object are wrapped, as only objects fit."""
    arguments = arguments_object(part)
    block: JSON = {"type": "tool_use", "id": wire_id, "name": wire_name, "input": arguments}
    own = part.metadata.get(NAME)
    if own:
        block.update(own)
    return block


def response_call_block(part: ir.ToolCall) -> JSON:
    """A `tool_use` block of an answer."""
    block = call_block(part, encode_id(part.id), part.name)
    if part.namespace:
        block["toolset_name"] = part.namespace
    return block


def trim_prefill(wire: list[JSON], losses: Losses) -> None:
    """A prefill may not end in white space: the vendor refuses it."""
    if not wire or wire[-1]["role"] != "assistant":
        return
    message = wire[-1]
    content = message["content"]
    blocks: list[JSON] = [{"type": "text", "text": content}]
    if not isinstance(content, str):
        blocks = content
    last = blocks[-1]
    text = last["text"] if last["type"] == "text" else ""
    if text == text.rstrip():
        return
    losses.adjust("messages", "white space at the end of the last assistant message")
    if text.strip():
        last = {**last, "text": text.rstrip()}
        message["content"] = last["text"] if blocks is not content else [*blocks[:-1], last]
    elif len(blocks) > 1:
        message["content"] = blocks[:-1]
    else:
        wire.pop()
