"""Bytes and time of a request count until its message is complete, on each of our servers."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.edge.doors import KEY, OTHER_KEY, Door, statuses

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
FLOOD_S = 4.0
GROWTH_MIB_MAX = 50.0
TAKEN_BYTES_MAX = 48 * 2**20


def flood(server: Door, first: bytes, pieces: Iterable[bytes]) -> tuple[int, float]:
    """Send until the server hangs up; the bytes that it took, and the seconds."""
    sent = 0
    started = time.monotonic()
    with server.connect(2.0) as peer, contextlib.suppress(OSError):
        peer.sendall(first)
        for piece in pieces:
            if time.monotonic() - started > FLOOD_S:
                break
            peer.sendall(piece)
            sent += len(piece)
    return sent, time.monotonic() - started


def slowest_answer_s(server: Door, during: Callable[[], object]) -> float:
    """The longest that a good request waited meanwhile."""
    worst = [0.0]
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            started = time.monotonic()
            assert server.is_well()
            worst[0] = max(worst[0], time.monotonic() - started)
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        during()
    finally:
        done.set()
        asking.join(20)
    return worst[0]


def trailers() -> Iterable[bytes]:
    for number in itertools.count():
        yield b"".join(b"x-%d-%d: %b\r\n" % (number, n, b"a" * 1000) for n in range(60))


BODY = b"BODY"  # the server's own, in a chunk
FLOODS: dict[str, tuple[bytes, bytes, Callable[[], Iterable[bytes]]]] = {
    "trailers of a GET": (b"GET", CHUNKED + b"0\r\n", trailers),
    "trailers of a POST": (b"POST", CHUNKED + b"2\r\n{}\r\n0\r\n", trailers),
    "one endless trailer": (b"GET", CHUNKED + b"0\r\nx: ", lambda: itertools.repeat(b"a" * 65536)),
    "one endless trailer's name": (
        b"GET",
        CHUNKED + b"0\r\n",
        lambda: itertools.repeat(b"a" * 999),
    ),
    "endless extensions": (b"POST", CHUNKED + b"1;", lambda: itertools.repeat(b"a=b;" * 9999)),
    "an extension a chunk": (
        *(b"POST", CHUNKED),
        lambda: itertools.repeat(b"1;%b\r\nx\r\n" % (b"a" * 9000)),
    ),
    "endless headers": (b"GET", b"", trailers),
    "one endless header": (b"GET", b"x: ", lambda: itertools.repeat(b"a" * 65536)),
    "an endless target": (b"GET", b"", lambda: itertools.repeat(b"a" * 65536)),
    "a body that nobody reads": (
        *(b"GET", b"content-length: 99999999999\r\n\r\n"),
        lambda: itertools.repeat(b"a" * 65536),
    ),
    "empty lines": (b"", b"", lambda: itertools.repeat(b"\r\n" * 9999)),
    "trailers of a body that is read": (b"POST", CHUNKED + BODY + b"0\r\n", trailers),
    "extensions of a body that is read": (
        *(b"POST", CHUNKED),
        lambda: itertools.repeat(b"1;%b\r\n \r\n" % (b"a" * 60_000)),
    ),
    "a trailer of a body that is read": (
        *(b"POST", CHUNKED + BODY + b"0\r\nx: "),
        lambda: itertools.repeat(b"a" * 65536),
    ),
}


@pytest.mark.parametrize("case", FLOODS)
def test_a2_endless_parts_of_a_request_are_bounded(server: Door, case: str) -> None:
    method, after, pieces = FLOODS[case]
    path = "" if case.endswith("that is read") else "/healthz"
    after = after.replace(BODY, b"%x\r\n%b\r\n" % (len(server.body), server.body))
    first = server.head(method=method, path=path) + after if method else b""
    if case == "an endless target":
        first = b"GET /"
    before = server.resident_mib
    taken: list[tuple[int, float]] = []

    def attack() -> None:
        taken.extend(flood(server, first, pieces()) for _ in range(3))

    slowest_s = slowest_answer_s(server, attack)
    grown = server.resident_mib - before
    assert grown < GROWTH_MIB_MAX, f"{grown:.0f} MiB more after {taken}"
    assert slowest_s < 2.0
    assert all(seconds < FLOOD_S for _, seconds in taken), taken
    # What is taken is a bound's, and what two sockets hold; the clock alone would take more.
    assert all(size < TAKEN_BYTES_MAX for size, _ in taken), taken


@pytest.mark.parametrize(
    "after",
    [
        b"content-length: 1000\r\n\r\n{",
        b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
        b"transfer-encoding: chunked\r\n\r\n0\r\n",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/nowhere"])
def test_a2_a_connection_with_an_unread_body_is_closed(
    server: Door, path: str, after: bytes
) -> None:
    received = server.exchange(server.head(method=b"GET", path=path) + after, timeout_s=6)
    started = time.monotonic()
    with server.connect(6) as peer:
        peer.sendall(server.head(method=b"GET", path=path) + after)
        while peer.recv(65536):
            pass
    assert time.monotonic() - started < 5
    head = received.partition(b"\r\n\r\n")[0]
    assert b"\r\nconnection: close" in head
    assert len(statuses(received)) == 1


def test_a2_slow_bodies_end_by_the_clock(doors: dict[str, Door]) -> None:
    server = doors["serve"]

    def seconds_of(asked: tuple[bytes, str]) -> float:
        method, path = asked
        started = time.monotonic()
        with server.connect(10) as peer, contextlib.suppress(OSError):
            lines = b"content-length: 100000\r\n\r\n"
            peer.sendall(server.head(lines, method=method, path=path))
            while time.monotonic() - started < 9:
                peer.sendall(b" ")
                time.sleep(0.1)
        return time.monotonic() - started

    asked = [(b"GET", "/healthz"), (b"POST", server.path), (b"PUT", "/v1/models")]
    with ThreadPoolExecutor(len(asked)) as threads:
        took = dict(zip(asked, threads.map(seconds_of, asked), strict=True))
    assert max(took.values()) < 8, took


def test_a2_requests_sent_ahead_are_bounded(server: Door) -> None:
    before = server.resident_mib
    lines = b"content-length: %d\r\n\r\n" % len(server.body)
    ahead = (server.head(lines) + server.body) * 200

    def attack() -> None:
        for _ in range(3):
            flood(server, b"", itertools.repeat(ahead))

    attack()
    assert server.resident_mib - before < GROWTH_MIB_MAX
    assert server.is_well()


def test_a2_who_leaves_is_noticed_behind_others(doors: dict[str, Door]) -> None:
    # The client of an answer that others were sent after is gone with them.
    server = doors["serve"]
    before = cancelled(server)  # by others
    body = server.body.replace(b"up/ok", b"up/hang")
    lines = b"content-length: %d\r\n\r\n" % len(body)
    with server.connect() as peer:
        peer.sendall((server.head(lines) + body) * 3)
        time.sleep(0.3)
    ends_at = time.monotonic() + 5
    while time.monotonic() < ends_at and cancelled(server) == before:
        time.sleep(0.1)
    assert cancelled(server) > before


def cancelled(server: Door) -> set[str]:
    with contextlib.closing(sqlite3.connect(server.folder / "polycall.db")) as database:
        rows = database.execute("SELECT id FROM ledger WHERE outcome = 'cancelled'").fetchall()
    return {row[0] for row in rows}


# A3


def trailed(server: Door, auth: bytes, trailer: bytes) -> bytes:
    chunk = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(server.body), server.body, trailer)
    lines = (auth, b"connection: close\r\n", CHUNKED)
    return server._replace(auth=b"").head(*lines) + chunk


TRAILERS = [
    b"authorization: Bearer %b\r\n" % KEY.encode(),
    b"Authorization: Bearer %b\r\nx-other: 1\r\n" % KEY.encode(),
    b"x-api-key: %b\r\n" % KEY.encode(),
    b"x-goog-api-key: %b\r\napi-key: %b\r\n" % (KEY.encode(), KEY.encode()),
    b"X-GOOG-API-KEY:\t%b \r\ncookie: key=%b\r\n" % (KEY.encode(), KEY.encode()),
]


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("name", ["serve", "mcp"])
def test_a3_a_key_in_a_trailer_opens_nothing(
    doors: dict[str, Door], name: str, trailer: bytes
) -> None:
    server = doors[name]
    for _ in range(5):  # whether trailers come in time for the application is chance
        assert statuses(server.exchange(trailed(server, b"", trailer))) == [401]
        pieces = trailed(server, b"", trailer).rpartition(b"0\r\n")
        with server.connect(3) as peer:
            peer.sendall(pieces[0])
            peer.sendall(pieces[1] + pieces[2])
            assert statuses(peer.recv(65536)) == [401]


def test_a3_who_is_in_the_head_pays(doors: dict[str, Door]) -> None:
    server = doors["serve"]
    bob = b"authorization: Bearer %b\r\n" % OTHER_KEY.encode()
    for trailer in TRAILERS:
        assert statuses(server.exchange(trailed(server, bob, trailer))) == [200]
    time.sleep(1.5)
    with contextlib.closing(sqlite3.connect(server.folder / "polycall.db")) as database:
        names = [
            name
            for (name,) in database.execute("SELECT key FROM ledger ORDER BY created DESC LIMIT 5")
        ]
    assert names == ["bob"] * len(TRAILERS)


@pytest.mark.parametrize(
    "trailer",
    [b"polycall-lossy: nonsense\r\n", b"content-encoding: gzip\r\n", b"expect: 100-continue\r\n"],
)
def test_a3_no_other_trailer_becomes_a_header(server: Door, trailer: bytes) -> None:
    assert statuses(server.exchange(trailed(server, server.auth, trailer))) == [200]


@pytest.mark.parametrize("second", [OTHER_KEY, KEY, ""])
def test_a3_two_keys_are_none(doors: dict[str, Door], second: str) -> None:
    server = doors["serve"]
    lines = (b"authorization: Bearer %b\r\n" % second.encode(), b"content-length: 2\r\n\r\n{}")
    assert statuses(server.exchange(server.head(*lines))) == [400]


def test_a2_the_last_answer_is_read_in_spite_of_unread_bytes(doors: dict[str, Door]) -> None:
    # Closing at once would reset the connection while the client is still sending.
    server = doors["serve"]
    for _ in range(5):
        with server.connect(5) as peer:
            peer.sendall(server.head(b"content-length: 60000000\r\n\r\n"))
            received = b""
            with contextlib.suppress(socket.timeout):
                for _ in range(100):
                    peer.sendall(b"x" * 65536)
            peer.shutdown(socket.SHUT_WR)
            while piece := peer.recv(65536):
                received += piece
        assert statuses(received) == [413]
