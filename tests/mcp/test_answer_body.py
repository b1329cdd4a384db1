"""A huge or heavy answer of an MCP server fails the request that it answers, and no other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx2
import pytest

from polycall.mcp.answer_body import ANSWER_BYTES_MAX, BoundedBody


class Body(httpx2.AsyncByteStream):
    """Pieces, as they come."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


HUGE = (b" " * 2**20,) * (ANSWER_BYTES_MAX // 2**20 + 1)
HEAVY = (b"[", b"[]," * 200_000, b"1]")


async def read(asked: bytes, *pieces: bytes) -> bytes:
    request = httpx2.Request("POST", "http://server/mcp", content=asked)
    body = BoundedBody(Body(*pieces), request, is_stream=False)
    return b"".join([piece async for piece in body])


@pytest.mark.parametrize(("pieces", "words"), [(HUGE, "is over 8388608"), (HEAVY, "too heavy")])
async def test_the_request_is_answered_with_an_error(pieces: tuple[bytes, ...], words: str) -> None:
    answer = json.loads(await read(b'{"jsonrpc":"2.0","id":7,"method":"tools/call"}', *pieces))
    assert (answer["id"], answer["jsonrpc"]) == (7, "2.0")
    assert words in answer["error"]["message"]


@pytest.mark.parametrize("asked", [b"grant_type=refresh_token&code=1", b"", b'{"method":"x"}'])
async def test_what_has_no_id_fails_as_a_whole(asked: bytes) -> None:
    with pytest.raises(httpx2.ReadError, match="is over 8388608 bytes"):
        await read(asked, *HUGE)


async def test_others_are_passed_as_they_come() -> None:
    assert await read(b"{}", b'{"a":', b"1}") == b'{"a":1}'


async def answered(answer: object, asked: bytes = b'{"id":7,"method":"x"}') -> object:
    request = httpx2.Request("POST", "http://server/mcp", content=asked)
    inner = Body(json.dumps(answer).encode())
    body = BoundedBody(inner, request, is_stream=False, is_answer=True)
    return json.loads(b"".join([piece async for piece in body]))


ERROR = {"code": -32601, "message": "the plan has no such method", "data": {"plan": "free"}}
OTHER = {"code": -32603, "message": "the answer has another id than its request, or none"}


@pytest.mark.parametrize("without_id", [{"jsonrpc": "2.0", "id": None}, {"jsonrpc": "2.0"}, {}])
async def test_an_error_of_a_server_that_read_no_id_is_told(without_id: dict[str, object]) -> None:
    told = await answered({**without_id, "error": ERROR})
    assert told == {"jsonrpc": "2.0", "id": 7, "error": ERROR}


@pytest.mark.parametrize(
    "answer",
    [
        {"id": None, "result": {}},
        {"id": None, "error": None},
        {"id": None, "error": "a text"},
        {"id": None, "error": {"code": "x", "message": "y"}},
        {"id": None, "method": "y", "error": ERROR},
        {"id": 8, "error": ERROR},
        {"id": 8, "result": {}},
        {"method": "notifications/message"},
    ],
)
async def test_another_message_is_an_error_for_its_request(answer: object) -> None:
    assert await answered(answer) == {"jsonrpc": "2.0", "id": 7, "error": OTHER}


@pytest.mark.parametrize("answer", [{"id": 7, "error": ERROR}, {"id": "7", "result": {}}, [], 5])
async def test_what_the_library_reads_is_passed_on(answer: object) -> None:
    assert await answered(answer) == answer
    assert await answered({"id": None, "error": ERROR}, b"code=1") == {"id": None, "error": ERROR}
