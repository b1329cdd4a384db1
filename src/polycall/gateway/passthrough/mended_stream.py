"""Passes a Chat stream of a server that nobody named, and translates it from where it is not plain.

Such servers leave out indexes, ids and names of calls, or end in a way of their own.  A stream that
does none of that passes as it is.  With the first frames that do, the stream is translated from its
beginning, and of that the client gets what it has not got yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct

from polycall._support import jsontext
from polycall.errors import PolycallError
from polycall.gateway.passthrough.call_counter import in_events
from polycall.gateway.passthrough.stream import USAGE, Observer, without_usage
from polycall.ir import Event, Request, ResponseEnd, ResponseStart, Usage
from polycall.translation.sse import EVENT_BYTES_MAX
from polycall.translation.wire import Dialect

_GAP = b"\n\n"
_DATA = b"data: "
_DONE = b"data: [DONE]"
_COLON = ord(":")
_REMEMBERED_BYTES_MAX = 256 * 1024
# Where the one text of a frame begins that others have another text for, and what such a text is.
_CONTENT = re.compile(rb'"content"\s*:\s*"')
_ARGUMENTS = re.compile(rb'"arguments"\s*:\s*"')
_INSIDE = re.compile(rb'[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*+')
_ASCII = re.compile(rb'[ !#-[\]-~]*+(?:\\["\\/bfnrt][ !#-[\]-~]*+)*+')


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
    function_call: Any = UNSET
    error: None = None


class _Choice(Struct):
    delta: _Delta
    index: int
    finish_reason: str | None = None
    native_finish_reason: Any = None
    error: None = None


class _Chunk(Struct):
    choices: list[_Choice]
    usage: Any = None
    error: None = None


_read = msgspec.json.Decoder(_Chunk).decode


class MendedObserver(Observer):
    """The observer of such a stream; `sends_usage` says whether the client asked for the usage."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        hides_usage: bool,
        is_sse: bool,
        sends_usage: bool,
        event_bytes_max: int = EVENT_BYTES_MAX,
    ) -> None:
        super().__init__(
            dialect, hides_usage=hides_usage, is_sse=is_sse, event_bytes_max=event_bytes_max
        )
        self._passes_whole = True
        self._translation = _Translation(
            dialect, sends_usage=sends_usage, event_bytes_max=event_bytes_max
        )
        self._is_translated = False
        self._known: list[bytes] = []  # was passed, and the translation has not seen it
        self._known_bytes = 0
        self._reason = ""  # that was given for the end
        self._held = b""  # from the frame on that gives it: it may not be the last word
        self._is_done = False
        self._ids: list[str] = []
        self._has_arguments = True  # the latest call
        self._call_frames: list[bytes] = []  # of the latest call
        self._call_bytes = 0  # since it began
        self._texts = _Likeness(_CONTENT, _INSIDE)
        self._arguments = _Likeness(_ARGUMENTS, _ASCII)

    @property
    def error(self) -> PolycallError | None:
        return self._translation.error if self._is_translated else super().error

    @property
    def held_bytes(self) -> int:
        return self._translation.held_bytes if self._is_translated else super().held_bytes

    def feed(self, chunk: bytes) -> bytes:
        if not self.is_sse:
            data = self._translated(chunk)
            self.began = self.began or bool(data)
            return data
        if self._is_translated:
            return self._translated(chunk)
        data = super().feed(chunk)
        is_long = self._rest.size > _REMEMBERED_BYTES_MAX and not self._is_done
        if self._is_translated or is_long:
            # The translation gathers what comes of a long frame: there is one copy of it.
            data += self._translated(self._rest.take())
        return data

    def close(self) -> bytes:
        rest = self._rest.take()
        is_plain_end = self._is_done or (self.ended and not (rest or self._held))
        if is_plain_end and not self._is_translated:
            return super().close()
        return self._translated(rest, is_end=True)

    def break_off(self) -> None:
        if self._is_translated and not self.ended:
            self.usage = self._translation.usage
            return
        super().break_off()

    def _look_at(self, whole: bytes) -> bytes:
        if self._is_translated:
            return self._translated(whole)
        if self._is_done:
            return b""  # clients have stopped to read
        self._latest = whole if len(whole) <= _REMEMBERED_BYTES_MAX else b""
        long = max(len(self._held), len(whole))  # is not looked at twice
        if self._break != _GAP or long > _REMEMBERED_BYTES_MAX:
            return self._translated(whole)
        frames = whole[: -len(_GAP)].split(_GAP)
        place, held = 0, 0 if self._reason else len(frames)
        while place < len(frames):
            if not self._reason:
                start = self._texts.after(frames, place)
                place = self._arguments.after(frames, start)
                self._call_frames += frames[start:place]
                if place == len(frames):
                    break
            if not self._is_plain(frames[place]):
                return self._translated(whole)
            if self._reason:
                held = min(held, place)
            place += 1
        if self._is_done:
            whole, self._held = self._held + whole, b""
            return self._shown(whole)
        if self._reason:
            cut = sum(map(len, frames[:held])) + held * len(_GAP)
            whole, self._held = whole[:cut], self._held + whole[cut:]
        self._known.append(whole)
        self._known_bytes += len(whole)
        self._call_bytes += len(whole)
        if self._call_bytes > _REMEMBERED_BYTES_MAX:
            self._call_frames.clear()  # and so it is not taken for whole
        if self._known_bytes > _REMEMBERED_BYTES_MAX:
            self._translation.skip(self._known)
            self._known_bytes = 0
        return self._shown(whole)

    # What is plain

    def _is_plain(self, frame: bytes) -> bool:
        """Whether the frame is written as OpenAI writes it; notes what it says."""
        if not frame or (frame[0] == _COLON and b"\n" not in frame):
            return True
        if self._is_done or not frame.startswith(_DATA) or b"\n" in frame or b"\r" in frame:
            return False
        if frame == _DONE:
            self._have_read(frame)
            self._is_done = self._ends_plain()
            return self._is_done
        try:
            chunk = _read(memoryview(frame)[len(_DATA) :])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        choices = chunk.choices
        if not self.began or chunk.usage or any(_says_end(choice) for choice in choices):
            self._have_read(frame)
        for choice in choices:
            delta = choice.delta
            if self._reason or delta.function_call is not UNSET:
                return False
            if delta.content and not self._has_arguments:
                return False  # a translation says the call's empty arguments first
            if delta.tool_calls and (choice.index or not self._are_known(delta.tool_calls)):
                return False
            if choice.finish_reason is not None:
                if not choice.finish_reason or len(choices) > 1:
                    return False
                self._reason = choice.finish_reason
            if delta.tool_calls:
                self._call_frames.append(frame)
            if (
                len(choices) == 1
                and not self._reason
                and not chunk.usage
                and choice.native_finish_reason is None
            ):
                self._learn(frame, delta)
        return True

    def _have_read(self, frame: bytes) -> None:
        """Let the dialect's decoder read a frame that tells of a beginning, of usage or an end."""
        events = self._decoder.feed(frame + _GAP)
        self._take(events)
        # Some servers begin an answer, and then say that they failed.
        self.began = self.began or any(not isinstance(each, ResponseStart) for each in events)

    def _learn(self, frame: bytes, delta: _Delta) -> None:
        """Know frames from now on that say the same with another text."""
        calls = delta.tool_calls
        if not calls:
            if delta.content and self.began:
                self._texts.learn(frame)
        elif calls[-1].id is not None or len(calls) > 1 or delta.content:
            self._arguments.forget()
        elif (text := calls[0].function.arguments) and not text.isspace():
            self._arguments.learn(frame)

    def _are_known(self, calls: Iterable[_Call]) -> bool:
        for call in calls:
            function, latest = call.function, len(self._ids) - 1
            if call.index == latest:
                if call.id is not None or call.type is not None or function.name is not None:
                    return False
            elif call.index == latest + 1 and self._has_arguments and self._is_call_whole():
                if not (call.id and call.type and function.name) or call.id in self._ids:
                    return False
                self._ids.append(call.id)
                self._call_frames, self._call_bytes = [], 0
                self.calls = len(self._ids)
                self._has_arguments = False
            else:
                return False
            if function.arguments and not function.arguments.isspace():
                self._has_arguments = True
        return True

    def _is_call_whole(self) -> bool:
        """Whether the latest call has all of its arguments: a translation holds others back."""
        if not self._ids:
            return True
        pieces: list[str] = []
        for frame in self._call_frames:
            for choice in _read(memoryview(frame)[len(_DATA) :]).choices:
                pieces += [call.function.arguments or "" for call in choice.delta.tool_calls or ()]
        try:
            return isinstance(jsontext.decode("".join(pieces)), dict)
        except ValueError:
            return False

    def _ends_plain(self) -> bool:
        """Whether the reason is one that OpenAI gives after what came."""
        if not self._ids:
            return self._reason in ("stop", "length", "content_filter")
        return self._reason in ("tool_calls", "length") and self._has_arguments

    def _shown(self, whole: bytes) -> bytes:
        if not self._hides_usage or b'"usage"' not in whole:
            return whole
        frames = whole.split(_GAP)
        shown = [without_usage(frame) if USAGE.search(frame) else frame for frame in frames]
        kept = [left for left, frame in zip(shown, frames, strict=True) if left or not frame]
        return _GAP.join(kept)

    # From where it is not

    def _translated(self, data: bytes, *, is_end: bool = False) -> bytes:
        """Translate from here on; gives what the client gets for these bytes."""
        translation = self._translation
        if not self._is_translated:
            self._is_translated = True
            translation.skip(self._known)
            data, self._held = self._held + data, b""
        data = translation.feed(data)
        if is_end:
            data += translation.close()
        self.frames = max(self.frames, translation.events)
        self.is_broken = translation.error is not None
        self.calls = translation.calls
        self.began = self.began or translation.has_begun
        if translation.has_ended:
            self.usage, self.ended = translation.usage, True
        return data


