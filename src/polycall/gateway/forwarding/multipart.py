"""Finds the model in a form while the form passes, and writes the provider's own name instead.

Only the heads of the parts are looked at; files pass as they come.  A form is read by a provider
whose reader may be another, so what is written in any but the usual way is refused.
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
# Boundaries, names and heads as clients write them.  What the standards also allow, or some servers
# take besides (folded lines, tabs, single quotes, bare line feeds), is read in several ways.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]")
_CHARS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PLAIN_TOKEN = re.compile(_CHARS)
_HEADER = re.compile(rf"({_CHARS}):([^\x00-\x1f\x7f]*)")
_PARAMETER = re.compile(rf' *+; *+({_CHARS}+)=("(?:[^"\\]|\\.)*+"|{_CHARS}+)')
_PARAMETERS = re.compile(rf"(?:{_PARAMETER.pattern})*+")
_FIELD = re.compile(r"[A-Za-z0-9_.:\[\] -]+")
# A reader who takes no backslash for an escape finds this in a quoted text.
_SAYS_NAME = re.compile(r"[;\s]name[*\d\s]*+=", re.IGNORECASE)
_AFTER_MARK = b"\r\n\t -"  # of these, all but a line break and two hyphens are refused
_PLAIN_ENCODINGS = ("7bit", "8bit", "binary")
_PART_HEADERS = ("content-disposition", "content-transfer-encoding")


def boundary_of(content_type: str) -> bytes:
    """The boundary that a content type names; `MalformedRequestError` where it is no form."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise MalformedRequestError("expected a form (multipart/form-data with a boundary)")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise MalformedRequestError(
            "the form's boundary has more than 200 characters, or others than letters, digits, "
            "spaces and '()+_,-./:=?"
        )
    return boundary.encode()


def content_type_of(boundary: bytes) -> str:
    """The form's content type for a provider: with this boundary, once."""
    text = boundary.decode()
    is_plain = _PLAIN_TOKEN.fullmatch(text) is not None
    return f"multipart/form-data; boundary={text if is_plain else chr(34) + text + chr(34)}"


