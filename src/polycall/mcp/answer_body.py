"""What an MCP server answers over HTTP, weighed before the protocol's library reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import mcp_types as types

from polycall._support import jsontext
from polycall._support.json_weight import HeavyJSONError, PieceWeight

# Of a JSON body, or of one event: the protocol's library takes three times as much to read it.
ANSWER_BYTES_MAX = 16 * 1024 * 1024


class BoundedBody(httpx2.AsyncByteStream):
    """A body that ends with an error where it is larger than any answer, or has more values.

    The library bounds the events of a stream.  Any other body is the answer to one request, and
    what stands in its place is an error for that request: a huge answer fails its call alone.
    """

    def __init__(self, body: httpx2.AsyncByteStream, asked: httpx2.Request, *, is_stream: bool):
        self._body = body
        self._asked = asked
        self._is_stream = is_stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._events() if self._is_stream else self._whole()

    async def _events(self) -> AsyncIterator[bytes]:
        weight = PieceWeight(of_events=True)
        async for piece in self._body:
            try:
                weight.feed(piece)
            except HeavyJSONError as error:
                raise httpx2.ReadError(f"the answer is too heavy: {error}") from None
            yield piece

    async def _whole(self) -> AsyncIterator[bytes]:
        size, weight, pieces = 0, PieceWeight(of_events=False), deque[bytes]()
        async for piece in self._body:
            size += len(piece)
            if size > ANSWER_BYTES_MAX:
                pieces = deque([self._error(f"the answer is over {ANSWER_BYTES_MAX} bytes")])
                break
            try:
                weight.feed(piece)
            except HeavyJSONError as error:
                pieces = deque([self._error(f"the answer is too heavy: {error}")])
                break
            pieces.append(piece)
        while pieces:
            yield pieces.popleft()

    def _error(self, told: str) -> bytes:
        try:
            asked: Any = jsontext.decode(self._asked.content)
        except ValueError:  # a sign-in's form, or no body
            asked = None
        if not isinstance(asked, dict) or "id" not in asked:
            raise httpx2.ReadError(told)
        error = {"code": types.INTERNAL_ERROR, "message": told}
        return jsontext.encode_bytes({"jsonrpc": "2.0", "id": asked["id"], "error": error})

    async def aclose(self) -> None:
        await self._body.aclose()
