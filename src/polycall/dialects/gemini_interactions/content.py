"""Contents, wire to part and back: text, images, documents, sound, video.

The metadata of a part, `metadata["gemini-interactions"]`: `fields` of the content that the middle
language has no place for; `step` where a step of the same kind as the one before begins.
"""

from __future__ import annotations

import itertools
from typing import Any

from polycall import ir
from polycall.dialects.gemini_interactions.names import NAME
from polycall.ir import JSON
from polycall.translation.calls import arguments_object, arguments_text
from polycall.translation.wire import Path, Reader, short_hash

MEDIA: dict[str, ir.MediaKind] = {
    "image": "image",
    "document": "document",
    "audio": "audio",
    "video": "video",
}
_DEFAULT_TYPES = {"document": "application/pdf"}


def parse_content(value: Any, path: Path, reader: Reader) -> ir.Text | ir.Media | ir.Opaque:
    """One content."""
    wire = reader.object(value, path)
    kind = reader.string(wire.get("type"), f"{path}.type")
    if kind == "text":
        more = _rest(wire, "type", "text")
        return ir.Text(reader.get_string(wire, "text", path), _own(more))
    if kind not in MEDIA or not (wire.get("data") or wire.get("uri")):
        return ir.Opaque(NAME, kind, wire)
    more = _rest(wire, "type", "data", "uri", "mime_type")
    return ir.Media(
        MEDIA[kind],
        media_type=reader.get_string(wire, "mime_type", path),
        data=reader.get_string(wire, "data", path),
        url=reader.get_string(wire, "uri", path),
        metadata=_own(more),
    )


def _rest(wire: JSON, *read: str) -> JSON:
    return {k: v for k, v in wire.items() if k not in read and v not in (None, [])}


def _own(more: JSON) -> ir.Metadata:
    return {NAME: {"fields": more}} if more else {}


def content_of(part: ir.Text | ir.Media) -> JSON | str:
    """The content for a part; a reason where this wire has none for it."""
    fields: JSON = part.metadata.get(NAME, {}).get("fields", {})
    if isinstance(part, ir.Text):
        return {"type": "text", "text": part.text, **fields}
    kind = "document" if part.kind == "file" else part.kind
    if part.text:
        return {"type": "text", "text": part.text}
    if part.file_id and not part.url:
        return "the file lies with another provider; send its content"
    wire: JSON = {"type": kind}
    if part.data:
        wire["data"] = part.data
    else:
        wire["uri"] = part.url
    if media_type := part.media_type or _DEFAULT_TYPES.get(kind, ""):
        wire["mime_type"] = media_type
    return {**wire, **fields}


def parse_thought(step: JSON, path: Path, reader: Reader) -> ir.Reasoning:
    """A `thought`: its summary, if it is shown, and its signature."""
    own = _rest(step, "type", "summary", "signature")
    if signature := reader.get_string(step, "signature", path):
        own["signature"] = signature
    texts = [
        reader.get_string(reader.object(item, f"{path}.summary"), "text", f"{path}.summary")
        for item in reader.get_array(step, "summary", path)
    ]
    if len(texts) > 1:
        own["pieces"] = [len(text) for text in texts]
    return ir.Reasoning("".join(texts), {NAME: own})


def thought_step(part: ir.Reasoning) -> JSON:
    """A `thought`."""
    own = dict(part.metadata.get(NAME, {}))
    pieces: list[int] = own.pop("pieces", [])
    step: JSON = {"type": "thought", **own}
    if part.text:
        texts = _cut(part.text, pieces)
        step["summary"] = [{"type": "text", "text": text} for text in texts]
    return step


def _cut(text: str, sizes: list[int]) -> list[str]:
    if sum(sizes) != len(text):
        return [text]
    ends = itertools.accumulate(sizes)
    return [text[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def parse_call(step: JSON, number: int, path: Path, reader: Reader) -> ir.ToolCall:
    """A `function_call`."""
    text = arguments_text(step.get("arguments"))
    name = reader.get_string(step, "name", path)
    own = _rest(step, "type", "id", "name", "arguments")
    own = {key: value for key, value in own.items() if value != ""}
    return ir.ToolCall(
        id=reader.get_string(step, "id", path) or "call_" + short_hash(str(number), name, text),
        name=name,
        arguments_json=text,
        metadata={NAME: own} if own else {},
    )


def call_step(part: ir.ToolCall, name: str) -> JSON:
    """A `function_call`; arguments that are no object are wrapped, as only objects fit."""
    arguments = arguments_object(part)
    own = {k: v for k, v in part.metadata.get(NAME, {}).items() if k != "step"}
    return {"type": "function_call", "id": part.id, "name": name, "arguments": arguments, **own}


def parse_step(step: JSON, number: int, path: Path, reader: Reader) -> list[ir.Part]:
    """The parts of a step that a model made; one that has no counterpart is `Opaque`."""
    match reader.string(step.get("type"), f"{path}.type"):
        case "model_output":
            return list(parse_contents(step.get("content"), f"{path}.content", reader))
        case "thought":
            return [parse_thought(step, path, reader)]
        case "function_call":
            return [parse_call(step, number, path, reader)]
        case kind:
            return [ir.Opaque(NAME, kind, step)]


def parse_contents(value: Any, path: Path, reader: Reader) -> list[ir.Text | ir.Media | ir.Opaque]:
    """A text, a content, or a list of contents."""
    if value is None:
        return []
    if isinstance(value, str):
        return [ir.Text(value)]
    items: list[Any] = value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
    return [parse_content(item, f"{path}[{i}]", reader) for i, item in enumerate(items)]
