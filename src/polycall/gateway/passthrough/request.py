"""Passing a body through as it came: when that may be done, and the little that is changed.

Nothing is parsed but the top level: the values stay the client's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall._support.json_weight import LONG_BYTES, outline
from polycall._support.runs import SPACE, after_run
from polycall.errors import MalformedRequestError, RequestTooLargeError
from polycall.gateway.passthrough.control_fields import (
    check_names,
    checked_generation,
    is_compact,
    says_each_once,
    without_needless_escapes,
)
from polycall.gateway.passthrough.known_texts import BodyTexts, KnownTexts, ReadBody
from polycall.gateway.passthrough.plain_messages import PLAIN_IDS, FilledText, as_plain
from polycall.gateway.passthrough.slow_reading import check_text, decode_fields, read_top_level
from polycall.gateway.passthrough.tool_texts import ToolText, tool_text
from polycall.gateway.state.sealed_tokens import PREFIX
from polycall.translation.caching import CHARS_MIN
from polycall.translation.quirks import Quirks

# Headers of a client's protocol that its provider needs to see.
PASSED_HEADERS = (b"anthropic-version", b"anthropic-beta", b"openai-beta", b"x-server-timeout")

_VENDOR = Quirks()
_CARRIED = (PREFIX.encode(), b'"call_pc')
_ASK_USAGE = b',"stream_options":{"include_usage":true}}'

# What in a body may meet a difference of the target.  A body without any of the marks of those
# differences that a provider has would be rendered as it stands; finding one costs nothing but
# the translation that is then made.
_MARKS: dict[str, tuple[bytes, ...]] = {
    "developer_role": (b'"developer"',),
    "max_tokens_field": (b'"max_completion_tokens"',),
    "custom_tools": (b'"custom"',),
    "strict_tools": (b'"strict"',),
    "legacy_functions": (b'"functions"', b'"function_call"'),
    "parallel_switch": (b'"parallel_tool_calls"',),
    "empty_content": (b'"tool_calls"',),
    "content_parts": (b'"type"',),
    "media_parts": (b'"image_url"', b'"input_audio"', b'"file"'),
    "user_after_tool": (b'"tool_call_id"',),
    # What a reasoner wants back has to be carried from its first answer on.
    "reasoning_replay": (b'"tools"', b'"tool_calls"'),
    "late_system": (b'"system"',),
    "tools_with_json": (b"esponseMimeType", b"esponse_mime_type", b'"response_format"'),
    "json_while_thinking": (b'"response_format"',),
    "thinking_needs_stream": (),
    "max_tokens_default": (),
    "tool_choices": (b'"tool_choice"', b"toolConfig", b"tool_config"),
    "forced_choice_while_reasoning": (b'"tool_choice"',),
    "result_media": (b'"tool_call_id"', b'"tool_result"', b"functionResponse"),
    "call_id_pattern": (b'"tool_calls"', b'"tool_use"'),
    "tool_message_name": (b'"tool_call_id"',),
    "any_arguments": (b'"tool_calls"', b'"function_call"'),
    "reasoning_carried": (b'"tools"', b'"tool_calls"'),
    "reasoning_blank": (b'"tool_calls"',),
    "effort_beside_tools": (b'"tools"', b'"functions"'),
}
# Differences that a plain conversation does not meet (`plain_messages.py`), and the fields of the
# top level that may meet them all the same.
_PLAIN: dict[str, tuple[str, ...]] = {
    "developer_role": (),
    "empty_content": (),
    "content_parts": (),
    "media_parts": (),
    "result_media": (),
    "tool_message_name": (),
    "any_arguments": (),
    "call_id_pattern": (),
    "custom_tools": (),
    "strict_tools": (),
    "legacy_functions": ("functions", "function_call"),
    "parallel_switch": ("parallel_tool_calls",),
    "max_tokens_field": ("max_completion_tokens",),
    "tool_choices": (),
}
# The same for fields of the top level, which the body's text cannot be asked for: each message has
# a `user` in it.
_FIELDS: dict[str, tuple[str, ...]] = {
    "seed_field": ("seed",),
    "temperature_range": ("temperature",),
    "end_user_field": ("user", "safety_identifier"),
    "response_formats": ("response_format",),
    "reasoning_control": ("reasoning_effort",),
    "efforts": ("reasoning_effort",),
    "thinks_always": ("reasoning_effort", "reasoning", "thinking", "enable_thinking"),
    "service_tiers": ("service_tier",),
    "stops_max": ("stop",),
    "careful": ("metadata", "prediction", "store", "verbosity", "web_search_options"),
}
# What a client echoes of other servers' reasoning, to one that takes none.
_REASONING_MARKS = (b'"reasoning_content"', b'"reasoning_details"')
_MARKED_ONLY = frozenset({"marks"})
_CACHE_MARK = b'"cache_control"'
_PLAIN_CHOICES = frozenset({"auto", "none", "required"})
# Wherever tools are, for a target that gets them in words.
_TOOL_MARKS = (
    *(b'"tools"', b'"functions"', b'"tool_calls"', b'"tool_use"', b'"tool_result"'),
    *(b'"function_call', b'"custom_tool_call', b"functionCall", b"functionResponse"),
    *(b"function_declarations", b"function_response", b'"toolUse"', b'"toolConfig"'),
)
_REFUSED_MARKS: dict[str, bytes] = {"messages.name": b'"name"'}
_REFUSED_FIELDS: dict[str, tuple[str, ...]] = {
    "candidates": ("n", "candidateCount", "generationConfig", "generation_config"),
    "logprobs": ("logprobs", "top_logprobs"),
    "end_user": ("user", "safety_identifier"),
    "stop": ("stop", "stop_sequences"),
}


class QuirkMarks:
    """The marks of one provider's differences, found once."""

    def __init__(self, quirks: Quirks, *, caches: bool = True) -> None:
        """`caches`: whether prompts are marked where the target caches nothing unasked."""
        self._has_marks = caches and quirks.cache_control and quirks.caches == _MARKED_ONLY
        marks: set[bytes] = set()
        replays = quirks.reasoning_replay not in ("never", "as_written")
        self._is_careful = quirks.careful
        doubts: set[bytes] = {b'"tools"', b'"functions"'}
        fields: set[str] = set()
        for name, found in _MARKS.items():
            if name == "reasoning_replay" and not replays:
                continue
            if getattr(quirks, name) == getattr(_VENDOR, name):
                continue
            if self._is_careful and _is_met_by_plain(name, quirks):
                fields.update(_PLAIN[name])
                doubts.update(found)
            else:
                marks.update(found)
        if quirks.reasoning_replay == "never":
            (doubts if self._is_careful else marks).update(_REASONING_MARKS)
        if quirks.tools != "native":
            marks.update(_TOOL_MARKS)
        if quirks.reasoning_field:
            # Whose answers have fields that Chat has not, and lack some that its schema demands.
            marks.add(b'"messages"')
        for name, found in _FIELDS.items():
            if getattr(quirks, name) != getattr(_VENDOR, name):
                fields.update(found)
        if quirks.stream_usage == "never":
            fields.add("stream_options")
        for name in quirks.refused:
            if name in _REFUSED_FIELDS:
                fields.update(_REFUSED_FIELDS[name])
            else:
                mark = _REFUSED_MARKS.get(name, b'"' + name.encode() + b'"')
                # A plain conversation has no names in its messages.
                is_met = self._is_careful and name == "messages.name"
                (doubts if is_met else marks).add(mark)
        self._marks = tuple(sorted(marks))
        self._doubts = tuple(sorted(doubts))
        self._fields = frozenset(fields)

    def meet(self, fields: Fields) -> bool:
        """Whether something in the body may have to be said in another way."""
        if fields.has_any(self._fields):
            return True
        if fields.hold_any(self._marks):
            return True
        if self._has_marks and fields.size >= CHARS_MIN and not fields.hold_any((_CACHE_MARK,)):
            return True  # Claude behind a router
        if not self._is_careful or fields.plain_messages() is not None:
            return False
        return fields.hold_any(self._doubts)


