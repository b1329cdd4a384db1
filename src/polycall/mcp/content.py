"""Results and definitions between the protocol and the middle language."""

from __future__ import annotations

from typing import Any, cast

import mcp_types as types
import msgspec

from polycall._support import jsontext
from polycall._support.urls import parts_of
from polycall.ir import JSON, Media, MediaKind, Opaque, Text, ToolResult
from polycall.mcp.blocks import (
    AudioBlock,
    Block,
    CallResult,
    Contents,
    ImageBlock,
    LinkBlock,
    ResourceBlock,
    TextBlock,
)
from polycall.tools import FunctionTool

_MARKS = ("{", "[", ",")  # of each value of JSON but the outermost


def definition_of(tool: types.Tool) -> JSON:
    """A server's tool as it was on the wire."""
    return tool.model_dump(by_alias=True, exclude_none=True, mode="json")


def result_of(result: CallResult) -> ToolResult:
    """The result of a server's tool; the caller adds the call's id."""
    content = [_part(block) for block in result.content]
    return ToolResult("", _with_data(content, result.data), is_error=result.is_error)


def _part(block: Block) -> Text | Media:
    match block:
        case TextBlock():
            return Text(block.text)
        case ImageBlock():
            return Media("image", media_type=block.mime_type, data=block.data)
        case AudioBlock():
            return Media("audio", media_type=block.mime_type, data=block.data)
        case ResourceBlock(resource=Contents(text=str(text))):
            return Text(text)
        case ResourceBlock(resource=resource):
            media_type = resource.mime_type or "application/octet-stream"
            name = parts_of(resource.uri).path.rpartition("/")[2]
            data = resource.blob or ""
            return Media(_kind(media_type), media_type=media_type, data=data, filename=name)
        case LinkBlock():
            return Text(jsontext.encode(block))


def _kind(media_type: str) -> MediaKind:
    kind = media_type.partition("/")[0]
    if kind in ("image", "audio", "video"):
        return cast("MediaKind", kind)
    return "document" if media_type in ("application/pdf", "text/plain") else "file"


def _with_data(content: list[Text | Media], data: Any) -> list[Text | Media | Opaque]:
    """The content, and the structured result where the text does not say it already.

    Servers repeat a structured result as text, one text for each item of a list: then the data
    stands for all of them, compactly and as one JSON value.
    """
    parts: list[Text | Media | Opaque] = [*content]
    if data is None:
        return parts
    # Results that are no objects are wrapped by most servers.
    table: JSON = cast("JSON", data) if isinstance(data, dict) else {}
    inner: Any = cast("Any", table["result"] if set(table) == {"result"} else data)
    texts = [part.text for part in content if isinstance(part, Text)]
    if texts == [inner]:
        return parts
    if not texts or _is_said(texts, data) or _is_said(texts, inner):
        others = [part for part in parts if not isinstance(part, Text)]
        return [Text(jsontext.encode(inner)), *others]
    return [*parts, Text(jsontext.encode(data))]


def _is_said(texts: list[str], data: Any) -> bool:
    """Whether the texts are the data, as one text or as one for each item of a list.

    They are read only where they have as many values as the data, which is bounded.
    """
    marks = sum(text.count(mark) for text in texts for mark in _MARKS)
    wanted = jsontext.encode(data)
    own = sum(wanted.count(mark) for mark in _MARKS)
    if len(texts) == 1 and marks == own and _parsed(texts[0]) == data:
        return True
    # In a list there is a mark before each item.
    return marks + len(texts) == own and [_parsed(text) for text in texts] == data


def _parsed(text: str) -> Any:
    try:
        return jsontext.decode(text)
    except ValueError:
        return text


def served_tool(tool: FunctionTool[..., Any], annotations: JSON) -> types.Tool:
    """A tool of ours as a client of the protocol sees it."""
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.parameters,
        output_schema=tool.output_schema if has_object(tool.output_schema) else None,
        annotations=types.ToolAnnotations.model_validate(annotations) if annotations else None,
    )


def has_object(schema: JSON | None) -> bool:
    """Whether results of the schema are objects: others have no place in the protocol."""
    return schema is not None and schema.get("type") == "object"


def served_result(result: ToolResult, *, has_data: bool) -> CallResult:
    """A result of ours as a client of the protocol takes it."""
    made = CallResult([_block(part) for part in result.content], is_error=result.is_error)
    if has_data and not result.is_error:
        made.data = _parsed(result.text)
    return made


def wire_result(result: CallResult) -> JSON:
    """A result as it is on the wire."""
    wire: JSON = {"content": msgspec.to_builtins(result.content), "isError": result.is_error}
    if result.data is not None:
        wire["structuredContent"] = result.data
    return {**wire, "resultType": "complete"}


def older_tool(tool: types.Tool) -> types.Tool:
    """A definition for clients of the revisions before the newest: results are objects there."""
    if tool.output_schema is None or has_object(tool.output_schema):
        return tool
    return tool.model_copy(update={"output_schema": None})


def older_result(wire: JSON) -> JSON:
    """A result for the same: data that is no object is text."""
    data = wire.get("structuredContent")
    if data is None or isinstance(data, dict):
        return wire
    text = {"type": "text", "text": whole(jsontext.encode(data))}
    rest = {key: value for key, value in wire.items() if key != "structuredContent"}
    return {**rest, "content": wire.get("content") or [text]}


def whole(text: str) -> str:
    """The text as UTF-8 can hold it: half characters, as cut text has them, are replaced."""
    if text.isascii():
        return text  # no copy of what may be long
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _block(part: Text | Media | Opaque) -> Block:
    match part:
        case Text():
            return TextBlock(text=whole(part.text))
        case Media(data=data) if data and part.kind == "image":
            return ImageBlock(data=data, mime_type=part.media_type)
        case Media(data=data) if data and part.kind == "audio":
            return AudioBlock(data=data, mime_type=part.media_type)
        case Media():
            return _resource(part)
        case Opaque():
            return TextBlock(text=jsontext.encode(part.data))


def _resource(part: Media) -> Block:
    name = part.filename or part.kind
    media_type = part.media_type or None
    if part.url:
        return LinkBlock(uri=part.url, name=name, mime_type=media_type)
    uri = f"polycall://result/{name}"
    if part.data:
        return ResourceBlock(resource=Contents(uri, blob=part.data, mime_type=media_type))
    text = part.text or f"a file of the provider's: {part.file_id}"
    return ResourceBlock(resource=Contents(uri, text=text))
