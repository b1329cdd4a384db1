"""Long frames of a WebSocket are taken in pieces, and say the same."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.helpers import websocket_mask
from bench.socket_doors import frame, header

from polycall.gateway.http import frame_splitter
from polycall.gateway.http.frame_splitter import FrameSplitter
from polycall.voices.connection import ConnectionClosedError, WebSocket

MASK = bytes((7, 200, 0, 99))
FRAMES: tuple[tuple[str, bytes, dict[str, Any]], ...] = (
    ("short", b"a" * 9, {}),
    ("long", bytes(range(256)) * 3, {}),
    ("not by four", "긴 글 😀".encode() * 41, {"opcode": 2}),
    ("a beginning", b"b" * 801, {"is_final": False}),
    ("a ping in between", b"p" * 125, {"opcode": 9}),
    ("an end", b"c" * 802, {"opcode": 0}),
    ("nothing", b"", {}),
)


def masked(data: bytes, **options: object) -> bytes:
    made = frame(data, **options)  # pyright: ignore[reportArgumentType]
    head = made[: len(made) - len(data) - 4]
    return head + MASK + bytes(each ^ MASK[n % 4] for n, each in enumerate(data))


def messages(data: bytes, splitter: FrameSplitter | None = None) -> list[tuple[int, bytes]]:
    """What a reader makes of it; control frames where they stand."""
    found: list[tuple[int, bytes]] = []
    opcode, begun, place = 0, b"", 0
    while place < len(data):
        first, size = data[place], data[place + 1] & 0x7F
        assert data[place + 1] & 0x80  # as all of a client are
        place += 2
        if more := {126: 2, 127: 8}.get(size, 0):
            size = int.from_bytes(data[place : place + more], "big")
            place += more
        mask, payload = data[place : place + 4], data[place + 4 : place + 4 + size]
        place += 4 + size
        payload = bytes(each ^ mask[n % 4] for n, each in enumerate(payload))
        if splitter is not None and payload == splitter.token:
            found.append((first & 0x0F, splitter.long.popleft()))
            continue
        if first & 0x08:
            found.append((first & 0x0F, payload))
            continue
        opcode, begun = opcode or first & 0x0F, begun + payload
        if first & 0x80:
            found.append((opcode, begun))
            opcode, begun = 0, b""
    return found


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_splitter, "SPLIT_BYTES", 200)


@pytest.mark.parametrize("seed", range(30))
def test_law_wherever_it_is_cut_the_messages_are_the_same(seed: int) -> None:
    data = b"".join(masked(payload, **options) for _, payload, options in FRAMES)
    chance = random.Random(seed)
    pieces = chance.choice((1, 3, 40, 400))
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(pieces))})
    splitter = FrameSplitter(10_000)
    given = [splitter.feed(data[start:end]) for start, end in pairwise(cuts)]
    assert messages(b"".join(given), splitter) == messages(data)
    assert not splitter.long
    if pieces > 1:
        longest = max(end - start for start, end in pairwise(cuts))
        assert all(len(each) <= longest + 200 for each in given)  # nothing is held until its end


@pytest.mark.parametrize(
    "data",
    [
        masked(b"x" * 10_000),  # too long
        b"\x82\x7f" + (2**62).to_bytes(8, "big") + MASK + b"x" * 999,
        b"\x81\x7e\x03\xe8" + b"x" * 1000,  # not masked
        b"\x89\xfe\x03\xe8" + MASK + b"x" * 1000,  # a ping that is none
        masked(b"x" * 100) * 9,
    ],
)
def test_what_a_reader_refuses_and_what_is_short_passes_as_it_is(data: bytes) -> None:
    assert FrameSplitter(10_000).feed(data) == data


def test_a_long_message_is_held_once() -> None:
    piece, count = b"x" * 32_768, 200
    splitter = FrameSplitter(16_000_000)
    assert splitter.feed(header(count * len(piece))[:-4] + MASK) == b""
    tracemalloc.start()
    given = b"".join(splitter.feed(piece) for _ in range(count))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert given == frame(splitter.token)
    unmasked = bytes(each ^ ord("x") for each in MASK)
    assert list(splitter.long) == [unmasked * (count * len(piece) // 4)]
    assert peak < 1.3 * count * len(piece)


def test_no_frame_of_a_client_stands_for_another() -> None:
    splitter, other = FrameSplitter(10_000), FrameSplitter(10_000)
    assert splitter.token != other.token
    assert splitter.feed(masked(other.token)) == masked(other.token)


@pytest.mark.parametrize("is_text", [True, False])
async def test_a_long_frame_to_a_provider_has_one_copy(*, is_text: bool) -> None:
    frame = "긴 글 ".encode() * 800_000
    sent: list[bytes] = []
    transport = SimpleNamespace(writelines=sent.extend, is_closing=lambda: False)
    drained: list[bool] = []

    async def drain() -> None:
        drained.append(True)

    protocol = SimpleNamespace(writing_paused=True, _drain_helper=drain)
    inner = SimpleNamespace(_writer=SimpleNamespace(transport=transport, protocol=protocol))
    socket = WebSocket(
        None, inner, WSMsgType, SimpleNamespace(pause_reading=None, resume_reading=None)
    )
    tracemalloc.start()
    await socket.send(frame, is_text=is_text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * len(frame)
    head, payload = sent
    websocket_mask(head[-4:], payload)  # pyright: ignore[reportArgumentType]
    assert head[:10] == bytes((0x81 if is_text else 0x82, 0xFF)) + len(frame).to_bytes(8, "big")
    assert payload == frame
    assert drained == [True]
    transport.is_closing = lambda: True
    with pytest.raises(ConnectionClosedError, match="is closed"):
        await socket.send(frame)
