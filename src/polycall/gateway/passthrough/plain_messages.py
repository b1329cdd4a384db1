"""Whether a Chat conversation says only what every server takes, and so may pass as it stands.

A server that nobody named may refuse parts of content, null beside calls, names of tool messages,
arguments that are no object, and more.  A conversation that has none of that but null, which is
written as an empty text, needs no translation; one typed decoding tells.  An answer of such a
server may be written in its own way, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from polycall._support.json_weight import LONG_BYTES
from polycall.dialects.openai_chat.usage import parse_usage
from polycall.gateway.passthrough.known_texts import TextPart
from polycall.gateway.passthrough.tool_texts import ToolText
from polycall.ir import Usage


class _Function(Struct, forbid_unknown_fields=True):
    name: str
    arguments: str


class _Call(Struct, forbid_unknown_fields=True):
    id: str
    type: Literal["function"]
    function: _Function


class _Message(Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None
    tool_calls: list[_Call] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class _Definition(Struct, forbid_unknown_fields=True):
    name: str
    description: str | UnsetType = UNSET
    parameters: msgspec.Raw | UnsetType = UNSET


class _Tool(Struct, forbid_unknown_fields=True):
    type: Literal["function"]
    function: _Definition


class _AnswerCall(Struct):
    id: str
    type: Literal["function"]
    function: _Function


class _AnswerMessage(Struct):
    role: Literal["assistant"]
    content: str | None = None
    tool_calls: list[_AnswerCall] | None = None
    function_call: None = None
    error: None = None


class _AnswerChoice(Struct):
    index: int
    message: _AnswerMessage
    finish_reason: Literal["stop", "length", "tool_calls"]
    native_finish_reason: Literal["stop", "length", "tool_calls"] | None = None
    error: None = None


class _Answer(Struct):
    id: str
    choices: list[_AnswerChoice]
    usage: dict[str, Any] | None = None
    service_tier: str | None = None
    error: None = None


class PlainAnswer(Struct, frozen=True):
    """The usage of a plain answer, and the number of its calls."""

    usage: Usage
    calls: int


_answer_decoder = msgspec.json.Decoder(_Answer)
_decoder = msgspec.json.Decoder(list[_Message])
_message_decoder = msgspec.json.Decoder(_Message)
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_tools_decoder = msgspec.json.Decoder(list[_Tool])
_choice_decoder = msgspec.json.Decoder(Literal["auto", "none", "required"])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ID_LENGTH_MAX = 40
PLAIN_IDS = rf"[\s\S]{{1,{_ID_LENGTH_MAX}}}"  # as a quirk says it: ids of a plain conversation fit
_SPACED_NULL = re.compile(rb'"content"\s*:\s*null')
_COMPACT_NULL, _NULL, _EMPTY = b'"content":null', b"null", b'""'
_BETWEEN = b" \t\r\n,"


class FilledText(Struct, frozen=True, eq=False):
    """The text of messages with an empty text for each null, in pieces."""

    pieces: list[bytes | memoryview]

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)


def as_plain(
    messages: msgspec.Raw | None,
    tools: ToolText | None,
    choice: msgspec.Raw | None,
    known: TextPart | None = None,
) -> msgspec.Raw | FilledText | None:
    """The messages as every server takes them, where these fields of a Chat request are plain.

    Each message has a known role and text for its content, or calls with objects alongside null;
    tools are functions, the choice is a word.  `None` where anything is otherwise.  `known` is
    what is known of the messages' text, all of which it has.
    """
    if messages is None:
        return None
    try:
        if tools is not None and not _are_plain(tools):
            return None
        if choice is not None:
            _choice_decoder.decode(choice)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    text = memoryview(messages)
    nulls = _nulls_in(text, 0) if known is None else _known_nulls_in(text, known)
    if nulls is None:
        return None
    if not nulls:
        return messages
    filled = _without_nulls(text, nulls)
    return msgspec.Raw(bytes(filled)) if known is None else filled


def _known_nulls_in(text: memoryview, known: TextPart) -> list[int] | None:
    """The same as `_nulls_in`, of which only new messages are looked at."""
    of_text = known.text
    if 0 < of_text.odd_bytes <= known.size:
        return None
    if of_text.plain_count < known.count:
        done = of_text.ends[of_text.plain_count - 1] if of_text.plain_count else 0
        new = _nulls_in(text, done)
        if new is None:
            of_text.odd_bytes = known.size
            return None
        of_text.plain_count = known.count
        of_text.nulls.extend(new)
    return [place for place in of_text.nulls if place < known.size]


def _nulls_in(text: memoryview, done: int) -> list[int] | None:
    """The places of nulls as the content of plain messages, from a message's end on.

    `None` where a message is not plain, or where there is none.
    """
    rest = bytes(text[done:])
    nulls = count = 0
    try:
        for message in _each_of(b"[" + rest.lstrip(_BETWEEN) if done else rest):
            count += 1
            if message.tool_calls is not UNSET:
                if message.role != "assistant" or not message.tool_calls:
                    return None
                for call in message.tool_calls:
                    if not 0 < len(call.id) <= _ID_LENGTH_MAX:
                        return None
                    if len(call.function.arguments) > LONG_BYTES:
                        return None
                    _object_decoder.decode(call.function.arguments)
                nulls += message.content is None
            elif message.content is None:
                return None
            if message.tool_call_id is not UNSET and len(message.tool_call_id) > _ID_LENGTH_MAX:
                return None
            if (message.tool_call_id is not UNSET) != (message.role == "tool"):
                return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not (count or done):
        return None
    return [done + place for place in _null_places(rest, nulls)] if nulls else []


def _null_places(text: bytes, nulls: int) -> list[int]:
    """The places of so many nulls.

    Within a text the quotes would be escaped, and no other field of a message has this name.
    """
    pieces = text.split(_COMPACT_NULL)  # as most clients write it
    if len(pieces) != nulls + 1:
        return [found.end() - len(_NULL) for found in _SPACED_NULL.finditer(text)]
    places: list[int] = []
    place = -len(_NULL)
    for piece in pieces[:-1]:
        place += len(piece) + len(_COMPACT_NULL)
        places.append(place)
    return places


def _without_nulls(text: memoryview, nulls: list[int]) -> FilledText:
    pieces: list[bytes | memoryview] = []
    done = 0
    for place in nulls:
        pieces += (text[done:place], _EMPTY)
        done = place + len(_NULL)
    pieces.append(text[done:])
    return FilledText(pieces)


def _each_of(messages: bytes) -> Iterable[_Message]:
    """The messages; those of a long conversation one at a time, as they take its room again."""
    if len(messages) <= LONG_BYTES:
        return _decoder.decode(messages)
    return map(_message_decoder.decode, _raw_decoder.decode(messages))


def _are_plain(tools: ToolText) -> bool:
    """Whether the tools are functions alone; looked at once for each list."""
    if tools.is_plain is None:
        tools.is_plain = True
        try:
            _tools_decoder.decode(tools.text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            tools.is_plain = False
    return tools.is_plain


def read_plain_answer(body: bytes) -> PlainAnswer | None:
    """A whole answer that is written as OpenAI writes it; `None` for one that may be otherwise.

    Each choice is a text, or has calls with objects for arguments, and ended as it should.  A long
    answer, of which each field may take much room, is not read so.
    """
    if len(body) > LONG_BYTES:
        return None
    try:
        answer = _answer_decoder.decode(body)
        count = 0
        for place, choice in enumerate(answer.choices):
            calls = choice.message.tool_calls or ()
            if choice.index != place or bool(calls) != (choice.finish_reason == "tool_calls"):
                return None
            if calls:
                if len({call.id for call in calls if call.id and call.function.name}) < len(calls):
                    return None
                for call in calls:
                    _object_decoder.decode(call.function.arguments)
                count += len(calls)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not (answer.id and answer.choices):
        return None
    return PlainAnswer(parse_usage(answer.usage, answer.service_tier), count)
