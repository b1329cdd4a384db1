"""HTTP as strict as the strictest, on each of our servers: framing, targets, heads, reuse.

The cases are those on which servers and proxies have differed, and requests were smuggled.
docs/http.md has the rule that each stands for.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from tests.edge.doors import Door, door, statuses
from tests.gateway.upstream import bad_upstream

CHUNKED = b"transfer-encoding: chunked\r\n"
END = b"\r\n0\r\n\r\n"
# What would be a second request for whoever ends the first one earlier.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"

# What follows the usual head of a POST, without its empty line.
FRAMING: dict[str, bytes] = {
    "CL.TE": b"content-length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    "TE.CL": CHUNKED + b"content-length: 4\r\n\r\n5c\r\n" + SMUGGLED + END,
    "TE.TE, one of them no encoding": CHUNKED + b"transfer-encoding: x\r\n\r\n2\r\n{}" + END,
    "TE twice": CHUNKED * 2 + b"\r\n2\r\n{}" + END,
    "chunked in chunks": b"transfer-encoding: chunked, chunked\r\n\r\n2\r\n{}" + END,
    "chunked is not the last": b"transfer-encoding: chunked, gzip\r\n\r\n2\r\n{}" + END,
    "another encoding before": b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}" + END,
    "identity": b"transfer-encoding: identity\r\n\r\n2\r\n{}" + END,
    "a prefix": b"transfer-encoding: xchunked\r\n\r\n2\r\n{}" + END,
    "a parameter": b"transfer-encoding: chunked;a=b\r\n\r\n2\r\n{}" + END,
    "in quotes": b'transfer-encoding: "chunked"\r\n\r\n2\r\n{}' + END,
    "an empty TE": b"transfer-encoding: \r\n\r\n2\r\n{}" + END,
    "a vertical tab": b"transfer-encoding: \x0bchunked\r\n\r\n2\r\n{}" + END,
    "a space before the colon of TE": b"transfer-encoding : chunked\r\n\r\n2\r\n{}" + END,
    "a space before the colon of CL": b"content-length : 2\r\n\r\n{}",
    "a tab before a colon": b"x\t: y\r\ncontent-length: 2\r\n\r\n{}",
    "a folded TE": b"transfer-encoding:\r\n chunked\r\n\r\n2\r\n{}" + END,
    "a folded line": b"x: y\r\n z\r\ncontent-length: 2\r\n\r\n{}",
    "a folded line with a tab": b"x: y\r\n\tz\r\ncontent-length: 2\r\n\r\n{}",
    "CL twice, different": b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "CL twice, the same": b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a list of CL": b"content-length: 2, 2\r\n\r\n{}",
    "CL with a sign": b"content-length: +2\r\n\r\n{}",
    "a negative CL": b"content-length: -2\r\n\r\n{}",
    "CL in hexadecimal": b"content-length: 0x2\r\n\r\n{}",
    "CL with a space in it": b"content-length: 1 2\r\n\r\n{}",
    "an empty CL": b"content-length: \r\n\r\n",
    "CL past 64 bits": b"content-length: 18446744073709551618\r\n\r\n{}",
    "CL with an underscore": b"content-length: 0_2\r\n\r\n{}",
    "a bare LF in the head": b"x: y\ncontent-length: 2\r\n\r\n{}",
    "a bare LF ends the head": b"content-length: 2\r\n\n{}",
    "a bare CR in the head": b"x: y\rcontent-length: 2\r\n\r\n{}",
    "a NUL in a value": b"x: y\0z\r\ncontent-length: 2\r\n\r\n{}",
    "a control in a value": b"x: y\x01\r\ncontent-length: 2\r\n\r\n{}",
    "no colon": b"x\r\ncontent-length: 2\r\n\r\n{}",
    "an empty name": b": x\r\ncontent-length: 2\r\n\r\n{}",
    "a name of bytes": b"\xc3\xa9: x\r\ncontent-length: 2\r\n\r\n{}",
    "a name with a slash": b"x(y): x\r\ncontent-length: 2\r\n\r\n{}",
    "a chunk's size past 64 bits": CHUNKED + b"\r\n10000000000000002\r\n{}" + END,
    "a chunk's size of many digits": CHUNKED + b"\r\n" + b"f" * 40 + b"\r\n{}" + END,
    "a chunk's size with a sign": CHUNKED + b"\r\n+2\r\n{}" + END,
    "a negative chunk": CHUNKED + b"\r\n-2\r\n{}" + END,
    "a chunk's size with a prefix": CHUNKED + b"\r\n0x2\r\n{}" + END,
    "a chunk's size with an underscore": CHUNKED + b"\r\n0_2\r\n{}" + END,
    "a chunk without a size": CHUNKED + b"\r\n\r\n{}" + END,
    "a space before a chunk's size": CHUNKED + b"\r\n 2\r\n{}" + END,
    "a space behind a chunk's size": CHUNKED + b"\r\n2 \r\n{}" + END,
    "a chunk's line ends with LF": CHUNKED + b"\r\n2\n{}" + END,
    "a chunk's line ends with CR": CHUNKED + b"\r\n2\r{}" + END,
    "an extension ends with LF": CHUNKED + b"\r\n2;\n{}" + END,
    "a chunk ends with LF": CHUNKED + b"\r\n2\r\n{}\n0\r\n\r\n",
    "a chunk is longer than it says": CHUNKED + b"\r\n2\r\n{}{}" + END,
    "a chunk ends with nothing": CHUNKED + b"\r\n2\r\n{}0\r\n\r\n",
    "a trailer with a bare LF": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nx: y\n\r\n",
    "a trailer without a colon": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nx\r\n\r\n",
    "Host twice": b"host: evil\r\ncontent-length: 2\r\n\r\n{}",
    "Host twice, the same": b"Host: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("case", FRAMING)
def test_a25_ambiguous_framing_is_refused(server: Door, case: str) -> None:
    received = server.exchange(server.head() + FRAMING[case], timeout_s=6)
    assert statuses(received) == [400], received[:300]
    assert b"\r\nconnection: close\r\n" in received


HOST = b"host: x\r\n"
# Whole heads, and how they are refused.
HEADS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "no Host": (b"GET /healthz HTTP/1.1\r\n\r\n", (400,)),
    "Host is a path": (b"GET /healthz HTTP/1.1\r\nhost: x/y\r\n\r\n", (400,)),
    "Host has a user": (b"GET /healthz HTTP/1.1\r\nhost: a@b\r\n\r\n", (400,)),
    "Host has a space": (b"GET /healthz HTTP/1.1\r\nhost: a b\r\n\r\n", (400,)),
    "two in one Host": (b"GET /healthz HTTP/1.1\r\nhost: a, b:x\r\n\r\n", (400,)),
    "a port that is none": (b"GET /healthz HTTP/1.1\r\nhost: a:b\r\n\r\n", (400,)),
    "an unknown Expect": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"expect: tea\r\n\r\n", (417,)),
    "Expect and more": (
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"expect: 100-continue, tea\r\n\r\n",
        (417,),
    ),
    "an empty Expect": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"expect: \r\n\r\n", (417,)),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", (505,)),
    "HTTP/2.0": (b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", (505,)),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "HTTP/1.2": (b"GET /healthz HTTP/1.2\r\n" + HOST + b"\r\n", (400, 505)),
    "HTTP/3.7": (b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n", (400, 505)),
    "a version of digits": (b"GET /healthz HTTP/11.1\r\n" + HOST + b"\r\n", (400,)),
    "a version in small letters": (b"GET /healthz http/1.1\r\n" + HOST + b"\r\n", (400,)),
    "chunks of HTTP/1.0": (
        b"POST /healthz HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n2\r\n{}" + END,
        (400,),
    ),
    "a method in small letters": (b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "no such method": (b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a tab in the request line": (b"GET\t/healthz\tHTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "two spaces behind the method": (b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "two spaces before the version": (b"GET /healthz  HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a space behind it": (b"GET /healthz HTTP/1.1 \r\n" + HOST + b"\r\n", (400,)),
    "a space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a control in the target": (b"GET /a\x01b HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a fragment": (b"GET /healthz#x HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "no path": (b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "GET *": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "another scheme": (b"GET ftp://x/healthz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "CONNECT to a path": (b"CONNECT /healthz HTTP/1.1\r\n" + HOST + b"\r\n", (400,)),
    "a space before the first header": (
        b"GET /healthz HTTP/1.1\r\n x: y\r\n" + HOST + b"\r\n",
        (400,),
    ),
    "LF for every CRLF": (b"GET /healthz HTTP/1.1\nhost: x\n\n", (400,)),
    "CR for every CRLF": (b"GET /healthz HTTP/1.1\rhost: x\r\r", (400,)),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,)),
}


@pytest.mark.parametrize("case", HEADS)
def test_a25_heads_that_are_no_request_are_refused(server: Door, case: str) -> None:
    head, expected = HEADS[case]
    found = statuses(server.exchange(head, timeout_s=6))
    assert len(found) == 1
    assert found[0] in expected


# What is allowed, and was refused by one server or another.
ALLOWED: dict[str, bytes] = {
    "an extension": b"2;a=b",
    "an extension in quotes": b'2;a="b;c"',
    "leading zeros": b"00000002",
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_is_allowed_is_served(server: Door, case: str) -> None:
    size = ALLOWED[case].replace(b"2", b"%x" % len(server.body))
    body = size + b"\r\n" + server.body + b"\r\n0\r\nx-trailer: y\r\n\r\n"
    received = server.exchange(server.head(CHUNKED, b"connection: close\r\n\r\n") + body)
    assert statuses(received) == [200]


@pytest.mark.parametrize(
    "target", ["http://elsewhere.example{}", "https://u:p@elsewhere.example:1{}"]
)
def test_absolute_targets_are_taken(server: Door, target: str) -> None:
    lines = (b"content-length: %d\r\n" % len(server.body), b"connection: close\r\n\r\n")
    head = server.head(*lines, path=target.format(server.path))
    assert statuses(server.exchange(head + server.body)) == [200]


def test_empty_lines_before_a_request_are_passed_over(server: Door) -> None:
    lines = (b"content-length: %d\r\n" % len(server.body), b"connection: close\r\n\r\n")
    assert statuses(server.exchange(b"\r\n\r\n" + server.head(*lines) + server.body)) == [200]


def test_a25_spaces_are_looked_at_in_every_request_of_a_connection(server: Door) -> None:
    length = b"content-length: %d\r\n" % len(server.body)
    one = server.head(length, b"\r\n") + server.body
    two = one.replace(b" /", b"  /", 1)
    assert statuses(server.exchange(one + two + one)) in ([200], [200, 400])
    with server.connect(5) as peer:  # in pieces, the first of them behind the method
        peer.sendall(one + two[: two.index(b" ") + 1])
        time.sleep(0.05)
        peer.sendall(two[two.index(b" ") + 1 :])
        received = b""
        while piece := _received(peer):
            received += piece
    assert statuses(received) == [200, 400]
    with server.connect(5) as peer:
        for byte in one[:40]:
            peer.sendall(bytes([byte]))
            time.sleep(0.001)
        peer.sendall(one[40:])
        assert statuses(peer.recv(65536)) == [200]


def test_requests_sent_ahead_are_answered_in_order(server: Door) -> None:
    length = b"content-length: %d\r\n" % len(server.body)
    one = server.head(length, b"\r\n") + server.body
    last = server.head(length, b"connection: close\r\n\r\n") + server.body
    assert statuses(server.exchange(one * 4 + last)) == [200] * 5


@pytest.mark.parametrize("junk", [b"junk\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", SMUGGLED])
def test_nothing_is_served_after_close(server: Door, junk: bytes) -> None:
    length = b"content-length: %d\r\n" % len(server.body)
    last = server.head(length, b"connection: close\r\n\r\n") + server.body
    assert statuses(server.exchange(last + junk)) == [200]


def test_a_body_is_asked_for_where_it_waits(server: Door) -> None:
    length = b"content-length: %d\r\n" % len(server.body)
    with server.connect(5) as peer:
        peer.sendall(server.head(length, b"expect: 100-Continue\r\n", b"\r\n"))
        assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(server.body)
        assert peer.recv(100).startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_told_nothing_of_continuing(server: Door) -> None:
    length = b"content-length: %d\r\n" % len(server.body)
    head = server.head(length, b"expect: 100-continue\r\n", b"\r\n")
    received = server.exchange(head.replace(b"HTTP/1.1", b"HTTP/1.0") + server.body)
    assert statuses(received) == [200]
    assert b"connection: close" in received


def test_head_has_no_body(server: Door) -> None:
    received = server.exchange(
        server.head(b"connection: close\r\n\r\n", method=b"HEAD", path="/healthz")
    )
    assert received.endswith(b"\r\n\r\n")
    assert len(statuses(received)) == 1


# Draining


# What the stream of each path ends with.
CUT = {
    "/v1/chat/completions": b'"error"',
    "/v1/messages": b"event: error",
    "/v1/responses": b"response.failed",
}


def test_a25_streams_that_draining_cuts_end_with_an_error(tmp_path: Path) -> None:
    with (
        bad_upstream() as upstream,
        door("serve", tmp_path, upstream.base_url, "drain_s = 1") as one,
        contextlib.ExitStack() as peers,
    ):
        received: dict[str, bytes] = {}
        open_peers: dict[str, socket.socket] = {}
        for path in CUT:
            asked: dict[str, object] = {"model": "up/slow-0.05", "stream": True}
            if path == "/v1/responses":
                asked |= {"input": "hi", "max_output_tokens": 99}
            else:
                asked |= {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
            body = json.dumps(asked).encode()
            lines = (b"content-length: %d\r\n" % len(body), b"\r\n")
            peer = open_peers[path] = peers.enter_context(one.connect(20))
            peer.sendall(one.head(*lines, path=path) + body)
            received[path] = peer.recv(65536)
            assert statuses(received[path]) == [200]
        one.terminate()
        started = time.monotonic()
        for path, peer in open_peers.items():
            while piece := _received(peer):
                received[path] += piece
        assert time.monotonic() - started < 8
    for path, word in CUT.items():
        assert word in received[path], path
        assert b"restarting" in received[path], path
        assert received[path].endswith(b"0\r\n\r\n"), path


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536)
    except ConnectionError:
        return b""
