"""Twilio's frames and signatures, written from its pages and not from our own telephone.

Sources, read on 2026-11-29: twilio.com/docs/voice/media-streams/websocket-messages and
twilio.com/docs/usage/security (the signature).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from xml.etree import ElementTree

FRAME_MS = 20
FRAME_BYTES = 160


def sign(auth_token: str, url: str, form: dict[str, str] | None = None) -> str:
    """The value of `X-Twilio-Signature` for an address and a form."""
    text = url
    for name in sorted(form or {}):
        text += name + (form or {})[name]
    made = hmac.new(auth_token.encode("utf-8"), text.encode("utf-8"), hashlib.sha1).digest()
    return base64.b64encode(made).decode("ascii")


def read_twiml(text: str) -> tuple[str, dict[str, str]]:
    """The address of the stream and its parameters; no address where the call is refused.

    Raises `ValueError` for what Twilio would not take.
    """
    root = ElementTree.fromstring(text)  # noqa: S314 - of the telephone that is being tested
    if root.tag != "Response":
        raise ValueError(f"TwiML is a <Response>, not a <{root.tag}>")
    stream = root.find("./Connect/Stream")
    if stream is None:
        stream = root.find("./Connect/ConversationRelay")
    if stream is None:
        return "", {}
    url = stream.get("url", "")
    if not url.startswith(("wss://", "ws://")) or "?" in url:
        raise ValueError(f"the address of a stream is wss:// without a query, not {url!r}")
    parameters: dict[str, str] = {}
    for row in stream.findall("Parameter"):
        name, value = row.get("name", ""), row.get("value", "")
        if len(name) + len(value) >= 500:
            raise ValueError(f"parameter {name!r} and its value have 500 characters or more")
        parameters[name] = value
    return url, parameters


class StreamFrames:
    """Makes the frames of one stream, numbered as Twilio numbers them."""

    def __init__(self, call_id: str, stream_id: str, account_id: str = "AC" + "0" * 32) -> None:
        self.call_id = call_id
        self.stream_id = stream_id
        self.account_id = account_id
        self._sequence = 0

    def connected(self) -> str:
        """The first frame."""
        return json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self, parameters: dict[str, str], **changes: Any) -> str:
        """The frame that says whose call it is."""
        body = {
            "accountSid": self.account_id,
            "streamSid": self.stream_id,
            "callSid": self.call_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
            **changes,
        }
        return self._frame("start", start=body)

    def media(self, data: bytes, chunk: int, timestamp_ms: int) -> str:
        """Sound of the caller."""
        payload = base64.b64encode(data).decode("ascii")
        body = {"track": "inbound", "chunk": str(chunk), "timestamp": str(timestamp_ms)}
        return self._frame("media", media={**body, "payload": payload})

    def mark(self, name: str) -> str:
        """A mark comes back."""
        return self._frame("mark", mark={"name": name})

    def digit(self, digit: str) -> str:
        """A key was pressed."""
        return self._frame("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def stop(self) -> str:
        """The last frame."""
        return self._frame("stop", stop={"accountSid": self.account_id, "callSid": self.call_id})

    def _frame(self, kind: str, **body: Any) -> str:
        self._sequence += 1
        head = {"event": kind, "sequenceNumber": str(self._sequence), "streamSid": self.stream_id}
        return json.dumps({**head, **body})
