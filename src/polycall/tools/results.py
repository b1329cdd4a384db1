"""Results of tools as parts that a model can read.

Text stays text, parts and media stay themselves, everything else becomes JSON.
"""

from __future__ import annotations

import base64
import collections
import collections.abc
import contextlib
import functools
import importlib
import inspect
import io
from collections.abc import Collection
from typing import Any, Protocol, TypeAlias, runtime_checkable

from polycall._support import jsontext
from polycall.errors import ToolError
from polycall.ir import JSON, Media, Opaque, Text, ToolResult
from polycall.tools.context import EndRun, ToolContext
from polycall.translation.media_bytes import format_of

ResultPart: TypeAlias = Text | Media | Opaque

_ENDLESS = (
    collections.abc.Awaitable,
    collections.abc.Iterator,
    collections.abc.AsyncIterator,
)
_DATA = frozenset({dict, list, tuple, str, int, float, bool, type(None)})
# What has an end and is read like these is written like these.
_LISTED = (collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView)


def changed_result(value: Any, arguments: JSON, context: ToolContext[Any]) -> Any:
    """The result of a call whose arguments a person changed; the model reads that they were."""
    if context.call is not None and context.call.caller != "direct":
        return value  # a program's, which takes the value itself
    note = f"[a person changed the arguments to {jsontext.encode(arguments)}]"
    is_error = isinstance(value, ToolResult) and value.is_error
    call_id = context.call.id if context.call else ""
    return ToolResult(call_id, [Text(note), *result_parts(value)], is_error=is_error)


@runtime_checkable
class _DisplaysPNG(Protocol):
    """An object that notebooks show as an image: figures, pictures."""

    def _repr_png_(self) -> bytes | None: ...


@runtime_checkable
class _Picture(Protocol):
    """A Pillow image, as far as it matters here."""

    size: Any
    mode: Any

    def save(self, fp: Any, format: str) -> Any: ...


def result_parts(value: Any) -> list[ResultPart]:
    """The value as parts; `ToolError` where a model could not read it."""
    match value:
        case ToolResult():
            return list(value.content)
        case EndRun():
            return result_parts(value.result)
        case list() | tuple() if not _are_plain(value) and any(map(_is_shown, value)):  # pyright: ignore[reportUnknownArgumentType]
            return [_part(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return [_part(value)]


def media_of(data: bytes) -> Media:
    """Bytes as media, its kind read from its first bytes."""
    kind, media_type = format_of(data)
    encoded = base64.b64encode(data).decode("ascii")
    return Media(kind, media_type=media_type or "application/octet-stream", data=encoded)


def bytes_part(data: bytes) -> Text | Media:
    """Bytes as what they are: text, as programs print it, or media."""
    media = media_of(data)
    if media.kind == "file" and b"\0" not in data:
        with contextlib.suppress(UnicodeDecodeError):
            return Text(data.decode("utf-8"))
    return media


def _part(value: Any) -> ResultPart:
    match value:
        case Media():
            return _checked_media(value)
        case Text() | Opaque():
            return value
        case str():
            return Text(str(value))
        case bytes() | bytearray() | memoryview():
            return bytes_part(bytes(value))  # pyright: ignore[reportUnknownArgumentType]
        case _ if (picture := _picture(value)) is not None:
            return media_of(picture)
        case _:
            return Text(_json_text(value))


def _checked_media(media: Media) -> Media:
    # A vendor would refuse the whole request, after the tool has done its work.
    try:
        base64.b64decode(media.data, validate=True)
    except ValueError:
        raise ToolError(
            f"the result has {media.media_type or media.kind} whose data is not base64; give "
            "Media(..., data=) bytes"
        ) from None
    return media


def _are_plain(values: Collection[Any]) -> bool:
    """Whether all are plain data, which a long list is known to be soon."""
    return _DATA.issuperset(map(type, values))


def _is_shown(value: Any) -> bool:
    """Whether the value is something to look at, and not a piece of data."""
    if isinstance(value, Text | Media | Opaque | bytes | bytearray | memoryview):
        return True
    return not isinstance(value, type) and _picture(value) is not None


def _picture(value: Any) -> bytes | None:
    """The value as a PNG, if it is a picture."""
    # To ask a value for its methods takes a thousand times as long.
    if type(value) in _DATA or isinstance(value, type):
        return None
    if isinstance(value, _DisplaysPNG):
        return value._repr_png_()  # pyright: ignore[reportPrivateUsage]
    if isinstance(value, _Picture):
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return buffer.getvalue()
    return None


def _json_text(value: Any) -> str:
    if isinstance(value, _ENDLESS):
        if inspect.iscoroutine(value):  # pyright: ignore[reportUnknownArgumentType]
            value.close()
        name = type(value).__name__  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        raise ToolError(
            f"the tool returned a {name}, which has no value yet; return a list or await it"
        )
    try:
        return _encoded(value)
    except ValueError as error:
        why = str(error).removeprefix("Error serializing to JSON: ").removeprefix("ValueError: ")
        raise ToolError(f"the tool ran, and its result cannot be written as JSON: {why}") from None


def _encoded(value: Any) -> str:
    options: dict[str, Any] = {
        "bytes_mode": "base64",
        "inf_nan_mode": "strings",
        "fallback": _in_json,
    }
    try:
        data = _core().to_json(value, **options)
    except ValueError as error:
        if "utf-8" not in str(error):
            raise
        # Bytes of a model go by its own setting, which is text; these are none.
        data = _core().to_json(_plain().to_python(value, fallback=_in_json), **options)
    return data.decode("utf-8")


@functools.cache
def _core() -> Any:
    """Load pydantic's core, which takes long, with the first result that is written as JSON."""
    return importlib.import_module("pydantic_core")


@functools.cache
def _plain() -> Any:
    return _core().SchemaSerializer(_core().core_schema.any_schema())


def _in_json(value: Any) -> Any:
    """The JSON stand-in for a value of another kind; `ValueError` where there is none."""
    if isinstance(value, collections.UserString):
        return str(value)  # its items are of its own kind
    if isinstance(value, collections.abc.Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, _LISTED):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise ValueError(f"an object of type {type(value).__qualname__!r} has no JSON form")
