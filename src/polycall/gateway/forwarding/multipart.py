"""Finds the model in a form while the form passes, and writes the provider's own name instead.

Only the heads of the parts are looked at; files pass as they come.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from email.message import Message

from polycall.config import Server
from polycall.errors import InvalidRequestError, MalformedRequestError, RequestTooLargeError
from polycall.gateway.http.request import ClientGone, GatewayRequest

_HEAD_BYTES_MAX = 16 * 1024
_VALUE_BYTES_MAX = 1024
BEFORE_MODEL_BYTES_MAX = 1024 * 1024
# Where a head says the name of its part.  A reader of the first and one of the last must find the
# same, whatever they take for a quoted text.
_SAYS_NAME = re.compile(rb"[;\s]name\s*(\*?)[*\d\s]*=", re.IGNORECASE)
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NAME = re.compile(rb'content-disposition:[^\r\n]*?[; ]name="?([^";\r\n]*)"?', re.IGNORECASE)


def boundary_of(content_type: str) -> bytes:
    """The boundary that a content type names; `MalformedRequestError` where it is no form."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise MalformedRequestError("expected a form (multipart/form-data with a boundary)")
    if not 0 < len(boundary) <= 200:
        raise MalformedRequestError("the form's boundary has more than 200 characters")
    return boundary.encode("latin-1", "replace")


class FormScanner:
    """Bytes of a form in, the same out with another value for `model`.

    `model` is the value that was there, once it has come.  A second one is refused, since nobody
    knows which of the two a provider takes.
    """

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that the first boundary looks like the others
        self._skip = 2  # bytes of ours that are not sent
        self._state = self._in_body
        self._out: list[bytes] = []
        self.model: str | None = None
        self._new: bytes | None = None

    def rename(self, model: str) -> int:
        """Send this name; gives by how many bytes the form grows.  Called once `model` is there."""
        old = b"" if self.model is None else self.model.encode()
        self._new = model.encode()
        return len(self._new) - len(old)

    def feed(self, data: bytes) -> bytes:
        """What may be sent on; it ends before the model's value until there is a new name."""
        self._buffer += data
        while self._state():
            pass
        out = b"".join(self._out)
        self._out.clear()
        if self._skip and out:
            cut = min(self._skip, len(out))
            out, self._skip = out[cut:], self._skip - cut
        return out

    @property
    def waits(self) -> bool:
        """Whether the model has come, and nothing more is sent until it has a new name."""
        return self.model is not None and self._new is None

    def _emit(self, count: int) -> None:
        self._out.append(bytes(self._buffer[:count]))
        del self._buffer[:count]

    def _in_body(self) -> bool:
        place = self._buffer.find(self._mark)
        if place < 0:
            kept = len(self._mark) - 1
            if len(self._buffer) > kept:
                self._emit(len(self._buffer) - kept)
            return False
        self._emit(place + len(self._mark))
        self._state = self._in_head
        return True

    def _in_head(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._state = self._at_end
            return True
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_BYTES_MAX:
                raise MalformedRequestError("the head of a part of the form is too long")
            return False
        name = _name_in(bytes(self._buffer[:end]))
        self._emit(end + 4)
        if name.lower() != b"model":
            # The empty body of a part ends with the line break of its head.
            self._state = self._in_body
            return True
        if self.model is not None:
            raise MalformedRequestError("the form names its model twice", path="model")
        self._state = self._in_model
        return True

    def _in_model(self) -> bool:
        place = self._buffer.find(self._mark)
        if place < 0:
            if len(self._buffer) > _VALUE_BYTES_MAX:
                raise MalformedRequestError("the model's name is too long", path="model")
            return False
        if self.model is None:
            try:
                self.model = bytes(self._buffer[:place]).decode()
            except UnicodeDecodeError:
                raise MalformedRequestError("the model's name is not UTF-8", path="model") from None
        if self._new is None:
            return False
        self._out.append(self._new)
        del self._buffer[:place]
        self._state = self._in_body
        return True

    def _at_end(self) -> bool:
        self._emit(len(self._buffer))
        return False

    def close(self) -> bytes:
        """What is left, at the end of the form."""
        if self._state in (self._in_body, self._at_end):
            self._emit(len(self._buffer))
        elif self._buffer:
            raise MalformedRequestError("the form ends inside of a part")
        out = b"".join(self._out)
        self._out.clear()
        return out


def _name_in(head: bytes) -> bytes:
    """The name of a part; `MalformedRequestError` where others may read another one."""
    bare = _SAYS_NAME.findall(_QUOTED.sub(b'""', head))
    readings = bare if b"\\" not in head else _SAYS_NAME.findall(head)
    if len(readings) > 1 or b"*" in bare or head.lower().count(b"content-disposition") > 1:
        raise MalformedRequestError("a part of the form says its name in more than one way")
    match = _NAME.search(head)
    return b"" if match is None else match[1]


class Upload:
    """The pieces of one body; `length` is `None` where the client does not say it."""

    def __init__(self, gateway_request: GatewayRequest, server: Server) -> None:
        """Raises `RequestTooLargeError` where the client says that it is too long."""
        encoding = gateway_request.headers.get(b"content-encoding", b"identity")
        if encoding.strip().lower() not in (b"", b"identity"):
            raise InvalidRequestError("a file is passed on as it comes; send it plain", status=415)
        declared = gateway_request.headers.get(b"content-length", b"")
        self.length = int(declared) if declared.isdigit() else None
        self._most = server.upload_bytes_max
        self._piece_s = server.body_s
        self._gateway_request = gateway_request
        self._ends_at = gateway_request.started_at + server.upload_s
        self._size = 0
        self._is_over = self.length == 0
        if self.length is not None and self.length > self._most:
            raise self._too_large()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        gateway_request = self._gateway_request
        while not self._is_over:
            now = time.monotonic()
            gateway_request.heard_at = now
            gateway_request.body_by = min(now + self._piece_s, self._ends_at)
            message = await gateway_request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            self._size += len(piece)
            if self._size > self._most:
                raise self._too_large()
            if not message.get("more_body", False):
                self._is_over = True
                gateway_request.body_by = 0.0
                gateway_request.body_is_unread = False
            if piece:
                return piece
        raise StopAsyncIteration

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(
            f"the file is larger than {self._most} bytes; send less, or raise "
            "server.upload_bytes_max",
            status=413,
        )


class ChangedUpload:
    """An upload whose pieces go through a function; `first` are those that went already."""

    def __init__(
        self, first: bytes, upload: Upload, change: Callable[[bytes], bytes], length: int | None
    ) -> None:
        self.length = length
        self._first = first
        self._upload = upload
        self._change = change

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        while True:
            piece = self._change(await anext(self._upload))
            if piece:
                return piece
