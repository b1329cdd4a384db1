"""Marks for prompt caching, as vendors require them: on parts, and as a key for routing.

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
from polycall.translation.conversation import like, mapped, note_seen, unseen
from polycall.translation.nonces import without_nonces
from polycall.translation.quirks import Quirks

# No vendor caches less than 1,024 tokens, and no text has much less than two characters a token.
CHARS_MIN = 2 * 1024
_KEY_LENGTH = 32


class _Form(Struct, frozen=True):
    """The form of a dialect's mark on a part."""

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
# Anthropic's mark as clients of Chat write it, and as routers take it: beside a part, a function.
_CONTROL = ("cache_control", {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, "1h")
_ON_CHAT = _Form(_CONTROL[0], "fields", *_CONTROL[1:])
_ON_FUNCTION = _Form(_CONTROL[0], "function", *_CONTROL[1:])
# All the marks that clients of a dialect write.
_WRITTEN: dict[str, tuple[_Form, ...]] = {
    **{name: (form,) for name, form in _FORMS.items()},
    "openai-chat": (_FORMS["openai-chat"], _ON_CHAT, _ON_FUNCTION),
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
    form = _ON_CHAT if quirks.cache_control and dialect == "openai-chat" else _FORMS.get(dialect)
    if "marks" in caches and form is not None:
        request = _with_foreign_marks(request, dialect, form)
    is_asked = "itself" in caches or form is not _ON_CHAT
    if request.cache is False or (is_asked and dialect in request.metadata):
        return request  # a client of this vendor says itself what it wants
    if request.cache is None and not _is_long(request):
        return request
    if "itself" not in caches and form is not None and (dialect in _WHOLE or form is _ON_CHAT):
        request = _with_own_marks(request, dialect, form, quirks)
    if "key" in caches:
        request = _with_key(request, dialect)
    return request


# ---------------------------------------------------------------------------------------------
# Marks of other vendors


def _with_foreign_marks(request: Request, dialect: str, form: _Form) -> Request:
    messages = mapped(
        request.messages,
        (_converted, dialect, form.name),
        lambda message: _converted(message, dialect, form),
    )
    if messages is not request.messages:
        request = replace(request, messages=messages)
    tools = [_converted_part(tool, dialect, form) for tool in request.tools]
    if any(new is not old for new, old in zip(tools, request.tools, strict=True)):
        request = replace(request, tools=tools)
    return _with_foreign_whole(request, dialect)


def _with_foreign_whole(request: Request, dialect: str) -> Request:
    """A mark of the whole request, which clients of Chat write as Anthropic's do."""
    name = _WHOLE.get(dialect, "")
    theirs = request.provider_options.get("openai-chat", {})
    if not name or dialect == "openai-chat" or not isinstance(theirs.get(name), dict):
        return request
    own = {name: theirs[name], **request.provider_options.get(dialect, {})}
    rest = {key: value for key, value in theirs.items() if key != name}
    options = {**request.provider_options, "openai-chat": rest, dialect: own}
    return replace(request, provider_options=options)


def _converted(message: Message, dialect: str, form: _Form) -> Message:
    parts: list[Part] = [
        _converted_part(part, dialect, form) if not isinstance(part, Reasoning) else part
        for part in message.parts
    ]
    if any(new is not old for new, old in zip(parts, message.parts, strict=True)):
        message = replace(message, parts=parts)
    found = _foreign_mark(message.metadata, dialect)
    if found is None:
        return message
    rest, is_long = found
    return _marked(replace(message, metadata=rest), dialect, form, is_long=is_long)


def _foreign_mark(metadata: Metadata, dialect: str) -> tuple[Metadata, bool] | None:
    """The metadata without a mark of another dialect, and whether the mark is for an hour."""
    for owner, notes in metadata.items():
        for form in _WRITTEN.get(owner, ()) if owner != dialect else ():
            mark = form.read(notes)
            if mark is None:
                continue
            rest = {name: each for name, each in metadata.items() if name != owner}
            if kept := form.without(notes):
                rest[owner] = kept
            return rest, mark.get("ttl") == form.long_ttl
    return None


def _converted_part(part: Any, dialect: str, form: _Form) -> Any:
    if isinstance(part, ToolResult):
        content = [_converted_part(each, dialect, form) for each in part.content]
        if any(new is not old for new, old in zip(content, part.content, strict=True)):
            part = replace(part, content=content)
    metadata: Metadata | None = getattr(part, "metadata", None)
    found = _foreign_mark(metadata, dialect) if metadata else None
    if found is None:
        return part
    rest, is_long = found
    # OpenAI marks content parts alone; the result of a tool has no place for a mark there.
    if isinstance(part, ToolResult) and form.place:
        return part if form is not _ON_CHAT else _marked_result(part, dialect, is_long=is_long)
    notes = rest.get(dialect, {})
    return replace(part, metadata={**rest, dialect: _noted(notes, form, is_long=is_long)})


def _noted(notes: JSON, form: _Form, *, is_long: bool) -> JSON:
    """A dialect's notes on a part, with its mark."""
    written = form.written(is_long=is_long)
    if form.place:
        written = {form.place: {**notes.get(form.place, {}), **written[form.place]}}
    return {**notes, **written}


# ---------------------------------------------------------------------------------------------
# Marks of ours


def _with_own_marks(request: Request, dialect: str, form: _Form, quirks: Quirks) -> Request:
    """The end of the prompt is marked, and the end of its instructions.

    The first serves the next step, the second other conversations with the same beginning.
    """
    options = request.provider_options.get(dialect, {})
    name = form.name
    if name in options or _is_marked(request, dialect, form):
        return request
    messages = request.messages
    head = _head_size(messages)
    if head:
        marked = _marked(messages[head - 1], dialect, form)
        messages = like([*messages[: head - 1], marked, *messages[head:]], messages)
    if dialect in _WHOLE and (quirks.options is None or name in quirks.options):
        own = {**options, name: dict(form.short)}
        return replace(
            request,
            messages=messages,
            provider_options={**request.provider_options, dialect: own},
        )
    # A relative that does not know the field of the whole request takes a mark on a block.
    last = _marked(messages[-1], dialect, form)
    return replace(request, messages=like([*messages[:-1], last], messages))


def _head_size(messages: list[Message]) -> int:
    """The number of instruction messages at the beginning, where something follows them."""
    for place, message in enumerate(messages):
        if message.role != "system":
            return place
    return 0


def _marked(message: Message, dialect: str, form: _Form, *, is_long: bool = False) -> Message:
    """The message with a mark on its last text or result."""
    for place in range(len(message.parts) - 1, -1, -1):
        part = message.parts[place]
        if isinstance(part, ToolResult) and form is _ON_CHAT:
            marked: Part = _marked_result(part, dialect, is_long=is_long)
        elif isinstance(part, ToolResult) or (isinstance(part, Text) and part.text.strip()):
            notes = _noted(part.metadata.get(dialect, {}), form, is_long=is_long)
            marked = replace(part, metadata={**part.metadata, dialect: notes})
        else:
            continue
        return replace(message, parts=[*message.parts[:place], marked, *message.parts[place + 1 :]])
    return message


def _marked_result(result: ToolResult, dialect: str, *, is_long: bool) -> ToolResult:
    """A result on Chat, which is marked on a part of it."""
    for place in range(len(result.content) - 1, -1, -1):
        part = result.content[place]
        if isinstance(part, Text) and part.text.strip():
            notes = _noted(part.metadata.get(dialect, {}), _ON_CHAT, is_long=is_long)
            content = list(result.content)
            content[place] = replace(part, metadata={**part.metadata, dialect: notes})
            own = {**result.metadata.get(dialect, {}), "content": "parts"}
            return replace(result, content=content, metadata={**result.metadata, dialect: own})
    return result


def _is_marked(request: Request, dialect: str, form: _Form) -> bool:
    notes: list[Metadata] = [tool.metadata for tool in request.tools if tool.metadata]
    look = (_is_marked, dialect, form.name)
    for message in unseen(request.messages, look):
        for part in message.parts:
            found: Metadata = getattr(part, "metadata", {})
            if found:
                notes.append(found)
    if any(dialect in each and form.read(each[dialect]) is not None for each in notes):
        return True
    note_seen(request.messages, look)
    return False


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
    own = {**options, "prompt_cache_key": conversation_key(request, dialect)}
    return replace(request, provider_options={**request.provider_options, dialect: own})


def conversation_key(request: Request, dialect: str) -> str:
    """A digest of what a conversation begins with: instructions, tools, the first user message."""
    digest = hashlib.sha256()
    for message in request.messages[: _head_size(request.messages)]:
        texts = (part.text for part in message.parts if isinstance(part, Text))
        digest.update(_bytes("".join(without_nonces(text, dialect) for text in texts)))
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
        if size >= CHARS_MIN:
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
                yield CHARS_MIN  # media are long
    for tool in request.tools:
        yield len(tool.description)
        if tool.parameters is not None:
            yield len(jsontext.encode_bytes(tool.parameters))