class FormScanner:
    """Bytes of a form in, the same out with another value for `model`.

    `model` is the value that was there, once it has come.  A second one is refused, since nobody
    knows which of the two a provider takes.  `content_type` names the boundary that was read here.
    """

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"--" + boundary
        self.content_type = content_type_of(boundary)
        self._buffer = bytearray(b"\r\n")  # so that the first boundary looks like the others
        self._skip = 2  # bytes of ours that are not sent
        self._state = self._before_parts
        self._out: list[bytes] = []
        self.model: str | None = None
        self._new: bytes | None = None

    def rename(self, model: str) -> int:
        """Send this name; gives by how many bytes the form grows.  Called once `model` is there."""
        old = b"" if self.model is None else self.model.encode()
        self._new = model.encode()
        return len(self._new) - len(old)

    def feed(self, data: bytes) -> bytes:
        """The bytes that may be sent on.

        They end before the model's value until there is a new name.
        """
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

    def _find_mark(self) -> int:
        """The place of the line break before the next boundary, or -1.

        Raises where a boundary stands after half a line break: some servers take that for one.  A
        line that continues with other letters is none.
        """
        place = self._buffer.find(self._mark)
        while place >= 0:
            after = place + len(self._mark)
            if after == len(self._buffer):
                return -1
            before = bytes(self._buffer[max(place - 2, 0) : place])
            if self._buffer[after] not in _AFTER_MARK:
                before = b""
            if before == b"\r\n":
                return place - 2
            if before.endswith((b"\r", b"\n")):
                raise MalformedRequestError(
                    "the form's boundary stands after a bare line feed or carriage return; end "
                    "lines with both"
                )
            place = self._buffer.find(self._mark, place + 1)
        return -1

    def _before_parts(self) -> bool:
        place = self._find_mark()
        if self._buffer[: place if place >= 0 else -len(self._mark) - 2].strip(b"\r\n"):
            raise MalformedRequestError("the form does not begin with its boundary")
        return self._in_body()

    def _in_body(self) -> bool:
        place = self._find_mark()
        if place < 0:
            kept = len(self._mark) + 2
            if len(self._buffer) > kept:
                self._emit(len(self._buffer) - kept)
            return False
        self._emit(place + 2 + len(self._mark))
        self._state = self._in_head
        return True

    def _in_head(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._emit(2)
            self._state = self._at_end
            return True
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _HEAD_BYTES_MAX:
                raise MalformedRequestError("the head of a part of the form is too long")
            return False
        name = _name_in(bytes(self._buffer[:end]))
        # The empty body of a part ends with the line break of its head.
        self._emit(end + 2)
        if _folded(name) != "model":
            self._state = self._in_body
            return True
        self._emit(2)
        if self.model is not None:
            raise MalformedRequestError("the form names its model twice", path="model")
        self._state = self._in_model
        return True

    def _in_model(self) -> bool:
        place = self._find_mark()
        if place < 0:
            if len(self._buffer) > _VALUE_BYTES_MAX:
                raise MalformedRequestError("the model's name is too long", path="model")
            return False
        if self.model is None:
            try:
                self.model = bytes(self._buffer[:place]).decode()
            except UnicodeDecodeError:
                raise MalformedRequestError("the model's name is not UTF-8", path="model") from None
            if not self.model.isprintable():
                raise MalformedRequestError("the model's name is no single line", path="model")
        if self._new is None:
            return False
        self._out.append(self._new)
        del self._buffer[:place]
        self._state = self._in_body
        return True

    def _at_end(self) -> bool:
        if self._buffer.strip(b"\r\n"):
            raise MalformedRequestError("the form continues after its last boundary")
        self._emit(len(self._buffer))
        return False

    def close(self) -> bytes:
        """The bytes left at the end of the form."""
        if self._state in (self._in_body, self._at_end):
            self._emit(len(self._buffer))
        elif self._buffer:
            raise MalformedRequestError("the form ends inside of a part")
        out = b"".join(self._out)
        self._out.clear()
        return out


def _name_in(head: bytes) -> str:
    """The name of a part; `MalformedRequestError` where others may read another one."""
    text = head.decode("latin-1")
    first, *lines = text.split("\r\n")
    headers = [_HEADER.fullmatch(line) for line in lines]
    found = [(each[1].lower(), each[2].strip(" ")) for each in headers if each is not None]
    own = {name: value for name, value in found if name in _PART_HEADERS}
    if first or len(found) < len(lines) or sum(name in own for name, _ in found) > len(own):
        raise MalformedRequestError(
            "a part of the form has a head that is read in more than one way: write each header "
            "once and in one line, 'name: value'"
        )
    encoding = own.get("content-transfer-encoding", "binary")
    if encoding.lower() not in _PLAIN_ENCODINGS:
        raise MalformedRequestError("a part of the form is encoded; send it as it is")
    disposition = own.get("content-disposition", "")
    kind, _, parameters = disposition.partition(";")
    is_whole = not parameters or _PARAMETERS.fullmatch(";" + parameters) is not None
    pairs = _PARAMETER.findall(";" + parameters) if parameters and is_whole else []
    names = [value for name, value in pairs if name.lower() == "name"]
    name = names[0].strip('"') if len(names) == 1 else ""
    escapes = len(_SAYS_NAME.findall(disposition)) if "\\" in disposition else 1
    is_extended = any(name.lower().startswith("name*") for name, _ in pairs)
    is_odd = not is_whole or is_extended or escapes > 1 or _FIELD.fullmatch(name) is None
    if kind.strip().lower() != "form-data" or is_odd:
        raise MalformedRequestError(
            "a part of the form says its name in more than one way, or in none that every server "
            "reads: write 'content-disposition: form-data; name=\"NAME\"', with letters and digits"
        )
    return name


def _folded(name: str) -> str:
    """A name as the most lenient server reads it: `Model`, `model[]`, ` model`."""
    return "".join(filter(str.isalnum, name)).lower()


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
