"""An MCP server's answers over HTTP, weighed before the protocol's library reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import mcp_types as types
import msgspec
from mcp.shared.dispatcher import coerce_request_id

from polycall._support import jsontext
from polycall._support.json_weight import HeavyJSONError, PieceWeight

# Of a JSON body, or of one event: the protocol's library takes three times as much to read it.
ANSWER_BYTES_MAX = 8 * 1024 * 1024
# And it reads it in the loop, each value several times.
OBJECTS_MAX, VALUES_MAX = 40_000, 250_000


class _Envelope(msgspec.Struct):
    """The fields that say to which request a message belongs."""

    id: int | str | None = None
    method: str | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw = msgspec.Raw(b"")


class _Error(msgspec.Struct):
    """The fields that an error has at least."""

    code: int
    message: str


def _is_error(said: msgspec.Raw) -> bool:
    try:
        msgspec.json.decode(said, type=_Error)
    except msgspec.DecodeError:
        return False
    return True


def _weight(*, of_events: bool) -> PieceWeight:
    return PieceWeight(of_events=of_events, objects_max=OBJECTS_MAX, values_max=VALUES_MAX)


class BoundedBody(httpx2.AsyncByteStream):
    """A body that ends with an error where it is larger than any answer, or has more values.

    The library bounds the events of a stream.  Any other body is the answer to one request, and
    what stands in its place is an error for that request: a huge answer fails its call alone.  One
    that `is_answer` and has another id would leave its request without any; an error without one
    is its request's.
    """

    def __init__(
        self,
        body: httpx2.AsyncByteStream,
        asked: httpx2.Request,
        *,
        is_stream: bool,
        is_answer: bool = False,
    ) -> None:
        self._body = body
        self._asked = asked
        self._is_stream = is_stream
        self._is_answer = is_answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._events() if self._is_stream else self._whole()

    async def _events(self) -> AsyncIterator[bytes]:
        weight = _weight(of_events=True)
        async for piece in self._body:
            try:
                weight.feed(piece)
            except HeavyJSONError as error:
                raise httpx2.ReadError(f"the answer is too heavy: {error}") from None
            yield piece

    async def _whole(self) -> AsyncIterator[bytes]:
        size, weight, pieces = 0, _weight(of_events=False), list[bytes]()
        async for piece in self._body:
            size += len(piece)
            if size > ANSWER_BYTES_MAX:
                pieces = [self._error(f"the answer is over {ANSWER_BYTES_MAX} bytes")]
                break
            try:
                weight.feed(piece)
            except HeavyJSONError as error:
                pieces = [self._error(f"the answer is too heavy: {error}")]
                break
            pieces.append(piece)
        data = b"".join(pieces)
        pieces.clear()
        if self._is_answer:
            data = self._own(data)
        if data:
            yield data  # in one piece, of which the library makes no copy

    def _own(self, answer: bytes) -> bytes:
        """The answer; an error for its request in the place of some other message."""
        asked = self._id()
        try:
            found = msgspec.json.decode(answer, type=_Envelope)
        except (msgspec.DecodeError, RecursionError):
            return answer  # the library says what is wrong
        if asked is None:
            return answer
        if found.method is msgspec.UNSET:
            if found.id is None and _is_error(found.error):  # of a server that read no id
                return jsontext.encode_bytes({"jsonrpc": "2.0", "id": asked, "error": found.error})
            if found.id is not None and coerce_request_id(found.id) == coerce_request_id(asked):
                return answer
        return self._error("the answer has another id than its request, or none")

    def _error(self, told: str) -> bytes:
        asked = self._id()
        if asked is None:
            raise httpx2.ReadError(told)
        error = {"code": types.INTERNAL_ERROR, "message": told}
        return jsontext.encode_bytes({"jsonrpc": "2.0", "id": asked, "error": error})

    def _id(self) -> types.RequestId | None:
        """The request's id; `None` for a sign-in's form, no body, or a message without one."""
        try:
            return msgspec.json.decode(self._asked.content, type=_Envelope).id
        except msgspec.DecodeError:
            return None

    async def aclose(self) -> None:
        await self._body.aclose()
