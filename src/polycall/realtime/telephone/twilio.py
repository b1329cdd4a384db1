"""Twilio's Media Streams: frames, TwiML and signatures.  No IO.

Sources, read on 2026-11-29: twilio.com/docs/voice/media-streams/websocket-messages,
twilio.com/docs/voice/twiml/stream, twilio.com/docs/usage/security.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit
from xml.sax.saxutils import quoteattr

import msgspec
from msgspec import Struct, field

SIGNATURE_HEADER = "x-twilio-signature"
# Twilio sends about 300 bytes a frame; a second of sound has 11,000.
FRAME_BYTES_MAX = 65_536
_DIGITS = frozenset("0123456789*#ABCD")
_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}

Form: TypeAlias = Sequence[tuple[str, str]]


class MalformedFrameError(ValueError):
    """A frame that Twilio does not send."""


class Start(Struct, frozen=True):
    """The stream begins."""

    stream_id: str
    call_id: str
    parameters: dict[str, str]


class Media(Struct, frozen=True):
    """Sound of the caller; `timestamp_ms` since the stream began, `chunk` counts from 1."""

    data: bytes
    timestamp_ms: float
    chunk: int


class MarkReached(Struct, frozen=True):
    """A mark has come back: played, or cleared."""

    name: str


class DigitPressed(Struct, frozen=True):
    """A key of the caller's telephone."""

    digit: str


class Stopped(Struct, frozen=True):
    """The stream is over."""


class Ignored(Struct, frozen=True):
    """A frame without a meaning for the call."""

    kind: str


Frame: TypeAlias = Start | Media | MarkReached | DigitPressed | Stopped | Ignored


class _Format(Struct):
    encoding: str = ""
    sampleRate: int | str = 0  # noqa: N815 - Twilio's names
    channels: int | str = 0


class _StartBody(Struct):
    callSid: str  # noqa: N815
    streamSid: str = ""  # noqa: N815
    mediaFormat: _Format = field(default_factory=_Format)  # noqa: N815
    customParameters: dict[str, str] = field(default_factory=dict[str, str])  # noqa: N815


class _MediaBody(Struct):
    payload: str
    track: str = "inbound"
    timestamp: str | int = 0
    chunk: str | int = 0


class _MarkBody(Struct):
    name: str


class _DigitBody(Struct):
    digit: str


class _Message(Struct):
    event: str
    streamSid: str = ""  # noqa: N815
    start: _StartBody | None = None
    media: _MediaBody | None = None
    mark: _MarkBody | None = None
    dtmf: _DigitBody | None = None


_decoder = msgspec.json.Decoder(_Message)


def parse_frame(frame: str | bytes) -> Frame:
    """Read a frame; raise `MalformedFrameError` for what Twilio does not send."""
    if isinstance(frame, bytes):
        raise MalformedFrameError("a frame is text, not binary")
    if len(frame) > FRAME_BYTES_MAX:
        raise MalformedFrameError(f"a frame of {len(frame)} characters; {FRAME_BYTES_MAX} are read")
    try:
        message = _decoder.decode(frame)
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedFrameError(f"not a frame: {error}") from None
    match message:
        case _Message(event="media", media=_MediaBody() as media):
            return _media(media)
        case _Message(event="start", start=_StartBody() as start):
            return _start(start, message.streamSid)
        case _Message(event="mark", mark=_MarkBody(name)):
            return MarkReached(name)
        case _Message(event="dtmf", dtmf=_DigitBody(digit)):
            if digit not in _DIGITS:
                raise MalformedFrameError("a digit is one of 0-9, *, #, A-D")
            return DigitPressed(digit)
        case _Message(event="stop"):
            return Stopped()
        case _Message(event="media" | "start" | "mark" | "dtmf"):
            raise MalformedFrameError(f"a {message.event!r} frame without its body")
        case _:
            return Ignored(message.event[:40])