def _is_met_by_plain(name: str, quirks: Quirks) -> bool:
    if name == "call_id_pattern":
        return quirks.call_id_pattern == PLAIN_IDS
    if name == "empty_content":
        return quirks.empty_content == "empty"
    if name == "tool_choices":
        return quirks.tool_choices >= _PLAIN_CHOICES
    return name in _PLAIN


class Fields:
    """The top level of a JSON object, its values as raw bytes."""

    def __init__(self, body: bytes, dialect: str, read: ReadBody | None = None) -> None:
        """Raises `MalformedRequestError` for what is not an object, or says a field twice over.

        `body` is then what was read of it: what a provider reads is what was checked.  `read` is
        what is known of it.
        """
        self._is_read = False
        self._plain: msgspec.Raw | FilledText | None = None
        self._tools: ToolText | None = None
        self._said: dict[str, Any] | None = None  # where that is all that is kept
        self._texts: BodyTexts | None = None
        if read is None:
            body = without_needless_escapes(body)
            text, raw = body, read_top_level(body)
            self._raw = raw
        else:
            text, raw = read.short, read.short_fields
            self._raw = read.fields
        names_length = check_names(raw, dialect)
        self._is_compact = is_compact(text, raw, names_length)
        is_once = self._is_compact or says_each_once(text, raw)
        is_changed = dialect == "gemini" and self._settings_changed()
        if is_changed or not is_once:
            body, self._is_compact = self._built({}), True
        self.body = body
        self.size = len(body)
        # Without its long texts: what is in quotes within a text is escaped there.
        self.outline = body if self.size <= LONG_BYTES else outline(body, _LONG_TEXT_BYTES)

    def _settings_changed(self) -> bool:
        """Build Gemini's generation settings anew where they say something twice."""
        is_changed = False
        for name in ("generationConfig", "generation_config"):
            if name in self._raw:
                raw = bytes(self._raw[name])
                checked = checked_generation(raw, name)
                if checked is not raw:
                    self._raw[name] = msgspec.Raw(checked)
                    is_changed = True
        return is_changed

    def check_settings(self) -> None:
        """Raise for a long field that has no reason to be long: some are kept, or said again."""
        for name, raw in self._raw.items():
            if len(raw) > SETTING_BYTES_MAX and name not in _CONTENT:
                raise RequestTooLargeError(
                    f"the field {name[:60]!r} has {len(raw)} bytes, and at most "
                    f"{SETTING_BYTES_MAX} are taken; only what a model reads may be longer",
                    status=413,
                    param=name[:60],
                )

    def forget_text(self, said: dict[str, Any]) -> None:
        """Forget how a long body was written: `said` is all that it says, decoded."""
        self._said = said
        self.body = b""
        self._raw = dict.fromkeys(said, msgspec.Raw())
        self._is_read, self._plain, self._tools = False, None, None

    def restore(self) -> None:
        """Have the whole body again, as a server reads it, where it was let go of."""
        if self._said is not None:
            self.body = jsontext.encode_bytes(self._said)
            self._raw = decode_fields(self.body)
            self._said = None

    def keep_texts(self, texts: KnownTexts, owner: str, read: ReadBody | None) -> None:
        """Have what is found out about the body's texts known to the key's next requests."""
        self._texts = texts.keep(owner, self._raw, read)

    def mentions(self, mark: bytes) -> bool:
        """Whether the mark stands in the body, outside of its long texts."""
        if self._texts is not None:
            return self._texts.has(mark)
        return self.outline.find(mark) >= 0

    def mentions_any(self, marks: Iterable[bytes]) -> bool:
        """Whether one of the marks stands in the body, outside of its long texts."""
        return any(map(self.mentions, marks))

    def hold_any(self, marks: Iterable[bytes]) -> bool:
        """Whether one of the marks stands in the body, its long texts included."""
        if self._texts is not None:
            return any(map(self._texts.has, marks))
        body = self.body
        # `in` takes bytes for a number first, and makes an error of it; `any` needs a generator.
        for mark in marks:  # noqa: SIM110
            if body.find(mark) >= 0:
                return True
        return False

    @property
    def hold_carried_state(self) -> bool:
        """Whether tokens or ids of ours are in the history: they must not reach a provider."""
        return self.hold_any(_CARRIED)

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    @property
    def names(self) -> list[str]:
        """The names of the object's fields."""
        return list(self._raw)

    def has_any(self, names: frozenset[str]) -> bool:
        """Whether the object has a field of one of these names."""
        return not names.isdisjoint(self._raw)

    def raw(self, name: str) -> msgspec.Raw | None:
        """One value as the client wrote it; `None` where it is absent."""
        return self._raw.get(name)

    def plain_messages(self) -> msgspec.Raw | FilledText | None:
        """The messages as every server of Chat takes them; `None` where they need a translation."""
        if not self._is_read:
            self._is_read = True
            raw = self._raw.get
            known = None if self._texts is None else self._texts.parts.get("messages")
            self._plain = as_plain(raw("messages"), self._known_tools(), raw("tool_choice"), known)
        return self._plain

    def _known_tools(self) -> ToolText | None:
        """The tools, by their text; `None` where there are none."""
        if self._tools is None and "tools" in self._raw:
            known = None if self._texts is None else self._texts.parts.get("tools")
            tools = tool_text(self._raw["tools"]) if known is None else known.text.tools()
            if self.size > LONG_BYTES:
                return tools  # it has a copy of them
            self._tools = tools
        return self._tools

    def found_by(self, find: Callable[[bytes], tuple[str, ...]]) -> tuple[str, ...]:
        """The findings of `find` in the body that is passed on.

        Of plain messages every field is known, and known texts are searched once.
        """
        if self.size > LONG_BYTES:
            return find(self.body)
        tools = self._known_tools()
        if self._plain is not None and self._raw.keys() <= _NAMELESS:
            return () if tools is None else tools.found_by(find)
        rest = self._raw.copy()
        rest.pop("tools", None)
        if self._plain is not None:
            del rest["messages"]
        found: tuple[str, ...] = ()
        for name, part in ({} if self._texts is None else self._texts.parts).items():
            if rest.pop(name, None) is not None:
                found += part.text.found_by(find, part.size)
        found += find(self._encoded(rest))
        return found if tools is None else found + tools.found_by(find)

    def value(self, name: str) -> Any:
        """One value, decoded; `None` where it is absent or null."""
        if self._said is not None:
            return self._said.get(name)
        raw = self._raw.get(name)
        return None if raw is None else jsontext.decode(raw)

    def decoded(self, read_messages: Callable[[msgspec.Raw], Any] | None = None) -> dict[str, Any]:
        """All of the body.  A long list of tools, the same in every request, is decoded once.

        `read_messages` reads the messages of a conversation that may have come before.
        """
        if self._said is not None:
            return self._said
        body: dict[str, Any] = {}
        decode, apart = jsontext.decode, _READ_APART
        for name, raw in self._raw.items():
            if name not in apart:
                body[name] = decode(raw)
            elif name == "tools":
                tools = self._known_tools()
                body[name] = decode(raw) if tools is None else tools.decoded()
            else:
                body[name] = decode(raw) if read_messages is None else read_messages(raw)
        return body

    def with_values(self, values: dict[str, Any]) -> bytes:
        """The body with other values for fields that it has, every other byte as it was."""
        if self._is_compact and self.size <= LONG_BYTES:
            return self._built(values)
        body = self.body
        for name, value in values.items():
            new = bytes(value) if type(value) is FilledText else msgspec.json.encode(value)
            spliced = _spliced(body, name, bytes(self._raw[name]), new)
            if spliced is None:
                return self._built(values)
            body = spliced
        return body

    def rebuilt(self, leaves_out: Collection[str], adds: dict[str, Any]) -> bytes:
        """The body without some fields and with others before it; the rest is as written."""
        kept = {name: raw for name, raw in self._raw.items() if name not in leaves_out}
        return self._encoded({**adds, **kept})

    def _built(self, values: dict[str, Any]) -> bytes:
        return self._encoded({**self._raw, **values})

    def _encoded(self, fields: dict[str, Any]) -> bytes:
        encode = msgspec.json.encode
        try:
            if self._texts is None:
                return encode(fields)
            # Long texts are copied once.
            pieces: list[Any] = []
            for name, value in fields.items():
                pieces += (b"," if pieces else b"{", encode(name), b":")  # there is one at least
                if type(value) is FilledText:
                    pieces += value.pieces
                else:
                    pieces.append(value if type(value) is msgspec.Raw else encode(value))
        except UnicodeEncodeError:
            raise MalformedRequestError("a field's name is not Unicode text") from None
        return b"".join([*pieces, b"}"])

    def asking_usage(self, values: dict[str, Any]) -> bytes | None:
        """The Chat body with other values, and asking for the usage of its stream.

        `None` where the client asks for that itself, or says something that is wrong.
        """
        if "stream_options" not in self._raw:
            if self._is_compact and self.size <= LONG_BYTES:
                return self._built({**values, "stream_options": {"include_usage": True}})
            body = self.with_values(values) if values else self.body
            return body.rstrip(SPACE)[:-1] + _ASK_USAGE
        try:
            options = _options_decoder.decode(self._raw["stream_options"]) or {}
        except msgspec.DecodeError:
            return None
        asks = options.get("include_usage")
        if asks is not None and asks is not False:
            return None
        return self.with_values({**values, "stream_options": {**options, "include_usage": True}})


