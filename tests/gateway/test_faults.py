"""What a broken upstream looks like to a client: never like success, never like a hang."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import KEY, Answer, Gateway, provider_table
from tests.gateway.upstream import BadUpstream

SETTINGS = """
[server]
heartbeat_s = 1.2
read_s = 3.0
total_s = 20.0
body_s = 2.0
headers_s = 2.0
attempts = 2
body_bytes_max = 100000
[models.both]
route = ["up/status-529", "up/ok"]
[models.broken]
route = ["up/cut", "up/ok"]
"""


@pytest.fixture(scope="module")
def served(upstream: BadUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = f"""{SETTINGS}
{provider_table("up", upstream.base_url, "openai-chat")}
[[keys]]
key = "{KEY}"
"""
    gateway = Gateway(tmp_path_factory.mktemp("faults"), config).start()
    yield gateway
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log
    assert "exception" not in gateway.log


MESSAGES = [{"role": "user", "content": "hi"}]
CLIENTS = ["openai-chat", "openai-responses", "anthropic", "gemini"]


def ask(
    gateway: Gateway, client: str, model: str, *, stream: bool = False, **headers: str
) -> Answer:
    match client:
        case "openai-chat":
            body: Any = {"model": model, "messages": MESSAGES, "stream": stream}
            path = "/v1/chat/completions"
        case "openai-responses":
            body = {"model": model, "input": "hi", "stream": stream}
            path = "/v1/responses"
        case "anthropic":
            body = {"model": model, "messages": MESSAGES, "max_tokens": 9, "stream": stream}
            path = "/v1/messages"
        case _:
            body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            path = f"/v1beta/models/{model}:{method}"
    return gateway.post(path, body, **headers)


def message_of(client: str, answer: Answer) -> str:
    return answer.json()["error"]["message"]


# Upstream, and the status that each client protocol gives it: Chat, Responses, Anthropic, Gemini.
REFUSALS: dict[str, tuple[tuple[int, int, int, int], str]] = {
    "status-400": ((400, 400, 400, 400), "it is 400"),
    "status-401": ((502, 502, 502, 502), "the gateway's operator must mend that"),
    "status-404": ((404, 404, 404, 404), "it is 404"),
    "status-429-9": ((429, 429, 429, 429), "it is 429-9"),
    "status-500": ((500, 500, 500, 500), "it is 500"),
    "status-503": ((503, 503, 529, 503), "it is 503"),
    "garbage": ((502, 502, 502, 502), "does not answer with HTTP"),
    "text": ((502, 502, 502, 502), "not JSON"),
    "empty": ((502, 502, 502, 502), "not JSON"),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("model", REFUSALS)
def test_refusals(served: Gateway, client: str, model: str) -> None:
    statuses, message = REFUSALS[model]
    answer = ask(served, client, f"up/{model}")
    assert message in message_of(client, answer)
    assert answer.status == statuses[CLIENTS.index(client)]
    retried = model in ("status-401", "status-500", "status-503", "garbage", "text", "empty")
    assert answer.headers.get("x-should-retry") == ("false" if retried else None)
    assert answer.headers.get("retry-after") == ("9" if model == "status-429-9" else None)


STREAM_REFUSALS = {"status-500": 500, "firsterror": 503, "emptystream": 502, "garbage": 502}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("model", STREAM_REFUSALS)
def test_a_streams_status_waits_for_the_first_event(
    served: Gateway, client: str, model: str
) -> None:
    answer = ask(served, client, f"up/{model}", stream=True)
    assert answer.status >= 500
    assert answer.headers["content-type"] == "application/json"
    assert message_of(client, answer)


def has_error_event(client: str, data: bytes) -> bool:
    text = data.decode()
    if client == "anthropic":
        return "event: error\n" in text
    if client == "openai-responses":
        return "event: error\n" in text or "event: response.failed\n" in text
    return '{"error":' in text


def ends_well(client: str, data: bytes) -> bool:
    marks = {
        "openai-chat": b"[DONE]",
        "openai-responses": b"response.completed",
        "anthropic": b"message_stop",
        "gemini": b'"finishReason":"STOP"',
    }
    return marks[client] in data


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("model", ["cut", "miderror"])
def test_i05_a_failure_in_mid_stream_is_told(served: Gateway, client: str, model: str) -> None:
    answer = ask(served, client, f"up/{model}", stream=True)
    assert answer.status == 200
    assert "안녕".encode() in answer.content
    assert has_error_event(client, answer.content)
    assert not ends_well(client, answer.content)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("stream", [False, True])
def test_i03_fallback_before_the_first_byte(served: Gateway, client: str, stream: bool) -> None:
    answer = ask(served, client, "both", stream=stream)
    assert answer.status == 200
    assert answer.headers["polycall-model"] == "up/ok"
    assert "안녕".encode() in answer.content


def test_no_fallback_after_the_first_byte(served: Gateway) -> None:
    answer = ask(served, "anthropic", "broken", stream=True)
    assert has_error_event("anthropic", answer.content)


@pytest.mark.parametrize("stream", [False, True])
def test_a_flaky_provider_is_asked_again(
    served: Gateway, upstream: BadUpstream, stream: bool
) -> None:
    model = f"flaky-1-{stream}"
    assert ask(served, "openai-chat", f"up/{model}", stream=stream).status == 200
    assert upstream.counts[model] == 2


@pytest.mark.parametrize(
    "client", [CLIENTS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in CLIENTS[1:])]
)
def test_a_silent_provider_is_given_up(served: Gateway, client: str) -> None:
    started = time.monotonic()
    answer = ask(served, client, "up/hang")
    assert answer.status == 504
    assert time.monotonic() - started < 12


@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_own_deadline_is_kept(served: Gateway, stream: bool) -> None:
    started = time.monotonic()
    answer = ask(served, "gemini", "up/hang", stream=stream, **{"x-server-timeout": "1"})
    assert (answer.status, answer.json()["error"]["status"]) == (504, "DEADLINE_EXCEEDED")
    assert 0.9 < time.monotonic() - started < 2
    for nonsense in ("soon", "-1", "0", "nan", "inf", "1e9"):
        answer = ask(served, "gemini", "up/ok", stream=stream, **{"x-server-timeout": nonsense})
        assert answer.status == 200


def test_a_client_that_takes_nothing_is_given_up(
    upstream: BadUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tables = provider_table("up", upstream.base_url, "openai-chat")
    config = f"[server]\nbody_s = 1.0\n{tables}"
    gateway = Gateway(tmp_path_factory.mktemp("deaf"), config).start()
    for client in ("openai-chat", "anthropic"):  # each loads its dialect once
        ask(gateway, client, "up/ok", stream=True)
    before_bytes, closed = gateway.resident_bytes, len(upstream.closed_at)
    files = open_files(gateway.pid)
    with contextlib.ExitStack() as peers:
        for path in ("chat/completions", "messages") * 3:
            body: Any = {
                "model": "up/endless",
                "messages": MESSAGES,
                "stream": True,
                "max_tokens": 9,
            }
            data = json.dumps(body).encode()
            peer = peers.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            head = f"POST /v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
            peer.sendall(head.encode() + data)
        ends_at = time.monotonic() + 5
        most_bytes = 0
        while len(upstream.closed_at) < closed + 6 and time.monotonic() < ends_at:
            most_bytes = max(most_bytes, gateway.resident_bytes)
            time.sleep(0.05)
        # Each provider would send 120 MB if somebody took it.
        assert len(upstream.closed_at) == closed + 6
        assert most_bytes - before_bytes < 30_000_000
        rows = gateway.ledger(8)[2:]
        assert [(row["status"], row["outcome"]) for row in rows] == [(499, "cancelled")] * 6
        while open_files(gateway.pid) > files and time.monotonic() < ends_at:
            time.sleep(0.05)
        assert open_files(gateway.pid) <= files
    assert gateway.stop() == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_heartbeats_while_the_provider_is_silent(served: Gateway, client: str) -> None:
    answer = ask(served, client, "up/late-2.6", stream=True)
    assert answer.status == 200
    assert ends_well(client, answer.content)
    beats = {"anthropic": b"event: ping\n", "gemini": b"never"}.get(client, b": keep-alive\n\n")
    if client == "gemini":
        assert answer.content.startswith(b"data: {")
    else:
        assert answer.content.count(beats) in (2, 3)
        assert answer.content.startswith(beats)


def test_a_providers_key_is_not_shown(served: Gateway) -> None:
    for client in CLIENTS:
        answer = ask(served, client, "up/echo-")
        assert b"sk-provider" not in answer.content
    answer = ask(served, "openai-chat", "up/echo-")
    assert answer.status == 502


# Clients that leave


def open_request(gateway: Gateway, body: Any) -> socket.socket:
    data = json.dumps(body).encode()
    peer = socket.create_connection(("127.0.0.1", gateway.port))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    peer.sendall(head.encode() + data)
    return peer


@pytest.mark.parametrize("model", ["slow", "hang"])
@pytest.mark.parametrize("stream", [True, False])
def test_h10_the_upstream_is_closed_when_the_client_leaves(
    served: Gateway, upstream: BadUpstream, model: str, stream: bool
) -> None:
    before = len(upstream.closed_at)
    peers = [
        open_request(served, {"model": f"up/{model}", "messages": MESSAGES, "stream": stream})
        for _ in range(20)
    ]
    time.sleep(0.5)
    left_at = time.monotonic()
    for peer in peers:
        peer.close()
    while len(upstream.closed_at) < before + 20 and time.monotonic() < left_at + 3:
        time.sleep(0.02)
    assert len(upstream.closed_at) == before + 20
    assert max(upstream.closed_at[before:]) - left_at < 1.0


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("route", ["chat/completions", "messages"])
def test_a_slow_client_holds_the_upstream_back_and_gets_all(served: Gateway, route: str) -> None:
    """Passed through and translated: nothing is lost, and little is kept."""
    body = {"model": "up/flood-500", "messages": MESSAGES, "stream": True, "max_tokens": 9}
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/{route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"authorization: Bearer {KEY}\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port)) as peer:
        peer.sendall(head.encode() + data)
        answer = peer.recv(1000)
        before = resident_kb(served.pid)
        time.sleep(1.0)
        assert resident_kb(served.pid) - before < 16_000
        while piece := peer.recv(1 << 20):
            answer += piece
    assert answer.count("물".encode()) == 500 * 20_000
    assert b"hello" in answer


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_h10_two_hundred_clients_leave_at_a_random_moment(
    served: Gateway, upstream: BadUpstream
) -> None:
    # The bounded settings of this gateway end what is idle; wait for what earlier tests left.
    time.sleep(0.5)
    before, closed = open_files(served.pid), len(upstream.closed_at)
    source = random.Random(5)
    started = 0
    for _ in range(10):
        peers: list[socket.socket] = []
        for _ in range(20):
            stream = source.random() < 0.5
            body = {"model": "up/slow-0.01", "messages": MESSAGES, "stream": stream}
            data = json.dumps(body).encode()
            head = (
                f"POST /v1/{source.choice(['chat/completions', 'messages'])} HTTP/1.1\r\n"
                f"host: x\r\nauthorization: Bearer {KEY}\r\n"
                f"content-length: {len(data)}\r\n\r\n"
            ).encode()
            whole = head + data
            size = source.choice([len(whole), source.randint(1, len(whole))])
            peer = socket.create_connection(("127.0.0.1", served.port))
            peer.sendall(whole[:size])
            started += size == len(whole)
            peers.append(peer)
        time.sleep(source.random() * 0.15)
        for peer in peers:
            peer.close()
    ends_at = time.monotonic() + 3
    while open_files(served.pid) > before and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert open_files(served.pid) <= before
    assert len(upstream.closed_at) - closed <= started
    metrics = served.request("GET", "/metrics").content.decode()
    assert "polycall_in_flight 0" in metrics.splitlines()


def test_h10_the_tokens_so_far_are_written_down(
    upstream: BadUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = provider_table("up", upstream.base_url, "openai-chat")
    gateway = Gateway(tmp_path_factory.mktemp("left"), config).start()
    for path in ("chat", "messages"):
        body: Any = {"model": "up/slow-0.02", "messages": MESSAGES, "stream": True}
        if path == "messages":
            body["max_tokens"] = 9
        data = json.dumps(body).encode()
        peer = socket.create_connection(("127.0.0.1", gateway.port))
        route = "chat/completions" if path == "chat" else "messages"
        head = f"POST /v1/{route} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
        peer.sendall(head.encode() + data)
        time.sleep(0.8)
        peer.close()
    rows = gateway.ledger(2)
    gateway.stop()
    assert [(row["status"], row["outcome"], row["is_estimate"]) for row in rows] == [
        (499, "cancelled", 1),
        (499, "cancelled", 1),
    ]
    for row in rows:
        assert row["input_tokens"] > 0
        assert 5 < row["output_tokens"] < 200


def test_h11_a_client_that_leaves_before_the_headers_has_a_row(
    upstream: BadUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = provider_table("up", upstream.base_url, "openai-chat")
    gateway = Gateway(tmp_path_factory.mktemp("early"), config).start()
    for stream in (True, False):
        peer = open_request(gateway, {"model": "up/hang", "messages": MESSAGES, "stream": stream})
        time.sleep(0.3)
        peer.close()
    rows = gateway.ledger(2)
    gateway.stop()
    assert [(r["status"], r["outcome"], r["provider"], r["model"]) for r in rows] == [
        (499, "cancelled", "up", "hang"),
        (499, "cancelled", "up", "hang"),
    ]


def test_h12_nobody_is_asked_again_for_a_client_that_left(
    served: Gateway, upstream: BadUpstream
) -> None:
    # The provider asks for a pause of a second, in which the client leaves.
    before = len(upstream.requests)
    peer = open_request(served, {"model": "up/status-503-1", "messages": MESSAGES})
    time.sleep(0.3)
    peer.close()
    time.sleep(1.5)
    assert [r["model"] for r in upstream.requests[before:]] == ["status-503-1"]