def _start(start: _StartBody, stream_id: str) -> Start:
    form = start.mediaFormat
    found = (form.encoding, str(form.sampleRate), str(form.channels))
    if found != ("audio/x-mulaw", "8000", "1"):
        raise MalformedFrameError(f"sound is audio/x-mulaw, 8000 Hz, 1 channel, not {found!r}")
    return Start(start.streamSid or stream_id, start.callSid, start.customParameters)


def _media(media: _MediaBody) -> Frame:
    if media.track != "inbound":
        return Ignored(f"media of track {media.track[:20]}")
    try:
        data = base64.b64decode(media.payload, validate=True)
        timestamp_ms, chunk = float(int(media.timestamp)), int(media.chunk)
    except (binascii.Error, ValueError, OverflowError) as error:
        raise MalformedFrameError(f"media cannot be read: {error}") from None
    if timestamp_ms < 0 or chunk < 0:
        raise MalformedFrameError("media has a negative time or number")
    return Media(data, timestamp_ms, chunk)


def media_frame(stream_id: str, data: bytes) -> str:
    """Sound for the caller."""
    payload = base64.b64encode(data).decode("ascii")
    return _encoded({"event": "media", "streamSid": stream_id, "media": {"payload": payload}})


def mark_frame(stream_id: str, name: str) -> str:
    """A mark that comes back when the sound before it was played, or cleared."""
    return _encoded({"event": "mark", "streamSid": stream_id, "mark": {"name": name}})


def clear_frame(stream_id: str) -> str:
    """Forget the sound that was not played."""
    return _encoded({"event": "clear", "streamSid": stream_id})


def _encoded(body: dict[str, object]) -> str:
    return msgspec.json.encode(body).decode("utf-8")


def stream_twiml(url: str, parameters: dict[str, str], *, status_url: str) -> str:
    """The TwiML that connects a call with a WebSocket in both directions."""
    rows = "".join(
        f"<Parameter name={quoteattr(name)} value={quoteattr(value)}/>"
        for name, value in parameters.items()
    )
    stream = f"<Stream url={quoteattr(url)} statusCallback={quoteattr(status_url)}>{rows}</Stream>"
    return _response(f"<Connect>{stream}</Connect>")


def relay_twiml(url: str, parameters: dict[str, str], attributes: dict[str, str]) -> str:
    """The TwiML that lets Twilio hear and speak, and connects the words with a WebSocket."""
    rows = "".join(
        f"<Parameter name={quoteattr(name)} value={quoteattr(value)}/>"
        for name, value in parameters.items()
    )
    named = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
    relay = f"<ConversationRelay url={quoteattr(url)}{named}>{rows}</ConversationRelay>"
    return _response(f"<Connect>{relay}</Connect>")


def busy_twiml() -> str:
    """The TwiML that refuses a call before it is answered; the caller pays nothing."""
    return _response('<Reject reason="busy"/>')


def _response(verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{verbs}</Response>'


def signature(auth_token: str, url: str, form: Form = ()) -> str:
    """Twilio's signature of a request: HMAC-SHA1 of the address and the sorted form."""
    signed = url + "".join(name + value for name, value in sorted(set(form)))
    made = hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1)
    return base64.b64encode(made.digest()).decode("ascii")


def is_signed(auth_token: str, found: str, urls: Iterable[str], form: Form = ()) -> bool:
    """Whether a signature is of one of these addresses; takes as long whichever it is."""
    sent = found.encode("utf-8", "replace")
    results = [hmac.compare_digest(signature(auth_token, url, form).encode(), sent) for url in urls]
    return any(results)


def with_and_without_port(url: str) -> list[str]:
    """The ways in which Twilio may write an address when it signs it."""
    split = urlsplit(url)
    host = split.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = split.port or _PORTS.get(split.scheme, 443)
    hosts = dict.fromkeys([split.netloc, host, f"{host}:{port}"])
    return [urlunsplit(split._replace(netloc=each)) for each in hosts]
