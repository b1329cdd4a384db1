"""Each way to fail, on each wire, as bytes on a socket."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest

from polycall.sim import Simulation
from tests.sim.conftest import KEYS, WEATHER

VENDORS = ("openai", "responses", "anthropic", "google", "deepseek", "compatible")
ASK = "서울 날씨"


def exchange_of(vendor: str, model: str, stream: bool) -> tuple[str, str, dict[str, Any]]:
    """The vendor's name, the path and the body of a request."""
    messages = [{"role": "user", "content": ASK}]
    function = {"name": "get_weather", "parameters": WEATHER}
    match vendor:
        case "responses":
            tool = {"type": "function", **function}
            body: dict[str, Any] = {"model": model, "input": ASK, "tools": [tool]}
            return "openai", "/responses", {**body, "stream": stream}
        case "anthropic":
            tool = {"name": "get_weather", "input_schema": WEATHER}
            body = {"model": model, "max_tokens": 500, "messages": messages, "tools": [tool]}
            return vendor, "/v1/messages", {**body, "stream": stream}
        case "google":
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            declaration = {"name": "get_weather", "parametersJsonSchema": WEATHER}
            body = {
                "contents": [{"role": "user", "parts": [{"text": ASK}]}],
                "tools": [{"functionDeclarations": [declaration]}],
            }
            return vendor, f"/v1beta/models/{model}:{verb}", body
        case _:
            tool = {"type": "function", "function": function}
            body = {"model": model, "messages": messages, "tools": [tool], "stream": stream}
            return vendor, "/chat/completions", body


async def talk(
    sim: Simulation, vendor: str, model: str, *, stream: bool, wait_s: float = 5
) -> tuple[bytes, bool]:
    """All bytes of the answer, and whether the server closed the socket."""
    name, path, body = exchange_of(vendor, model, stream)
    url = urlsplit(sim.base_url(name) + path)
    data = json.dumps(body).encode()
    target = url.path + (f"?{url.query}" if url.query else "")
    headers = {**KEYS[name], "host": "sim", "content-length": str(len(data))}
    lines = [f"POST {target} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    answer = b""
    closed = False
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        async with asyncio.timeout(wait_s):
            while piece := await reader.read(65536):
                answer += piece
                if _is_whole(answer):
                    return answer, False
            closed = True
    except TimeoutError:
        pass
    finally:
        writer.close()
        await writer.wait_closed()
    return answer, closed


def _is_whole(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_statuses(sim: Simulation, vendor: str, stream: bool) -> None:
    found = {
        model: status_of((await talk(sim, vendor, model, stream=stream))[0])
        for model in ("fault-500", "fault-503", "fault-429", "fault-html")
    }
    overloaded = 529 if vendor == "anthropic" else 503
    assert found == {
        "fault-500": 500,
        "fault-503": overloaded,
        "fault-429": 429,
        "fault-html": 502,
    }


@pytest.mark.parametrize("vendor", VENDORS)
async def test_once_is_once(sim: Simulation, vendor: str) -> None:
    found = [
        status_of((await talk(sim, vendor, "fault-429-once", stream=False))[0]) for _ in range(4)
    ]
    assert found == [429, 200, 429, 200]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_hints_to_wait(sim: Simulation, vendor: str) -> None:
    answer, _ = await talk(sim, vendor, "fault-429", stream=False)
    head, _, body = answer.partition(b"\r\n\r\n")
    if vendor == "google":
        details = json.loads(body)["error"]["details"]
        assert details == [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.05s"}
        ]
    else:
        assert b"\r\nretry-after: 0.05\r\n" in head + b"\r\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_silence(sim: Simulation, vendor: str, stream: bool) -> None:
    answer, closed = await talk(sim, vendor, "fault-hang", stream=stream, wait_s=0.15)
    assert (answer, closed) == (b"", False)
    answer, closed = await talk(sim, vendor, "fault-hang-midstream", stream=stream, wait_s=0.15)
    assert status_of(answer) == 200
    assert not closed
    assert not _is_whole(answer)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_closing(sim: Simulation, vendor: str, stream: bool) -> None:
    answer, closed = await talk(sim, vendor, "fault-close", stream=stream)
    assert (answer, closed) == (b"", True)
    answer, closed = await talk(sim, vendor, "fault-cut", stream=stream)
    assert status_of(answer) == 200
    assert closed
    assert not _is_whole(answer)
    assert not stream or b"get_weather" in answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_nonsense(sim: Simulation, vendor: str, stream: bool) -> None:
    answer, _ = await talk(sim, vendor, "fault-empty", stream=stream)
    assert status_of(answer) == 200
    assert answer.endswith(b"\r\n\r\n")
    answer, _ = await talk(sim, vendor, "fault-garbage", stream=stream)
    assert status_of(answer) == 200
    assert b"\x00\xff\xfe" in answer


@pytest.mark.parametrize("vendor", VENDORS)
async def test_errors_inside_streams(sim: Simulation, vendor: str) -> None:
    first, _ = await talk(sim, vendor, "fault-error-first", stream=True)
    middle, _ = await talk(sim, vendor, "fault-error-midstream", stream=True)
    assert (status_of(first), status_of(middle)) == (200, 200)
    assert b'"error"' in first
    assert b'"error"' in middle
    assert b"[DONE]" not in first + middle
    assert len(middle) > len(first)


async def test_slow_streams_are_paced(sim: Simulation) -> None:
    started = time.monotonic()
    answer, _ = await talk(sim, "google", "fault-slow", stream=True)
    events = answer.count(b"data: ")
    assert events >= 1
    assert time.monotonic() - started >= 0.05 * events


async def test_sdks_see_the_errors_they_know(sim: Simulation) -> None:
    async with openai.AsyncOpenAI(
        base_url=sim.base_url("openai"), api_key="k", max_retries=0
    ) as client:
        create = client.chat.completions.create
        with pytest.raises(openai.RateLimitError):
            await create(model="fault-429", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.InternalServerError):
            await create(model="fault-503", messages=[{"role": "user", "content": "x"}])
    async with anthropic.AsyncAnthropic(
        base_url=sim.base_url("anthropic"), api_key="k", max_retries=1
    ) as client:
        answer = await client.messages.create(
            model="fault-429-once", max_tokens=50, messages=[{"role": "user", "content": "once"}]
        )
        assert answer.stop_reason == "end_turn"
