"""Content blocks, wire to part and back.

The metadata of a part, `metadata["bedrock-converse"]`:

    signature, redacted    of reasoning            guard, citations   a text's whole block
    json                   a result's JSON, as it came                status  a result's own word
    cachePoint             the mark behind it                         fields   of a block, others
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.bedrock_converse.media import KINDS, parse_media
from polycall.dialects.bedrock_converse.names import NAME
from polycall.ir import JSON
from polycall.translation.calls import arguments_object, arguments_text
from polycall.translation.wire import Reader, short_hash, unread

CACHE_POINT = "cachePoint"
_CALL_KEYS = frozenset({"toolUseId", "name", "input"})
_RESULT_KEYS = frozenset({"toolUseId", "content", "status"})
_SERVER = "server_tool_use"


def with_cache_point(parts: list[ir.Part], block: JSON) -> bool:
    """Mark the last part with the cache point that stands behind it; false where none can be."""
    last = parts[-1] if parts else None
    if last is None or isinstance(last, ir.Opaque | ir.Reasoning):
        return False
    own = {**last.metadata.get(NAME, {}), CACHE_POINT: block[CACHE_POINT]}
    parts[-1] = replace(last, metadata={**last.metadata, NAME: own})
    return True


def cache_points(part: Any) -> list[JSON]:
    """The block that stands behind a marked part or tool, if any."""
    point: Any = part.metadata.get(NAME, {}).get(CACHE_POINT)
    return [] if point is None else [{CACHE_POINT: point}]


def parse_block(value: Any, position: int, path: str, reader: Reader) -> ir.Part | None:
    """One block of a message; what the middle language has no part for is `Opaque`."""
    # Some relatives write a type alongside the member that says the same.
    block = {
        key: each
        for key, each in reader.object(value, path).items()
        if each is not None and key != "type"
    }
    if not block:
        return None
    kind = next(iter(block))
    match kind:
        case "text":
            return ir.Text(reader.string(block["text"], f"{path}.text"))
        case "image" | "document" | "video" | "audio":
            return parse_media(block, kind, path, reader)
        case "toolUse":
            return _parse_call(block, position, path, reader)
        case "toolResult":
            return _parse_result(block, path, reader)
        case "reasoningContent":
            return _parse_reasoning(block, path, reader)
        case "citationsContent":
            return _cited(block, path, reader)
        case "guardContent":
            return _guarded(block, path, reader)
        case _:
            return ir.Opaque(NAME, kind, block)


def _parse_call(block: JSON, position: int, path: str, reader: Reader) -> ir.Part:
    where = f"{path}.toolUse"
    wire = reader.object(block["toolUse"], where)
    if wire.get("type") == _SERVER:
        return ir.Opaque(NAME, "toolUse", block)
    arguments_json = arguments_text(wire.get("input"))
    name = reader.get_string(wire, "name", where)
    more = unread(wire, _CALL_KEYS)
    call_id = reader.get_string(wire, "toolUseId", where)
    return ir.ToolCall(
        id=call_id or "call_" + short_hash(str(position), name, arguments_json),
        name=name,
        arguments_json=arguments_json,
        metadata={NAME: {"fields": more}} if more else {},
    )


def _parse_result(block: JSON, path: str, reader: Reader) -> ir.Part:
    where = f"{path}.toolResult"
    wire = reader.object(block["toolResult"], where)
    own: JSON = {}
    if more := unread(wire, _RESULT_KEYS):
        own["fields"] = more
    status = reader.get_string(wire, "status", where)
    if status and status != "error":
        own["status"] = status
    content: list[ir.Text | ir.Media | ir.Opaque] = []
    for index, item in enumerate(reader.get_array(wire, "content", where)):
        place = f"{where}.content[{index}]"
        inner = reader.object(item, place)
        if "json" in inner:
            text = jsontext.encode(inner["json"])
            content.append(ir.Text(text, {NAME: {"json": True}}))
            continue
        part = parse_block(inner, index, place, reader)
        if isinstance(part, ir.Text | ir.Media | ir.Opaque):
            content.append(part)
        elif part is not None:
            content.append(ir.Opaque(NAME, next(iter(inner)), inner))
    return ir.ToolResult(
        call_id=reader.get_string(wire, "toolUseId", where),
        content=content,
        is_error=status == "error",
        metadata={NAME: own} if own else {},
    )


def _parse_reasoning(block: JSON, path: str, reader: Reader) -> ir.Part:
    where = f"{path}.reasoningContent"
    wire = reader.object(block["reasoningContent"], where)
    if "redactedContent" in wire:
        data = reader.string(wire["redactedContent"], f"{where}.redactedContent")
        return ir.Reasoning("", {NAME: {"redacted": data}})
    inner = reader.get_object(wire, "reasoningText", where)
    text = reader.get_string(inner, "text", f"{where}.reasoningText")
    signature = reader.get_string(inner, "signature", f"{where}.reasoningText")
    return ir.Reasoning(text, {NAME: {"signature": signature} if signature else {}})


def _cited(block: JSON, path: str, reader: Reader) -> ir.Part:
    where = f"{path}.citationsContent"
    wire = reader.object(block["citationsContent"], where)
    pieces = [
        reader.get_string(reader.object(item, where), "text", where)
        for item in reader.get_array(wire, "content", where)
    ]
    citations = reader.get_array(wire, "citations", where)
    return ir.Text("".join(pieces), {NAME: {"citations": citations}})


def _guarded(block: JSON, path: str, reader: Reader) -> ir.Part:
    where = f"{path}.guardContent"
    wire = reader.object(block["guardContent"], where)
    text: Any = wire.get("text")
    if not isinstance(text, dict):
        return ir.Opaque(NAME, "guardContent", block)
    inner: JSON = text  # pyright: ignore[reportUnknownVariableType]
    said = reader.get_string(inner, "text", f"{where}.text")
    rest = {key: each for key, each in inner.items() if key != "text"}
    return ir.Text(said, {NAME: {"guard": rest}})


# ---------------------------------------------------------------------------------------------
# Part to wire


def text_block(part: ir.Text) -> JSON:
    """A text, in the block that it came in."""
    own = part.metadata.get(NAME, {})
    if "citations" in own:
        return {
            "citationsContent": {"content": [{"text": part.text}], "citations": own["citations"]}
        }
    if "guard" in own:
        return {"guardContent": {"text": {"text": part.text, **own["guard"]}}}
    return {"text": part.text}


def reasoning_block(part: ir.Reasoning) -> JSON:
    """A `reasoningContent` block."""
    own = part.metadata.get(NAME, {})
    if "redacted" in own:
        return {"reasoningContent": {"redactedContent": own["redacted"]}}
    signature: ir.Metadata | str = own.get("signature", "")
    inner: JSON = {"text": part.text, **({"signature": signature} if signature else {})}
    return {"reasoningContent": {"reasoningText": inner}}


def call_block(part: ir.ToolCall, wire_id: str, wire_name: str) -> JSON:
    """A `toolUse` block; arguments that are no object are wrapped, as only objects fit."""
    arguments = arguments_object(part)
    fields: JSON = part.metadata.get(NAME, {}).get("fields", {})
    return {"toolUse": {"toolUseId": wire_id, "name": wire_name, "input": arguments, **fields}}


def result_text_block(part: ir.Text) -> JSON:
    """A text of a result: as JSON where it came so."""
    if part.metadata.get(NAME, {}).get("json"):
        try:
            return {"json": jsontext.decode(part.text)}
        except ValueError:
            pass
    return text_block(part)


MEDIA = frozenset(KINDS)
