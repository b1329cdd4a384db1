"""Results and definitions between the protocol and the middle language."""

from __future__ import annotations

from typing import Any, cast

import mcp_types as types

from polycall._support import jsontext
from polycall._support.urls import parts_of
from polycall.ir import JSON, Media, MediaKind, Opaque, Text, ToolResult
from polycall.tools import FunctionTool


def definition_of(tool: types.Tool) -> JSON:
    """A server's tool as it was on the wire."""
    return tool.model_dump(by_alias=True, exclude_none=True, mode="json")


def result_of(result: types.CallToolResult) -> ToolResult:
    """What a server's tool gave; the id of the call is the caller's affair."""
    content = [_part(block) for block in result.content]
    return ToolResult("", _with_data(content, result.structured_content), is_error=result.is_error)


def _part(block: types.ContentBlock) -> Text | Media:
    match block:
        case types.TextContent():
            return Text(block.text)
        case types.ImageContent():
            return Media("image", media_type=block.mime_type, data=block.data)
        case types.AudioContent():
            return Media("audio", media_type=block.mime_type, data=block.data)
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return Text(resource.text)
        case types.EmbeddedResource(resource=resource):
            media_type = resource.mime_type or "application/octet-stream"
            name = parts_of(resource.uri).path.rpartition("/")[2]
            return Media(
                _kind(media_type), media_type=media_type, data=_blob(resource), filename=name
            )
        case types.ResourceLink():
            shown = block.model_dump(by_alias=True, exclude_none=True, mode="json")
            return Text(jsontext.encode(shown))


def _blob(resource: types.TextResourceContents | types.BlobResourceContents) -> str:
    assert isinstance(resource, types.BlobResourceContents)
    return resource.blob


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
    told = [_parsed(text) for text in texts]
    if told in ([data], [inner], inner) or not texts:
        others = [part for part in parts if not isinstance(part, Text)]
        return [Text(jsontext.encode(inner)), *others]
    return [*parts, Text(jsontext.encode(data))]


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


def served_result(result: ToolResult, *, has_data: bool) -> types.CallToolResult:
    """A result of ours as a client of the protocol takes it."""
    made = types.CallToolResult(
        content=[_block(part) for part in result.content], is_error=result.is_error
    )
    if has_data and not result.is_error:
        made.structured_content = _parsed(result.text)
    return made


def whole(text: str) -> str:
    """The text as UTF-8 can hold it: half characters, as cut text has them, are replaced."""
    if text.isascii():
        return text  # no copy of what may be long
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _block(part: Text | Media | Opaque) -> types.ContentBlock:
    match part:
        case Text():
            return types.TextContent(text=whole(part.text))
        case Media(data=data) if data and part.kind == "image":
            return types.ImageContent(data=data, mime_type=part.media_type)
        case Media(data=data) if data and part.kind == "audio":
            return types.AudioContent(data=data, mime_type=part.media_type)
        case Media():
            return _resource(part)
        case Opaque():
            return types.TextContent(text=jsontext.encode(part.data))


def _resource(part: Media) -> types.ContentBlock:
    name = part.filename or part.kind
    if part.url:
        return types.ResourceLink(uri=part.url, name=name, mime_type=part.media_type or None)
    uri = f"polycall://result/{name}"
    if part.data:
        media_type = part.media_type or None
        blob = types.BlobResourceContents(uri=uri, blob=part.data, mime_type=media_type)
        return types.EmbeddedResource(resource=blob)
    text = part.text or f"a file of the provider's: {part.file_id}"
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, text=text))
