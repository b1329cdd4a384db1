"""Passes a Chat stream of a server that nobody named, and translates it from where it is not plain.

Such servers leave out indexes, ids and names of calls, or end in a way of their own.  A stream that
does none of that passes as it is.  With the first frames that do, the stream is translated from its
beginning, and of that the client gets what it has not got yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from polycall.errors import PolycallError
from polycall.gateway.passthrough.call_counter import in_events
from polycall.gateway.passthrough.stream import USAGE, Observer, frames_with, without_usage
from polycall.ir import Event, Request, ResponseEnd, Usage
from polycall.translation.wire import Dialect

_GAP = b"\n\n"
_DATA = b"data: "
_DONE = b"data: [DONE]"
_CALLS = (b'"tool_calls"',)
_OTHERS = (b'"error"', b'"function_call"', b"\r")
_PARTS = re.compile(rb'"content"\s*:\s*[\[{]')
# A reason that is given; servers say null in all frames but one.
_REASON = re.compile(rb'"finish_reason"\s*:\s*"')
_REMEMBERED_BYTES_MAX = 256 * 1024


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct):
    index: int
    function: _Function
    id: str | None = None
    type: Literal["function"] | None = None


class _Delta(Struct):
    tool_calls: list[_Call] | None = None
    content: str | None = None


class _Choice(Struct):
    delta: _Delta
    index: int
    finish_reason: str | None = None


class _Chunk(Struct):
    choices: list[_Choice]


_read = msgspec.json.Decoder(_Chunk).decode


class MendedObserver(Observer):
    """The observer of such a stream; `sends_usage` says whether the client asked for the usage."""

    def __init__(
        self, dialect: Dialect, *, hides_usage: bool, is_sse: bool, sends_usage: bool
    ) -> None:
        super().__init__(dialect, hides_usage=hides_usage, is_sse=is_sse)
        self._passes_whole = True
        self._translation = _Translation(dialect, sends_usage=sends_usage)
        self._is_translated = False
        self._known: list[bytes] = []  # was passed, and the translation has not seen it
        self._known_bytes = 0
        self._held = b""  # from the frame on that gives a reason: it may not be the last word
        self._ids: list[str] = []
        self._has_arguments = True  # the latest call

    @property
    def error(self) -> PolycallError | None:
        return self._translation.error if self._is_translated else super().error

    def feed(self, chunk: bytes) -> bytes:
        if self._is_sse:
            return super().feed(chunk)
        self._is_translated = True
        data = self._followed(self._translation.feed(chunk))
        self.began = self.began or bool(data)
        return data

    def close(self) -> bytes:
        rest, held = b"".join(self._rest), self._held
        self._rest.clear()
        self._held = b""
        if self._is_translated:
            return self._followed(self._translation.feed(rest) + self._translation.close())
        if self.ended and not (rest or held):
            return super().close()
        return self._translated(held + rest, is_end=True)

    def break_off(self) -> None:
        if self._is_translated and not self.ended:
            self.usage = self._translation.usage
            return
        super().break_off()

    def _look_at(self, whole: bytes) -> bytes:
        if self._is_translated:
            return self._followed(self._translation.feed(whole))
        super()._look_at(whole)
        whole, self._held = self._held + whole, b""
        if self._break != _GAP or _is_odd(whole):
            return self._translated(whole)
        reason = _REASON.search(whole)
        if reason is not None and whole.endswith(_DONE + _GAP):
            is_plain = self._ends_plain(whole, reason.start())
            return self._shown(whole) if is_plain else self._translated(whole)
        if _DONE in whole:
            return self._translated(whole)
        if reason is not None:
            cut = whole.rfind(_GAP, 0, reason.start()) + len(_GAP)
            cut = 0 if cut < len(_GAP) else cut
            whole, self._held = whole[:cut], whole[cut:]
        if not self._are_plain(whole):
            held, self._held = self._held, b""
            return self._translated(whole + held)
        self._known.append(whole)
        self._known_bytes += len(whole)
        if self._known_bytes > _REMEMBERED_BYTES_MAX:
            self._translation.skip(self._known)
            self._known_bytes = 0
        return self._shown(whole)

    # What is plain

    def _are_plain(self, whole: bytes) -> bool:
        """Whether the calls in these frames are written as OpenAI writes them."""
        for start, end in frames_with(_CALLS, whole, _GAP):
            if whole[start : start + len(_DATA)] != _DATA:
                return False
            try:
                chunk = _read(memoryview(whole)[start + len(_DATA) : end])
            except (msgspec.DecodeError, UnicodeDecodeError):
                return False
            for choice in chunk.choices:
                if choice.index or not self._are_known(choice.delta.tool_calls or ()):
                    return False
        return True

    def _are_known(self, calls: Iterable[_Call]) -> bool:
        for call in calls:
            function, latest = call.function, len(self._ids) - 1
            if call.index == latest:
                if call.id is not None or call.type is not None or function.name is not None:
                    return False
            elif call.index == latest + 1 and self._has_arguments:
                if not (call.id and call.type and function.name) or call.id in self._ids:
                    return False
                self._ids.append(call.id)
                self._has_arguments = False
            else:
                return False
            if function.arguments and not function.arguments.isspace():
                self._has_arguments = True
        return True

    def _ends_plain(self, whole: bytes, place: int) -> bool:
        """Whether the frames up to `[DONE]` give one reason, and say nothing after it."""
        if not self._are_plain(whole):
            return False
        cut = whole.rfind(_GAP, 0, place) + len(_GAP)
        frames = whole[0 if cut < len(_GAP) else cut : -len(_GAP)].split(_GAP)
        reasons: list[str] = []
        for frame in frames[:-1]:
            if frame[:1] == b":" and b"\n" not in frame:
                continue
            if not frame.startswith(_DATA) or b"\n" in frame:
                return False
            try:
                chunk = _read(frame[len(_DATA) :])
            except (msgspec.DecodeError, UnicodeDecodeError):
                return False
            for choice in chunk.choices:
                if choice.finish_reason is None or reasons:
                    return False
                reasons.append(choice.finish_reason)
        if not self._ids:
            return reasons in (["stop"], ["length"], ["content_filter"])
        return reasons in (["tool_calls"], ["length"]) and self._has_arguments

    def _shown(self, whole: bytes) -> bytes:
        if not self._hides_usage or b'"usage"' not in whole:
            return whole
        frames = whole.split(_GAP)
        shown = [without_usage(frame) if USAGE.search(frame) else frame for frame in frames]
        kept = [left for left, frame in zip(shown, frames, strict=True) if left or not frame]
        return _GAP.join(kept)

    # From where it is not

    def _translated(self, whole: bytes, *, is_end: bool = False) -> bytes:
        """Translate from here on; gives what the client gets for these bytes."""
        self._is_translated = True
        self._translation.skip(self._known)
        data = self._translation.feed(whole)
        if is_end:
            data += self._translation.close()
        return self._followed(data)

    def _followed(self, data: bytes) -> bytes:
        """Take over what the translation has found out."""
        translation = self._translation
        self.is_broken = translation.error is not None
        self.calls = translation.calls
        if translation.has_ended:
            self.usage, self.ended = translation.usage, True
        return data


def _is_odd(whole: bytes) -> bool:
    """Whether these frames say something that OpenAI's do not, or leave out a choice's number."""
    if any(mark in whole for mark in _OTHERS) or _PARTS.search(whole) is not None:
        return True
    return whole.count(b'"index"') < whole.count(b'"delta"')


class _Translation:
    """A Chat stream decoded, and encoded as it is promised to clients."""

    def __init__(self, dialect: Dialect, *, sends_usage: bool) -> None:
        self._decoder = dialect.StreamDecoder()
        options = {"stream_options": {"include_usage": sends_usage}}
        request = Request(model="", messages=[], provider_options={dialect.NAME: options})
        self._encoder = dialect.StreamEncoder(request)
        self.calls = 0
        self.has_ended = False

    @property
    def error(self) -> PolycallError | None:
        return self._decoder.error

    @property
    def usage(self) -> Usage:
        return self._decoder.usage

    def skip(self, known: list[bytes]) -> None:
        """Read what the client has got already."""
        self.feed(b"".join(known))
        known.clear()

    def feed(self, data: bytes) -> bytes:
        return self._encoded(self._decoder.feed(data)) if data else b""

    def close(self) -> bytes:
        return self._encoded(self._decoder.close()) + self._encoder.close()

    def _encoded(self, events: list[Event]) -> bytes:
        self.calls += in_events(events)
        self.has_ended = self.has_ended or bool(events and isinstance(events[-1], ResponseEnd))
        return b"".join([self._encoder.feed(event) for event in events])
