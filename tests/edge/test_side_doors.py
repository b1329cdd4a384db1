"""Lists, jobs, counts and vectors: weighed before they are read, and read aside."""

from __future__ import annotations

import base64
import json
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.door_upstream import Upstream

from polycall._support import event_stream
from polycall.errors import MalformedRequestError, ProtocolError
from polycall.gateway.forwarding import embed, forward, service
from polycall.gateway.responses import websocket
from polycall.providers.dialects import DIALECTS
from tests.edge.test_doors import ask, serving

LISTS = b"[%b[]]" % (b"[]," * 250_000)
CHOSEN = [(b"polycall-provider", b"up")]
JSON_KIND = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


def config(upstream: Upstream) -> str:
    return (
        f'[server]\nattempts = 1\n[providers.up]\ndialect = "openai-chat"\n'
        f'base_url = "{upstream.url}"\napi_key = "sk-aaaaaaaa"\n'
        f'[providers.b]\ndialect = "bedrock-converse"\nbase_url = "{upstream.url}"\n'
        'api_key = "sk-bbbbbbbb"\nmodels = ["m"]\n'
    )


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/fine_tuning/jobs"])
@pytest.mark.parametrize(
    "body", [b'{"data":%b}' % LISTS, b'{"data":[],"a":"%b"}' % (b"x" * 9_000_000)]
)
async def test_a20_a_list_that_takes_too_much_is_refused(
    tmp_path: Path, path: str, body: bytes
) -> None:
    upstream = Upstream()
    upstream.paths["/v1/"] = JSON_KIND % (len(body), body)
    async with serving(tmp_path, config(upstream)) as served:
        status, said = await ask(served, "GET", path, headers=CHOSEN)
        assert status == 502
        assert said["error"]["code"] == "bad_upstream_response"


async def test_a_list_of_many_files_is_the_keys_own(tmp_path: Path) -> None:
    upstream = Upstream()
    files = [{"id": f"file-{n}", "object": "file"} for n in range(20_000)]
    async with serving(tmp_path, config(upstream)) as served:
        made = b'{"id":"file-7"}'
        upstream.paths["/v1/"] = JSON_KIND % (len(made), made)
        assert (await ask(served, "POST", "/v1/batches", {}, headers=CHOSEN))[0] == 200
        body = json.dumps({"data": files}).encode()
        upstream.paths["/v1/"] = JSON_KIND % (len(body), body)
        status, said = await ask(served, "GET", "/v1/files", headers=CHOSEN)
        assert (status, [each["id"] for each in said["data"]]) == (200, ["file-7"])


async def test_a20_what_stands_in_base64_is_weighed(tmp_path: Path) -> None:
    hidden = b'{"max_tokens":9,"messages":[{"role":"user","content":%b}]}' % LISTS
    body = {"input": {"invokeModel": {"body": base64.b64encode(hidden).decode()}}}
    async with serving(tmp_path, config(Upstream())) as served:
        status, said = await ask(served, "POST", "/model/b%2Fm/count-tokens", body)
        assert status in (400, 413)
        assert "too heavy" in said["message"]


@pytest.fixture
def read_on_loop(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who read long answers and bodies in the loop's own thread."""
    found: list[str] = []
    loop = threading.current_thread()

    def noting(module: Any, name: str) -> None:
        inner: Callable[..., Any] = getattr(module, name)

        def work(*given: Any) -> Any:
            if threading.current_thread() is loop:
                found.append(name)
            return inner(*given)

        monkeypatch.setattr(module, name, work)

    noting(service, "read_fields")
    noting(service, "usage_in")
    noting(embed, "usage_in")
    noting(forward, "list_of")
    return found


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/embeddings", "input"),
        ("/v1/images/generations", "prompt"),
        ("/v1/moderations", "input"),
        ("/v1/batches", "endpoint"),
        ("/v1/fine_tuning/jobs", "suffix"),
    ],
)
async def test_a20_long_bodies_beside_the_chat_are_read_aside(
    tmp_path: Path, path: str, field: str, read_on_loop: list[str]
) -> None:
    upstream = Upstream()
    answer = b'{"id":"x","data":"%b"}' % (b"x" * 1_000_000)
    upstream.paths["/v1/"] = JSON_KIND % (len(answer), answer)
    body = {"model": "up/m", field: "x" * 1_000_000}
    async with serving(tmp_path, config(upstream)) as served:
        status, _ = await ask(served, "POST", path, body, headers=CHOSEN)
    assert status == 200
    assert read_on_loop == []


@pytest.mark.parametrize("inputs", [1, 3])
async def test_a20_vectors_are_as_many_as_were_asked_for(tmp_path: Path, inputs: int) -> None:
    upstream = Upstream()
    vectors = [{"index": n, "embedding": [0.1] * 500_000} for n in range(inputs)]
    body = json.dumps({"data": vectors}).encode()
    upstream.paths["/v1/"] = JSON_KIND % (len(body), body)
    asked = {"model": "up/m", "texts": ["x"] * inputs, "input_type": "search_query"}
    async with serving(tmp_path, config(upstream)) as served:
        status, said = await ask(served, "POST", "/v2/embed", asked)
        assert status == 502
        assert "too heavy" in json.dumps(said)


def test_a20_an_event_of_a_socket_has_no_copy() -> None:
    text = b'{"type":"response.create","model":"m","input":"%b"}' % (b"x" * 6_000_000)
    tracemalloc.start()
    try:
        event = websocket._event(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(memoryview(event["input"])) == 6_000_002
    assert peak < 100_000


@pytest.mark.parametrize("text", [b"[]", b"1", b'"x"', b"null", b"{", b'{"a"', b"\xff"])
def test_what_is_no_event_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        websocket._event(text)


def test_an_event_with_half_a_surrogate_is_taken() -> None:
    event = websocket._event(b'{"type":"response.create","input":"\\ud83d"}')
    assert bytes(memoryview(event["input"])) == b'"\\ud83d"'


def test_a20_a_heavy_list_is_refused_before_it_is_made() -> None:
    with pytest.raises(ProtocolError, match="too heavy"):
        forward.list_of(LISTS)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'{"delta":{"text":"%b"}}' % (b"x" * 13_000_000), "bytes is not taken"),
        (b'{"delta":%b}' % LISTS, "too heavy"),
        (b'{"delta":"\xff"}', "not UTF-8"),
    ],
)
def test_a20_a_message_of_awss_framing_is_an_event_like_any_other(
    payload: bytes, words: str
) -> None:
    decoder = DIALECTS["bedrock-converse"].StreamDecoder()
    data = event_stream.event("contentBlockDelta", payload)
    for start in range(0, len(data), 65536):
        decoder.feed(data[start : start + 65536])
    with pytest.raises(ProtocolError, match=words):
        decoder.close()
