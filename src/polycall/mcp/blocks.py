"""The parts of a tool's result, as the protocol has them and no more than that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from msgspec import Struct, field

from polycall.ir import JSON

_AT_ONCE = 2_000  # some milliseconds
_MANY, _VALUE_CHARS = 1_000, 256  # as many values, or such pieces of text, take some, too


class Annotations(Struct, rename="camel", omit_defaults=True):
    """The audience of a part."""

    audience: list[Literal["user", "assistant"]] | None = None
    priority: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    last_modified: str | None = None


class _Block(Struct, rename="camel", omit_defaults=True, tag_field="type", kw_only=True):
    annotations: Annotations | None = None
    meta: JSON | None = field(name="_meta", default=None)


class TextBlock(_Block, tag="text"):
    """A text."""

    text: str


class ImageBlock(_Block, tag="image"):
    """A picture."""

    data: str
    mime_type: str


class AudioBlock(_Block, tag="audio"):
    """Sound."""

    data: str
    mime_type: str


class Contents(Struct, rename="camel", omit_defaults=True):
    """A text, or a file in base64."""

    uri: str
    text: str | None = None
    blob: str | None = None
    mime_type: str | None = None
    meta: JSON | None = field(name="_meta", default=None)

    def __post_init__(self) -> None:
        if self.text is None and self.blob is None:
            raise ValueError("a resource has neither `text` nor `blob`")


class ResourceBlock(_Block, tag="resource"):
    """A resource with what it holds."""

    resource: Contents


class Icon(Struct, rename="camel", omit_defaults=True):
    """A picture to show for something."""

    src: str
    mime_type: str | None = None
    sizes: list[str] | None = None
    theme: Literal["light", "dark"] | None = None


class LinkBlock(_Block, tag="resource_link"):
    """A link to a resource."""

    name: str
    uri: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | float | None = None
    icons: list[Icon] | None = None


Block: TypeAlias = TextBlock | ImageBlock | AudioBlock | ResourceBlock | LinkBlock


class CallResult(Struct):
    """The result of a server's tool: `data` is its structured result, if it has one."""

    content: list[Block]
    data: Any = None
    is_error: bool = False

    @property
    def is_long(self) -> bool:
        """Whether it takes some milliseconds to look through it."""
        return takes_long([self])


def takes_long(waiting: list[Any]) -> bool:
    """Whether there are many values in these, or long texts."""
    left = _MANY
    for text in texts_in(waiting):
        left -= 1 + len(text) // _VALUE_CHARS
        if left < 0:
            return True
    return False


def texts_in(waiting: list[Any]) -> Iterator[str]:
    """Every text in these; an empty one for any other value, so that all are counted."""
    while waiting:
        here = waiting.pop()
        if isinstance(here, Struct):
            waiting += [getattr(here, name) for name in here.__struct_fields__]
        elif isinstance(here, dict):
            waiting += cast("JSON", here).values()
        elif isinstance(here, list):
            waiting += cast("list[Any]", here)
        yield here if isinstance(here, str) else ""


async def read_blocks(items: list[Any]) -> list[Block]:
    """The parts, typed; `ValueError` where one is none.  Others run meanwhile."""
    found: list[Block] = []
    for start in range(0, len(items), _AT_ONCE):
        found += msgspec.convert(items[start : start + _AT_ONCE], list[Block])
        await asyncio.sleep(0)
    return found
