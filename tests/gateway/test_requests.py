"""Bytes that pass through, usage that is asked for and hidden, bad input, keys, limits."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.harness import KEY, OTHER_KEY, Gateway, provider_table
from tests.gateway.test_faults import CLIENTS, MESSAGES, ask
from tests.gateway.upstream import BadUpstream

SETTINGS = """
[server]
body_s = 1.5
headers_s = 1.5
body_bytes_max = 100000
headers_bytes_max = 20000
[models.fast]
route = ["up/ok"]
"""


@pytest.fixture(scope="module")
def served(upstream: BadUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = f"""{SETTINGS}
{provider_table("up", upstream.base_url, "openai-chat")}
{provider_table("mute", upstream.base_url, "openai-chat")}
[[keys]]
key = "{KEY}"
[[keys]]
key = "{OTHER_KEY}"
name = "narrow"
models = ["fast", "none/*"]
requests_per_minute = 3
"""
    gateway = Gateway(tmp_path_factory.mktemp("requests"), config).start()
    yield gateway
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log
    for secret in (KEY, OTHER_KEY, "sk-provider-up"):
        assert secret not in gateway.log


# Bytes

ODD = (
    b'{ "model" :\t"up/ok", "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9 \\ud83d 1"}],\n'
    b' "temperature": 1.0, "seed": 12345678901234567890123, "x_unknown": {"model": "up/ok"},'
    b' "logit_bias": {"50256": -100.000} }'
)


PLAIN = (
    b'{"messages": [ {"role":"user","content":"hi"},'
    b' {"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function",'
    b'"function":{"name":"f","arguments":"{}"}}]},'
    b' {"role":"tool","tool_call_id":"c1","content":"\\u00e9"} ],'
    b' "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],'
    b' "tool_choice":"auto", "temperature":1.0, "model":"up/ok"}'
)


def test_a_plain_conversation_with_tools_passes_byte_for_byte(
    served: Gateway, upstream: BadUpstream
) -> None:
    """A server that nobody named takes it as it stands: no translation is paid for."""
    assert served.post("/v1/chat/completions", PLAIN).status == 200
    assert upstream.raw[-1] == PLAIN.replace(b"up/ok", b"ok")


def test_the_body_passes_byte_for_byte(served: Gateway, upstream: BadUpstream) -> None:
    answer = served.post("/v1/chat/completions", ODD)
    assert answer.status == 200
    # The name stands twice, so the top level is put together again; its values are untouched.
    assert upstream.raw[-1] == (
        b'{"model":"ok","messages":[{"role":"user","content":"\\u00e9 \xc3\xa9 \\ud83d 1"}],'
        b'"temperature":1.0,"seed":12345678901234567890123,"x_unknown":{"model": "up/ok"},'
        b'"logit_bias":{"50256": -100.000}}'
    ) or json.loads(upstream.raw[-1]) == {**json.loads(ODD), "model": "ok"}
    once = ODD.replace(b'{"model": "up/ok"}', b"[ 1,2 ]")
    served.post("/v1/chat/completions", once)
    assert upstream.raw[-1] == once.replace(b"up/ok", b"ok")
    assert (
        served.post("/v1/chat/completions", once).content
        == json.dumps(json.loads(answer.content), ensure_ascii=False).encode()
    )


def stream_body(**more: Any) -> dict[str, Any]:
    return {"model": "up/ok", "messages": MESSAGES, "stream": True, **more}


def test_h01_usage_is_asked_for_and_hidden(served: Gateway, upstream: BadUpstream) -> None:
    before = len(served.ledger(0))
    answer = served.post("/v1/chat/completions", stream_body())
    assert upstream.requests[-1]["stream_options"] == {"include_usage": True}
    assert b'"usage"' not in answer.content
    assert answer.content.endswith(b"data: [DONE]\n\n")
    row = served.ledger(before + 1)[-1]
    assert (row["input_tokens"], row["output_tokens"]) == (7, 3)


def test_h02_usage_that_is_asked_for_is_shown(served: Gateway) -> None:
    body = stream_body(stream_options={"include_usage": True})
    answer = served.post("/v1/chat/completions", body)
    assert b'"usage": {"prompt_tokens": 7' in answer.content


def test_h01_through_another_protocol(served: Gateway) -> None:
    answer = ask(served, "anthropic", "up/ok", stream=True)
    assert b'"output_tokens":3' in answer.content


# Bad input


def raw_exchange(gateway: Gateway, data: bytes, *, then: bytes = b"") -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=8) as peer:
        peer.sendall(data)
        if then:
            peer.sendall(then)
        received = b""
        try:
            while piece := peer.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received


BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "not json": (b"{nope", "not JSON"),
    "cut json": (b'{"model": "up/ok", "messages": [', "not JSON"),
    "an array": (b"[]", "object"),
    "a string": (b'"x"', "object"),
    "bad utf-8": (b'{"model": "up/ok", "x": "\xff"}', "UTF-8"),
    "no model": (b'{"messages": []}', "model"),
    "a number for a model": (b'{"model": 4}', "model"),
    "null for a model": (b'{"model": null}', "model"),
    "stream as text": (b'{"model": "up/ok", "stream": "yes"}', "stream"),
    "unknown model": (b'{"model": "nope/x"}', "no model is called"),
    "no provider": (b'{"model": "gpt"}', "no model is called"),
    "nested": (b'{"model": "up/ok", "x": ' + b"[" * 3000 + b"]" * 3000 + b"}", "deep"),
    "NaN": (b'{"model": "up/ok", "x": NaN}', "not JSON"),
    "too large": (b'{"model": "up/ok", "x": "' + b"a" * 100_001 + b'"}', "larger"),
}
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
}


def shape_is(client: str, body: Any) -> bool:
    match client:
        case "anthropic":
            return body["type"] == "error" and {"type", "message"} <= body["error"].keys()
        case "gemini":
            return {"code", "message", "status"} <= body["error"].keys()
        case _:
            return {"message", "type", "param", "code"} <= body["error"].keys()


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("case", BAD_BODIES)
def test_bad_bodies(served: Gateway, client: str, case: str) -> None:
    body, words = BAD_BODIES[case]
    answer = served.post(PATHS[client], body)
    assert answer.status in {"unknown model": (404,), "no provider": (404,)}.get(
        case, (413,) if case == "too large" else (400,)
    )
    assert shape_is(client, answer.json())
    assert words in answer.json()["error"]["message"]


WRONG_TYPES: dict[str, tuple[str, Any, str]] = {
    "a tool as text": (
        "anthropic",
        {"messages": MESSAGES, "max_tokens": 5, "tools": ["x"]},
        "tools[0]",
    ),
    "a role of its own": ("anthropic", {"messages": [{"role": "x"}], "max_tokens": 5}, "role"),
    "input as a number": ("openai-responses", {"input": 4}, "input"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_wrong_types_say_where(served: Gateway, case: str) -> None:
    client, body, path = WRONG_TYPES[case]
    answer = served.post(PATHS[client], {"model": "up/ok", **body})
    assert answer.status == 400
    assert shape_is(client, answer.json())
    assert path in answer.json()["error"]["message"]


def test_nobody_waits_to_be_told_of_a_mistake(served: Gateway) -> None:
    # A pause before another attempt is an eighth of a second at least.
    started = time.monotonic()
    for _ in range(10):
        wrong = {"model": "up/ok", "messages": [{"role": "x"}], "max_tokens": 5}
        assert served.post("/v1/messages", wrong).status == 400
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("client", ["openai-chat", "anthropic"])
def test_a_server_that_refuses_to_report_usage(
    served: Gateway, upstream: BadUpstream, client: str
) -> None:
    answer = ask(served, client, "mute/nousage", stream=True)
    assert answer.status == 200
    assert "안녕".encode() in answer.content
    assert "stream_options" not in upstream.requests[-1]


def test_gemini_paths(served: Gateway) -> None:
    body = {"contents": "hi"}
    for path in ("/v1beta/models/nope/x:generateContent", "/v1/models/up:generateContent"):
        answer = served.post(path, body)
        assert answer.status == 404
        assert shape_is("gemini", answer.json()) or path.startswith("/v1/")
    snake = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generation_config": {}}
    for version in ("v1", "v1beta"):
        path = f"/{version}/models/up%2Fok:generateContent"
        assert served.post(path, snake).status == 200


KEYS = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "x-goog-api-key": KEY,
}


@pytest.mark.parametrize("header", KEYS)
@pytest.mark.parametrize("client", CLIENTS)
def test_keys_arrive_in_every_way(served: Gateway, client: str, header: str) -> None:
    body: Any = {"model": "up/ok", "messages": MESSAGES, "max_tokens": 4, "input": "x"}
    path = PATHS.get(client, "/v1beta/models/up/ok:generateContent")
    body = body if client in PATHS else {"contents": "x"}
    if client == "openai-chat":
        del body["input"]
    if client == "openai-responses":
        body = {"model": "up/ok", "input": "x"}
    good = served.request("POST", path, body, key=None, headers={header: KEYS[header]})
    assert good.status == 200, good.content
    by_query = served.request("POST", f"{path}?key={KEY}", body, key=None)
    assert by_query.status == 200
    for wrong in ({}, {header: KEYS[header] + "x"}):
        bad = served.request("POST", path, body, key=None, headers=wrong)
        assert bad.status == 401
        assert shape_is(client, bad.json())
        assert KEY not in bad.content.decode()


def test_a_narrow_key(served: Gateway) -> None:
    body = {"model": "up/ok", "messages": MESSAGES}
    refused = served.request("POST", "/v1/chat/completions", body, key=OTHER_KEY)
    assert refused.status == 403
    assert "'narrow'" in refused.json()["error"]["message"]
    body["model"] = "fast"
    statuses = [
        served.request("POST", "/v1/chat/completions", body, key=OTHER_KEY) for _ in range(3)
    ]
    assert [answer.status for answer in statuses] == [200, 200, 429]
    assert int(statuses[-1].headers["retry-after"]) > 0
    listed = served.request("GET", "/v1/models", key=OTHER_KEY)
    assert listed.status == 429


def test_compressed_bodies(served: Gateway) -> None:
    data = gzip.compress(json.dumps({"model": "up/ok", "messages": MESSAGES}).encode())
    path = "/v1/chat/completions"
    assert served.post(path, data, **{"content-encoding": "gzip"}).status == 200
    assert served.post(path, data[:-9], **{"content-encoding": "gzip"}).status == 400
    assert served.post(path, data, **{"content-encoding": "br"}).status == 415
    bomb = gzip.compress(b'{"model":"up/ok","x":"' + b"a" * 5_000_000 + b'"}')
    assert served.post(path, bomb, **{"content-encoding": "gzip"}).status == 413


HEAD = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n".encode()


def test_half_a_body(served: Gateway) -> None:
    received = raw_exchange(served, HEAD + b"content-length: 500\r\n\r\n" + b'{"model":')
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"type":"error"' in received


def test_a_declared_giant_is_not_read(served: Gateway) -> None:
    received = raw_exchange(served, HEAD + b"content-length: 99999999\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in received


def test_chunked_giants_are_cut(served: Gateway) -> None:
    piece = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    data = HEAD + b"transfer-encoding: chunked\r\n\r\n" + piece * 40
    assert raw_exchange(served, data).startswith(b"HTTP/1.1 413 ")


def test_header_floods(served: Gateway) -> None:
    flood = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 100) for number in range(5000))
    received = b""
    # The connection is cut under the flood; the answer may be lost with it.
    with contextlib.suppress(ConnectionError):
        received = raw_exchange(served, HEAD + flood[:300_000], then=flood[300_000:])
    assert received == b"" or received.startswith(b"HTTP/1.1 431 ")
    small = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 100) for number in range(250))
    assert raw_exchange(served, HEAD + small).startswith(b"HTTP/1.1 431 ")
    assert served.request("GET", "/healthz").status == 200


def test_slow_headers(served: Gateway) -> None:
    assert raw_exchange(served, b"POST /v1/messages HTT") == b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=8) as peer:
        for _ in range(2):
            peer.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert peer.recv(65536).endswith(b'{"status":"ok"}')
        peer.sendall(b"POST /v1/messages HTT")
        assert peer.recv(65536) == b""


def test_not_http(served: Gateway) -> None:
    assert raw_exchange(served, b"\x16\x03\x01\x02\x00").startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_are_answered_in_order(served: Gateway) -> None:
    bodies = [
        json.dumps({"model": f"up/{name}", "messages": MESSAGES, "max_tokens": 4}).encode()
        for name in ("ok", "status-404", "ok")
    ]
    data = b"".join(
        HEAD + b"content-length: %d\r\n%s\r\n" % (len(body), close) + body
        for body, close in zip(bodies, (b"", b"", b"connection: close\r\n"), strict=True)
    )
    received = raw_exchange(served, data)
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", received)
    assert statuses == [b"200", b"404", b"200"]


def test_unknown_routes_and_methods(served: Gateway) -> None:
    assert served.request("GET", "/nope").status == 404
    assert served.request("GET", "/v1/chat/completions").status == 405
    assert served.request("DELETE", "/v1/models").status == 405
    assert served.request("HEAD", "/healthz").status == 200
    anthropic = served.request("GET", "/nope", headers={"anthropic-version": "2023-06-01"})
    assert anthropic.json()["type"] == "error"


def test_what_cannot_be_said_is_refused_or_told(served: Gateway) -> None:
    body = {
        "model": "up/ok",
        "messages": MESSAGES,
        "max_tokens": 9,
        "top_k": 5,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    }
    refused = served.post("/v1/messages", body)
    assert refused.status == 400
    assert "web_search" in refused.json()["error"]["message"]
    told = served.post("/v1/messages", body, **{"polycall-lossy": "true"})
    assert told.status == 200
    features = {warning["feature"] for warning in json.loads(told.headers["polycall-warnings"])}
    assert "top_k" in features
    for word in ("1", "yes", ""):
        unclear = served.post("/v1/messages", body, **{"polycall-strict": word})
        assert unclear.status == 400
        assert "polycall-strict: expected true or false" in unclear.json()["error"]["message"]
    del body["tools"]
    strict = served.post("/v1/messages", body, **{"polycall-strict": "true"})
    assert strict.status == 400
    assert "top_k" in strict.json()["error"]["message"]


def test_what_an_answer_says_of_itself(served: Gateway) -> None:
    answer = served.post("/v1/messages", {"model": "fast", "messages": MESSAGES, "max_tokens": 9})
    assert answer.headers["polycall-model"] == "up/ok"
    assert answer.headers["polycall-request-id"].startswith("req_")
