"""AWS's event-stream encoding, outwards, as its specification lays the bytes out."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any

from polycall._support import jsontext


def message(headers: list[tuple[str, str]], payload: bytes) -> bytes:
    """Prelude, headers, payload, and the sum over all."""
    head = b"".join(
        len(name).to_bytes(1, "big")
        + name.encode()
        + b"\x07"
        + len(value.encode()).to_bytes(2, "big")
        + value.encode()
        for name, value in headers
    )
    total = 12 + len(head) + len(payload) + 4
    data = total.to_bytes(4, "big") + len(head).to_bytes(4, "big")
    data += binascii.crc32(data).to_bytes(4, "big") + head + payload
    return data + binascii.crc32(data).to_bytes(4, "big")


def event(kind: str, payload: bytes) -> bytes:
    """One event."""
    headers = [
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ]
    return message(headers, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """The frame that ends a stream early."""
    headers = [
        (":exception-type", kind),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ]
    return message(headers, payload)


class SSEFrames:
    """The events of a vendor's stream, however it is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The events that are complete with this piece."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for frame in whole:
            for line in frame.split(b"\n"):
                if line.startswith(b"data: "):
                    yield jsontext.decode(line[6:])
