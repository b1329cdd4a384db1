"""A provider's key in what a provider says: never passed on, wherever it stands and however cut."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from polycall._support.redactor import Redactor
from polycall.config import parse_config
from polycall.gateway.app import Gateway
from polycall.gateway.http.redaction import secrets_of
from polycall.transport.base import HTTPRequest

SECRET = "sk-up/sk-up-very-secret-0123456789"
TEXT = f"my key is {SECRET}, yes {SECRET}"


@pytest.mark.parametrize("seed", range(20))
def test_a10_no_cut_lets_a_secret_through(seed: int) -> None:
    rng = random.Random(seed)
    secret = SECRET.encode()
    words = [secret, secret[:7], secret[:-1], b"sk-", b"text ", b"\n\n", secret + secret[:3]]
    data = b"".join(rng.choices(words, k=40))
    redactor = Redactor([secret])
    out, place = b"", 0
    while place < len(data):
        size = rng.choice([1, 2, 3, 10, 50])
        out += redactor.feed(data[place : place + size])
        place += size
    out += redactor.close()
    assert secret not in out
    assert out == data.replace(secret, b"[redacted]")


@pytest.mark.parametrize("data", [b"data: {}\n\n", b"sk-\n", b"s", b""])
def test_a10_what_cannot_be_a_secret_does_not_wait(data: bytes) -> None:
    redactor = Redactor([SECRET.encode()])
    out = redactor.feed(data)
    assert out + redactor.close() == data
    if data.endswith(b"\n"):
        assert out == data


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {SECRET}"},
        {"x-api-key": SECRET},
        {"x-goog-api-key": SECRET},
        {"cf-access-client-secret": SECRET},
        {"X-Auth-Token": SECRET},
    ],
)
def test_a10_secrets_are_known_by_the_request_that_has_them(headers: dict[str, str]) -> None:
    assert SECRET.encode() in secrets_of(HTTPRequest("http://x/v1", headers))


def test_a10_a_secret_in_the_address_is_known() -> None:
    found = secrets_of(HTTPRequest("http://x/v1?alt=sse&key=AIza-0123456789", {}))
    assert found == (b"AIza-0123456789",)


# Through the gateway

CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def whole(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps({**CHAT, "choices": choices, "usage": USAGE}).encode()


def escaped(data: bytes) -> bytes:
    """The same JSON, and the key not to be found in it."""
    return data.replace(b"sk-up", b"\\u0073k-up")


def events(text: str) -> bytes:
    frames: list[str] = []
    for delta, finish in (({"role": "assistant", "content": text}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {**CHAT, "object": "chat.completion.chunk", "choices": [choice]}
        frames.append(f"data: {json.dumps(body)}\n\n")
    return ("".join(frames) + "data: [DONE]\n\n").encode()


class Upstream:
    """Answers as it is told to, in pieces of `size`."""

    def __init__(self) -> None:
        self.answer = b""
        self.size = 0
        self.port = 0

    def say(self, status: int, kind: str, body: bytes, *, size: int = 0, headers: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{headers}connection: close\r\n"
        self.answer = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
        self.size = size

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        await reader.readexactly(int(length or 0))
        size = self.size or len(self.answer)
        for place in range(0, len(self.answer), size):
            writer.write(self.answer[place : place + size])
            await writer.drain()
            if self.size:
                await asyncio.sleep(0)
        writer.close()


@asynccontextmanager
async def gateway(tmp_path: Path) -> AsyncGenerator[tuple[Upstream, Gateway]]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    config = parse_config(
        f'[providers.up]\ndialect="openai-chat"\nbase_url="http://127.0.0.1:{upstream.port}/v1"\n'
        f'api_key="{SECRET}"\n[server]\nattempts = 1\n',
        folder=tmp_path,
        environment={},
    )
    served = Gateway(config)
    try:
        yield upstream, served
    finally:
        await served.close()
        server.close()


async def ask(
    served: Gateway,
    path: str,
    *,
    stream: bool = False,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> tuple[int, bytes, bytes]:
    """Status, headers and body."""
    body: dict[str, Any] = {"model": "up/m", "stream": stream, "max_tokens": 99}
    if path == "/v1/responses":
        body["input"] = "hi"
    else:
        body["messages"] = [{"role": "user", "content": "hi"}]
    data = json.dumps(body).encode()
    sent: list[Any] = []
    is_read = False

    async def receive() -> dict[str, Any]:
        nonlocal is_read
        if is_read:
            await asyncio.sleep(60)
        is_read = True
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"content-length", b"%d" % len(data)), *headers],
    }
    await served(scope, receive, send)
    head = b"\n".join(b": ".join(pair) for pair in sent[0]["headers"])
    return sent[0]["status"], head, b"".join(message["body"] for message in sent[1:])


PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/responses"]


@pytest.mark.parametrize("path", PATHS)
async def test_a10_whole_answers_are_without_the_key(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path) as (upstream, served):
        for size in (0, 1, 7):
            upstream.say(200, "application/json", whole(TEXT), size=size)
            status, headers, body = await ask(served, path)
            assert status == 200
            assert SECRET.encode() not in headers + body
            assert b"my key is [redacted], yes [redacted]" in body


@pytest.mark.parametrize("path", PATHS[1:])
async def test_a10_what_was_escaped_is_found_once_it_is_not(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path) as (upstream, served):
        upstream.say(200, "application/json", escaped(whole(TEXT)))
        assert SECRET.encode() not in b"".join((await ask(served, path))[1:])
        upstream.say(200, "text/event-stream", escaped(events(TEXT)))
        assert SECRET.encode() not in (await ask(served, path, stream=True))[2]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [1, 2, 3, 11, 33, 64])
async def test_a10_streams_are_without_the_key(tmp_path: Path, path: str, size: int) -> None:
    async with gateway(tmp_path) as (upstream, served):
        upstream.say(200, "text/event-stream", events(TEXT), size=size)
        status, _, body = await ask(served, path, stream=True)
        assert status == 200
        assert SECRET.encode() not in body
        assert body.count(b"[redacted]") >= 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("status", "stream"), [(401, False), (400, True), (429, False)])
async def test_a10_errors_are_without_the_key(
    tmp_path: Path, path: str, status: int, stream: bool
) -> None:
    async with gateway(tmp_path) as (upstream, served):
        error = json.dumps({"error": {"message": TEXT, "code": SECRET, "param": SECRET}}).encode()
        for body in (error, escaped(error), TEXT.encode()):
            upstream.say(status, "application/json", body, headers=f"x-request-id: {SECRET}\r\n")
            answered = await ask(served, path, stream=stream)
            assert answered[0] >= 400
            assert SECRET.encode() not in answered[1] + answered[2]


@pytest.mark.parametrize(
    "name", ["x-request-id", "request-id", "x-ratelimit-limit-requests", "anthropic-ratelimit-x"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a10_headers_are_without_the_key(tmp_path: Path, name: str, stream: bool) -> None:
    async with gateway(tmp_path) as (upstream, served):
        kind, body = "application/json", whole("hi")
        if stream:
            kind, body = "text/event-stream", events("hi")
        upstream.say(200, kind, body, headers=f"{name}: a {SECRET} b\r\n")
        status, headers, _ = await ask(served, PATHS[0], stream=stream)
        assert status == 200
        assert f"{name}: a [redacted] b".encode() in headers


async def test_a10_an_error_inside_a_stream_is_without_the_key(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (upstream, served):
        for path in PATHS:
            error = json.dumps({"error": {"message": TEXT}})
            body = events("hi").partition(b"data: [DONE]")[0] + f"data: {error}\n\n".encode()
            for size in (1, 5, 0):
                upstream.say(200, "text/event-stream", body, size=size)
                assert SECRET.encode() not in (await ask(served, path, stream=True))[2]


def test_a10_of_two_secrets_the_longer_one_is_taken_out_whole() -> None:
    short, long = b"sk-team-0001", b"sk-team-0001-and-more"
    for secrets in ([short, long], [long, short]):
        assert Redactor(secrets).whole(b"a " + long + b" b " + short) == (
            b"a [redacted] b [redacted]"
        )