def _says_end(choice: _Choice) -> bool:
    return choice.finish_reason is not None or choice.native_finish_reason is not None


class _Likeness:
    """Frames that are an earlier one but for a text: what they say is known.

    Inside of a text nothing can change what stands around it.  What has an escape of the longer
    kind, or letters beyond ASCII in arguments, is looked at.
    """

    __slots__ = ("_begin", "_end", "_inside", "_start")

    def __init__(self, begin: re.Pattern[bytes], inside: re.Pattern[bytes]) -> None:
        """`begin` matches up to the quote with which the text begins, `inside` what is in it."""
        self._begin, self._inside = begin, inside
        self._start = self._end = b""

    def after(self, frames: list[bytes], place: int) -> int:
        """The first place from this one on whose frame is not such a one."""
        start, end, is_text = self._start, self._end, self._inside.fullmatch
        if not start:
            return place
        begin, rest = len(start), len(end)
        for at in range(place, len(frames)):
            frame = frames[at]
            if not (frame.startswith(start) and frame.endswith(end)):
                return at
            if is_text(frame, begin, len(frame) - rest) is None:
                return at
        return len(frames)

    def learn(self, frame: bytes) -> None:
        """Take this frame for what others are compared with, where it has one such text."""
        self.forget()
        found = [each.end() for each in self._begin.finditer(frame)]
        if len(found) == 1:
            inside = self._inside.match(frame, found[0])
            if inside is not None and frame[inside.end() : inside.end() + 1] == b'"':
                self._start, self._end = frame[: found[0]], frame[inside.end() :]

    def forget(self) -> None:
        """Know none."""
        self._start = self._end = b""


