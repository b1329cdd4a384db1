"""HTTP as few clients speak it: broken framing, expectations, upgrades, old versions, crowds."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import KEY, Gateway, provider_table
from tests.gateway.test_requests import PATHS, raw_exchange, shape_is
from tests.gateway.upstream import bad_upstream

BODY = json.dumps({"model": "up/ok", "messages": [{"role": "user", "content": "hi"}]}).encode()
AUTH = f"authorization: Bearer {KEY}\r\n".encode()
LENGTH = b"content-length: %d\r\n" % len(BODY)
CLOSE = b"connection: close\r\n"
TARGETS = {**PATHS, "gemini": "/v1beta/models/up/ok:generateContent"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with bad_upstream() as upstream:
        tables = provider_table("up", upstream.base_url, "openai-chat")
        config = f'[server]\nheaders_bytes_max = 20000\n{tables}[[keys]]\nkey = "{KEY}"\n'
        gateway = Gateway(tmp_path_factory.mktemp("edges"), config).start()
        yield gateway
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log
        assert KEY not in gateway.log


def head(path: str = "/v1/chat/completions", *lines: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST %b HTTP/%b\r\nhost: x\r\n%b%b" % (path.encode(), version, AUTH, b"".join(lines))


def status_of(received: bytes) -> int:
    return int(received.split(b" ", 2)[1])


def body_of(received: bytes) -> Any:
    return json.loads(received.partition(b"\r\n\r\n")[2])


BROKEN = {
    "a negative length": b"content-length: -5\r\n\r\n",
    "a word for a length": b"content-length: many\r\n\r\n",
    "two lengths": b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a length and chunks": b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown encoding": b"transfer-encoding: banana\r\n\r\n{}",
    "a NUL in a header": b"x-a: a\x00b\r\n\r\n",
    "a folded header": b"x-a: a\r\n b\r\n\r\n",
    "a chunk of no size": b"transfer-encoding: chunked\r\n\r\nzz\r\n{}",
    "a chunk of any size": b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
    "a chunk too long": b"transfer-encoding: chunked\r\n\r\n2\r\n{}{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("client", TARGETS)
def test_broken_framing_is_told_in_the_clients_shape(
    served: Gateway, client: str, case: str
) -> None:
    received = raw_exchange(served, head(TARGETS[client]) + BROKEN[case])
    assert status_of(received) == 400
    assert b"content-type: application/json\r\n" in received
    error = body_of(received)
    assert shape_is(client, error)
    assert "HTTP/1.1" in error["error"]["message"]


@pytest.mark.parametrize(
    "first",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"BREW /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/models/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_other_protocols_are_refused(served: Gateway, first: bytes) -> None:
    received = raw_exchange(served, first)
    assert status_of(received) == 400
    assert shape_is("openai-chat", body_of(received))


@pytest.mark.parametrize("client", TARGETS)
def test_too_many_headers_are_told_in_the_clients_shape(served: Gateway, client: str) -> None:
    flood = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 100) for number in range(250))
    received = raw_exchange(served, head(TARGETS[client], flood))
    assert status_of(received) == 431
    assert shape_is(client, body_of(received))
    assert "headers_bytes_max" in body_of(received)["error"]["message"]


def test_a_body_that_waits_to_be_asked_for(served: Gateway) -> None:
    lines = (LENGTH, b"expect: 100-continue\r\n", CLOSE, b"\r\n")
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as peer:
        peer.sendall(head("/v1/chat/completions", *lines))
        assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(BODY)
        assert peer.recv(100).startswith(b"HTTP/1.1 200 ")


def test_nobody_asks_for_a_body_that_is_refused(served: Gateway) -> None:
    expect = b"expect: 100-continue\r\n\r\n"
    large = head("/v1/chat/completions", b"content-length: 999999999\r\n", expect)
    assert raw_exchange(served, large).startswith(b"HTTP/1.1 413 ")
    unknown = head("/v1/chat/completions", LENGTH, expect).replace(KEY.encode(), b"sk-other")
    assert raw_exchange(served, unknown).startswith(b"HTTP/1.1 401 ")


def test_an_address_in_full(served: Gateway) -> None:
    full = head("http://gateway.example/v1/chat/completions", LENGTH, CLOSE, b"\r\n")
    assert status_of(raw_exchange(served, full + BODY)) == 200


def test_http_1_0(served: Gateway) -> None:
    old = head("/v1/chat/completions", LENGTH, b"\r\n", version=b"1.0")
    received = raw_exchange(served, old + BODY)
    assert status_of(received) == 200
    assert b"connection: close\r\n" in received
    assert body_of(received)["choices"]


UPGRADE = (
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
    b"http2-settings: AAMAAABkAAQAAP__\r\n"
)  # fmt: skip


@pytest.mark.parametrize("cut", [None, 30, -1])
def test_a_wish_for_http_2_is_passed_over(served: Gateway, cut: int | None) -> None:
    # As Java's own client sends it with the first request of a connection, body and all.
    asked = head("/v1/chat/completions", UPGRADE, LENGTH, b"\r\n")
    second = head("/v1/chat/completions", LENGTH, CLOSE, b"\r\n") + BODY
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as peer:
        whole = asked + BODY
        for piece in [whole] if cut is None else [whole[:cut], whole[cut:]]:
            peer.sendall(piece)
            time.sleep(0.05)
        answer = peer.recv(65536)
        assert status_of(answer) == 200
        assert body_of(answer)["choices"]
        peer.sendall(second)
        assert status_of(peer.recv(65536)) == 200


def opening(path: str, key: str) -> bytes:
    lines = (
        f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close, Upgrade\r\n"
        f"upgrade: websocket\r\nsec-websocket-version: 13\r\nauthorization: Bearer {key}\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return lines.encode()


def test_web_sockets_are_told_what_there_is(served: Gateway) -> None:
    received = raw_exchange(served, opening("/v1/chat/completions", KEY))
    # The status at which coding agents go on over POST.
    assert status_of(received) == 426
    assert b"is not served over WebSocket; send it by POST" in received
    assert status_of(raw_exchange(served, opening("/v1/responses", "sk-nobody"))) == 401
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as peer:
        peer.sendall(opening("/v1/responses", KEY))
        assert peer.recv(65536).startswith(b"HTTP/1.1 101 ")


def test_methods_that_a_route_does_not_take(served: Gateway) -> None:
    for path, allow in (*((path, "POST") for path in PATHS.values()), ("/v1/models", "GET, HEAD")):
        for method in ("OPTIONS", "PUT", "DELETE", "PATCH"):
            answer = served.request(method, path)
            assert (answer.status, answer.headers["allow"]) == (405, allow)
            assert answer.json()["error"]["message"].startswith(path)
    for path, status in (("/healthz", 200), ("/v1/models", 200), ("/v1/messages", 405)):
        answer = served.request("HEAD", path)
        assert (answer.status, answer.content) == (status, b"")


def test_a_refused_body_does_not_end_the_connection(served: Gateway) -> None:
    wrong = b'{"model": "nope/x"}'
    first = head("/v1/chat/completions", b"content-length: %d\r\n\r\n" % len(wrong)) + wrong
    good = head("/v1/chat/completions", LENGTH, CLOSE, b"\r\n") + BODY
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as peer:
        peer.sendall(first)
        assert status_of(peer.recv(65536)) == 404
        peer.sendall(good)
        assert status_of(peer.recv(65536)) == 200


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
@pytest.mark.parametrize(
    ("model", "streamed"), [("up/ok", False), ("up/ok", True), ("up/late-0.4", True)]
)
def test_junk_behind_a_request_does_not_cost_its_answer(
    served: Gateway, model: str, streamed: bool, pause_s: float
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    data = json.dumps(body).encode()
    asked = head("/v1/chat/completions", b"content-length: %d\r\n\r\n" % len(data)) + data
    received = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as peer:
        peer.sendall(asked + (b"" if pause_s else b"junk junk\r\n\r\n"))
        if pause_s:
            time.sleep(pause_s)
            peer.sendall(b"junk junk\r\n\r\n")
        while piece := peer.recv(65536):
            received += piece
    assert status_of(received) == 200
    assert "안녕".encode() in received
    # Where the answer was over before the junk came, the junk has an answer of its own.
    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 400 ") + 1


def test_a_crowd_is_told_to_come_again(tmp_path: Path) -> None:
    with bad_upstream() as upstream:
        tables = provider_table("up", upstream.base_url, "openai-chat")
        gateway = Gateway(tmp_path, f"[server]\nconnections_max = 3\n{tables}").start()
        idle = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(3)]
        time.sleep(0.2)
        for client, path in TARGETS.items():
            answer = gateway.request("POST", path, BODY)
            assert (answer.status, answer.headers["retry-after"]) == (
                529 if client == "anthropic" else 503,
                "1",
            )
            assert answer.headers["connection"] == "close"
            assert shape_is(client, answer.json())
        for peer in idle:
            peer.close()
        time.sleep(0.2)
        assert gateway.request("POST", "/v1/chat/completions", BODY).status == 200
        assert gateway.stop() == 0


def test_what_was_no_request_leaves_no_half_row(tmp_path: Path) -> None:
    with bad_upstream() as upstream:
        gateway = Gateway(tmp_path, provider_table("up", upstream.base_url, "openai-chat")).start()
        for lines in BROKEN.values():
            raw_exchange(gateway, head() + lines)
        assert gateway.post("/v1/chat/completions", b"\xff").status == 400
        assert gateway.post("/v1/chat/completions", BODY).status == 200
        assert gateway.stop() == 0
        rows = gateway.ledger(2)
    # A chunk that breaks off a body had its headers: its client is gone as any other that leaves.
    assert [(row["status"], row["outcome"]) for row in rows[-2:]] == [(400, "error"), (200, "ok")]
    assert {(row["status"], row["outcome"]) for row in rows[:-2]} <= {(499, "cancelled")}
    assert {row["client"] for row in rows} == {"openai-chat"}