# The field that has a conversation.
_MESSAGES = frozenset({"messages", "input", "contents"})
# Fields of a plain Chat request in which nothing is named that a provider keeps.
_NAMELESS = frozenset(
    {
        *("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "stream"),
        *("stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n"),
        *("stop", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"),
    }
)
_READ_APART = _MESSAGES | {"tools"}
SETTING_BYTES_MAX = 1024 * 1024
# Fields with what a model reads.
_CONTENT = _MESSAGES | {
    *("prompt", "instances", "system", "instructions", "systemInstruction"),
    *("system_instruction", "tools", "functions", "toolConfig", "tool_config", "documents"),
    *("prediction", "suffix"),
}


def read_fields(
    body: bytes, dialect: str, texts: KnownTexts | None = None, owner: str = ""
) -> Fields:
    """The fields of a body; raises `MalformedRequestError` for one that is no JSON object.

    `texts` are what is known of the owner's earlier bodies.
    """
    if texts is not None and not texts.bytes_min <= len(body) < LONG_BYTES:
        texts = None
    read = None if texts is None else texts.read(owner, body)
    if read is None and not body.isascii():
        check_text(body)
    fields = Fields(body, dialect, read)
    if texts is not None:
        fields.keep_texts(texts, owner, read)
    return fields


_LONG_TEXT_BYTES = 128  # no mark is longer


def _spliced(body: bytes, name: str, raw: bytes, new: bytes) -> bytes | None:
    """`None` where the name stands elsewhere too."""
    key = b'"' + name.encode() + b'"'
    place = body.find(key)
    if place < 0 or body.find(key, place + len(key)) >= 0:
        return None
    place = after_run(body, place + len(key), SPACE + b":")
    if not body.startswith(raw, place):
        return None
    view = memoryview(body)
    return b"".join((view[:place], new, view[place + len(raw) :]))


_options_decoder: msgspec.json.Decoder[dict[str, Any] | None] = msgspec.json.Decoder(
    dict[str, Any] | None
)