class _Translation:
    """A Chat stream decoded, and encoded as it is promised to clients."""

    def __init__(self, dialect: Dialect, *, sends_usage: bool, event_bytes_max: int) -> None:
        self._decoder = dialect.StreamDecoder()
        self._decoder.event_bytes_max = event_bytes_max
        options = {"stream_options": {"include_usage": sends_usage}}
        request = Request(model="", messages=[], provider_options={dialect.NAME: options})
        self._encoder = dialect.StreamEncoder(request)
        self.events = self.calls = 0
        self.has_begun = False  # with more than its head
        self.has_ended = False

    @property
    def error(self) -> PolycallError | None:
        return self._decoder.error

    @property
    def usage(self) -> Usage:
        return self._decoder.usage

    @property
    def held_bytes(self) -> int:
        return self._decoder.held_bytes

    def skip(self, known: list[bytes]) -> None:
        """Read what the client has got already."""
        self.feed(b"".join(known))
        known.clear()

    def feed(self, data: bytes) -> bytes:
        return self._encoded(self._decoder.feed(data)) if data else b""

    def close(self) -> bytes:
        return self._encoded(self._decoder.close()) + self._encoder.close()

    def _encoded(self, events: list[Event]) -> bytes:
        self.events += len(events)
        self.calls += in_events(events)
        self.has_begun = self.has_begun or any(
            not isinstance(each, ResponseStart) for each in events
        )
        self.has_ended = self.has_ended or bool(events and isinstance(events[-1], ResponseEnd))
        return b"".join([self._encoder.feed(event) for event in events])
