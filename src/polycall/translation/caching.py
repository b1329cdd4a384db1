"""What vendors want said so that they cache a prompt: marks on its parts, and a key for routing.

Works on the middle language, before a dialect renders: marks of one vendor become those of
another, and a prompt without any is marked where the vendor caches nothing unasked.  Marks that a
client wrote for its own vendor stay as they are.

Read 2026-11-29 in the types of the installed SDKs (anthropic 2.14 `MessageCreateParams`, openai
`ChatCompletionContentPartTextParam`, `ResponseInputText`): a mark on a part ends what is cached; a
`cache_control` of the whole request marks its last block; four marks are the most; a prompt below
the vendor's least length is not cached, whatever is marked, and costs nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.ir import JSON, Message, Metadata, Part, Reasoning, Request, Text, ToolResult
from polycall.translation.conversation import like
from polycall.translation.quirks import Quirks

# No vendor caches less than 1,024 tokens, and no text has much less than two characters a token.
_CHARS_MIN = 2 * 1024
_KEY_LENGTH = 32


class _Form(Struct, frozen=True):
    """How a dialect keeps and writes a mark on a part."""

    name: str
    place: str  # inside the part's metadata; "": at its top
    short: JSON
    long: JSON
    long_ttl: str

    def read(self, notes: JSON) -> JSON | None:
        """The mark in a part's metadata."""
        holder: Any = notes.get(self.place) if self.place else notes
        found: Any = holder.get(self.name) if isinstance(holder, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return found if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType]

    def without(self, notes: JSON) -> JSON:
        """A part's metadata without its mark."""
        if not self.place:
            return {key: value for key, value in notes.items() if key != self.name}
        inner = {key: value for key, value in notes[self.place].items() if key != self.name}
        rest = {key: value for key, value in notes.items() if key != self.place}
        return {**rest, self.place: inner} if inner else rest

    def written(self, *, is_long: bool) -> JSON:
        """Metadata with a mark."""
        mark = {self.name: dict(self.long if is_long else self.short)}
        return {self.place: mark} if self.place else mark


_BREAKPOINT: tuple[str, JSON, JSON, str] = (
    "prompt_cache_breakpoint",
    {"mode": "explicit"},
    {"mode": "explicit", "ttl": "12h"},  # the least that lasts as long as an hour
    "12h",
)
_FORMS: dict[str, _Form] = {
    "anthropic": _Form(
        "cache_control", "", {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, "1h"
    ),
    "bedrock-converse": _Form(
        "cachePoint", "", {"type": "default"}, {"type": "default", "ttl": "1h"}, "1h"
    ),
    "openai-chat": _Form(_BREAKPOINT[0], "fields", *_BREAKPOINT[1:]),
    "openai-responses": _Form(_BREAKPOINT[0], "part", *_BREAKPOINT[1:]),
}
# A field of the request that marks its last block.
_WHOLE: dict[str, str] = {"anthropic": "cache_control"}


def with_caching(request: Request, dialect: str, quirks: Quirks) -> Request:
    """The request with the marks and the key that let the target cache it.

    `Request.cache`: `False` writes none, `True` also where the prompt is short, `None` where it is
    long enough to be cached at all.
    """
    caches = quirks.caches
    if request.cache and not caches and dialect in _WHOLE:
        caches = frozenset({"marks"})  # a model of which nothing is known, and the caller is sure
    if not caches:
        return request
    if "marks" in caches and dialect in _FORMS:
        request = _with_foreign_marks(request, dialect)
    if request.cache is False or dialect in request.metadata:
        return request  # a client of this vendor says itself what it wants
    if request.cache is None and not _is_long(request):
        return request
    if "itself" not in caches and dialect in _WHOLE:
        request = _with_own_marks(request, dialect, quirks)
    if "key" in caches:
        request = _with_key(request, dialect)
    return request


# ---------------------------------------------------------------------------------------------
# Marks of other vendors


def _with_foreign_marks(request: Request, dialect: str) -> Request:
    messages = [_converted(message, dialect) for message in request.messages]
    changed = any(new is not old for new, old in zip(messages, request.messages, strict=True))
    return replace(request, messages=messages) if changed else request


def _converted(message: Message, dialect: str) -> Message:
    parts: list[Part] = [
        _converted_part(part, dialect) if not isinstance(part, Reasoning) else part
        for part in message.parts
    ]
    if all(new is old for new, old in zip(parts, message.parts, strict=True)):
        return message
    return replace(message, parts=parts)


def _converted_part(part: Any, dialect: str) -> Any:
    metadata: Metadata | None = getattr(part, "metadata", None)
    for owner in metadata or ():
        form = _FORMS.get(owner)
        if metadata is None or owner == dialect or form is None:
            continue
        mark = form.read(metadata[owner])
        # OpenAI marks content parts alone; the result of a tool has no place for a mark there.
        if mark is None or (isinstance(part, ToolResult) and _FORMS[dialect].place):
            continue
        rest = {name: notes for name, notes in metadata.items() if name != owner}
        if kept := form.without(metadata[owner]):
            rest[owner] = kept
        is_long = mark.get("ttl") == form.long_ttl
        return replace(part, metadata={**rest, dialect: _FORMS[dialect].written(is_long=is_long)})
    return part


# ---------------------------------------------------------------------------------------------
# Marks of ours


def _with_own_marks(request: Request, dialect: str, quirks: Quirks) -> Request:
    """The end of the prompt is marked, and the end of its instructions.

    The first serves the next step, the second other conversations with the same beginning.
    """
    options = request.provider_options.get(dialect, {})
    name = _WHOLE[dialect]
    if name in options or _is_marked(request, dialect):
        return request
    mark = _FORMS[dialect].short
    messages = request.messages
    head = _head_size(messages)
    if head:
        marked = _marked(messages[head - 1], dialect)
        messages = like([*messages[: head - 1], marked, *messages[head:]], messages)
    if quirks.options is None or name in quirks.options:
        own = {**options, name: dict(mark)}
        return replace(
            request,
            messages=messages,
            provider_options={**request.provider_options, dialect: own},
        )
    # A relative that does not know the field of the whole request takes a mark on a block.
    last = _marked(messages[-1], dialect)
    return replace(request, messages=like([*messages[:-1], last], messages))


def _head_size(messages: list[Message]) -> int:
    """How many messages are the instructions at the beginning, where something follows them."""
    for place, message in enumerate(messages):
        if message.role != "system":
            return place
    return 0


def _marked(message: Message, dialect: str) -> Message:
    """The message with a mark on its last text or result."""
    for place in range(len(message.parts) - 1, -1, -1):
        part = message.parts[place]
        if isinstance(part, ToolResult) or (isinstance(part, Text) and part.text.strip()):
            notes = part.metadata.get(dialect, {})
            marked = {**part.metadata, dialect: {**notes, **_FORMS[dialect].written(is_long=False)}}
            parts = list(message.parts)
            parts[place] = replace(part, metadata=marked)
            return replace(message, parts=parts)
    return message


def _is_marked(request: Request, dialect: str) -> bool:
    form = _FORMS[dialect]
    notes: list[Metadata] = [tool.metadata for tool in request.tools if tool.metadata]
    for message in request.messages:
        for part in message.parts:
            found: Metadata = getattr(part, "metadata", {})
            if found:
                notes.append(found)
    return any(dialect in each and form.read(each[dialect]) is not None for each in notes)


# ---------------------------------------------------------------------------------------------
# The key


def _with_key(request: Request, dialect: str) -> Request:
    """The request with a key that all requests of its conversation have, and few others."""
    options = request.provider_options.get(dialect, {})
    if "prompt_cache_key" in options:
        return request
    if any(name.partition("-")[0] == dialect.partition("-")[0] for name in request.metadata):
        # A client of the same vendor, over its other wire.
        return request
    own = {**options, "prompt_cache_key": conversation_key(request)}
    return replace(request, provider_options={**request.provider_options, dialect: own})


def conversation_key(request: Request) -> str:
    """A digest of what a conversation begins with: instructions, tools, the first user message."""
    digest = hashlib.sha256()
    for message in request.messages[: _head_size(request.messages)]:
        digest.update(_bytes(message.text))
    for tool in request.tools:
        digest.update(_bytes(tool.name))
        digest.update(_bytes(tool.description))
        digest.update(jsontext.encode_bytes(tool.parameters))
    first = next((each for each in request.messages if each.role == "user"), None)
    digest.update(_bytes("" if first is None else first.text))
    return digest.hexdigest()[:_KEY_LENGTH]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass") + b"\x1f"


def _is_long(request: Request) -> bool:
    size = 0
    for length in _lengths(request):
        size += length
        if size >= _CHARS_MIN:
            return True
    return False


def _lengths(request: Request) -> Iterable[int]:
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield len(part.text)
            elif (text := getattr(part, "text", None)) is not None:
                yield len(text)
            elif (arguments := getattr(part, "arguments_json", None)) is not None:
                yield len(arguments)
            else:
                yield _CHARS_MIN  # media are long
    for tool in request.tools:
        yield len(tool.description)
        if tool.parameters is not None:
            yield len(jsontext.encode_bytes(tool.parameters))
