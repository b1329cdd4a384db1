"""Clients' WebSockets through the gateway to a realtime voice, as a real process serves them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import socket
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from polycall.sim.realtime import SoundFormat, VoiceSimulation
from polycall.sim.script import Call, Turn
from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.gateway.voices import COST, GARBAGE, SOUND, OddVoices, odd_voices

PROVIDER_KEY = "sk-provider-of-voices-0001"
LIMITED, POOR, FEW = "sk-limited-00000001", "sk-poor-000000000001", "sk-few-0000000000001"
ODD = "odd/gpt-realtime-2.1-{}"
SERVER = "[server]\nheartbeat_s = 3.0\nbody_s = 2\ndrain_s = 2\nattempts = 3\n"


def provider(name: str, base_url: str) -> str:
    return f'[providers.{name}]\napi_key = "{PROVIDER_KEY}"\nbase_url = "{base_url}"\n'


def key(name: str, secret: str, more: str = "") -> str:
    return f'[[keys]]\nkey = "{secret}"\nname = "{name}"\n{more}\n'


def configuration(voices: OddVoices, sim: VoiceSimulation, *, more: str = SERVER) -> str:
    price = 'dialect = "openai-chat"\n'
    return "\n".join(
        [
            more,
            provider("openai", sim.base_url("openai")),
            provider("google", sim.base_url("google")),
            provider("odd", voices.base_url) + price,
            provider("gone", "http://127.0.0.1:9/v1") + price,
            "[providers.odd.prices]\n",
            '"gpt-realtime-2.1-replies" = { input = 4.0, output = 16.0 }\n',
            '[models.careful]\nroute = ["gone/gpt-realtime-2.1-echo", "odd/gpt-realtime-2.1-echo"]',
            key("first", KEY),
            key("second", OTHER_KEY, 'models = ["openai/*"]'),
            key("limited", LIMITED, "tokens_per_minute = 1000"),
            key("poor", POOR, 'budget_usd = 0.015\nbudget_per = "day"'),
            key("few", FEW, "requests_per_minute = 1"),
        ]
    )


@pytest.fixture(autouse=True)
async def closed_sockets() -> AsyncGenerator[None]:
    """Clients close their sockets a turn of the loop after they say so."""
    yield
    await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def voices() -> Iterator[OddVoices]:
    with odd_voices() as served:
        yield served


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VoiceSimulation]:
    with VoiceSimulation() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    voices: OddVoices, sim: VoiceSimulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    served = Gateway(tmp_path_factory.mktemp("sessions"), configuration(voices, sim)).start()
    yield served
    assert served.stop() == 0
    assert PROVIDER_KEY not in served.log


def rows_of(gateway: Gateway, asked: str, expected: int = 1) -> list[dict[str, Any]]:
    """The ledger's rows for a model, once there are so many."""
    ends_at = time.monotonic() + 30
    while True:
        rows = [row for row in gateway.ledger(0) if row["asked"] == asked]
        if len(rows) >= expected or time.monotonic() > ends_at:
            return rows
        time.sleep(0.05)


@contextlib.asynccontextmanager
async def connected(
    gateway: Gateway,
    model: str,
    *,
    path: str = "/v1/realtime?model={}",
    secret: str = KEY,
    **options: Any,
) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
    url = gateway.url + path.format(model)
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    options = {"headers": headers, "max_msg_size": 2**25, **options}
    async with aiohttp.ClientSession() as session:
        connect: Any = session.ws_connect
        client: aiohttp.ClientWebSocketResponse = await connect(url, **options)
        try:
            yield client
        finally:
            await client.close()


async def next_frame(socket: aiohttp.ClientWebSocketResponse) -> Any:
    async with asyncio.timeout(60):
        return json.loads(await socket.receive_str())


async def close_of(socket: aiohttp.ClientWebSocketResponse) -> tuple[list[Any], int | None]:
    """The frames until the end, and its code."""
    frames: list[Any] = []
    async with asyncio.timeout(60):
        async for message in socket:
            frames.append(json.loads(message.data))
    return frames, socket.close_code


# Stock clients


async def speak(send: Any, sound: SoundFormat, *, s: float = 0.6) -> None:
    """Speech, then so many seconds of silence."""
    for data, count in ((sound.tone(20), 20), (sound.silence(20), int(s * 50))):
        for _ in range(count):
            await send(data)
            await asyncio.sleep(0.02)


async def test_the_openai_client_talks_through_the_gateway(
    gateway: Gateway, sim: VoiceSimulation
) -> None:
    long = "This is a long answer that takes a while to be spoken to its very end. " * 2
    turns = [Turn("One moment.", calls=[Call("weather", {"city": "서울 ☃"})]), Turn(long)]
    script = sim.talk("gpt-realtime-2.1", turns, heard=["Hello", "Stop"])
    client = AsyncOpenAI(api_key=KEY, base_url=f"{gateway.url}/v1")
    kinds: list[str] = []
    arguments = ""
    async with client, client.realtime.connect(model="openai/gpt-realtime-2.1") as connection:
        tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
        await connection.session.update(session={"type": "realtime", "tools": [tool]})
        sound = SoundFormat()

        async def send(data: bytes) -> None:
            await connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())

        speaking = asyncio.create_task(speak(send, sound))
        async with asyncio.timeout(60):
            async for event in connection:
                kinds.append(event.type)
                if event.type == "response.output_item.done" and event.item.type == "function_call":
                    arguments = event.item.arguments or ""
                    output: Any = {"type": "function_call_output", "output": "눈"}
                    output["call_id"] = event.item.call_id
                    await connection.conversation.item.create(item=output)
                if event.type == "response.done" and kinds.count(event.type) == 1:
                    await connection.response.create()
                is_answer = "response.done" in kinds
                if event.type == "response.output_audio.delta" and is_answer and speaking.done():
                    speaking = asyncio.create_task(speak(send, sound))
                if event.type == "response.done" and event.response.status == "cancelled":
                    break
        speaking.cancel()
    assert json.loads(arguments) == {"city": "서울 ☃"}
    assert script.record.answers
    assert script.record.refusals == []
    done, cancelled = rows_of(gateway, "openai/gpt-realtime-2.1", 2)
    usage = [each for _, each in script.record.usage if "input_tokens" in each]
    assert [done["input_tokens"], cancelled["input_tokens"]] == [u["input_tokens"] for u in usage]
    assert [done["outcome"], cancelled["outcome"]] == ["ok", "cancelled"]
    assert done["calls"] == 1
    assert done["client"] == "openai-realtime"
    assert float(done["cost_usd"]) > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_openai_agents_talks_through_the_gateway(
    gateway: Gateway, sim: VoiceSimulation
) -> None:
    agents: Any = pytest.importorskip("agents", reason="openai-agents is absent")
    realtime: Any = pytest.importorskip("agents.realtime")

    @agents.function_tool
    def hours() -> str:
        """When the house is open."""
        return "nine to five"

    turns = [Turn("", calls=[Call("hours", {})]), Turn("It is open from nine to five.")]
    script = sim.talk("gpt-realtime-2", turns, heard=["When are you open?"])
    agent = realtime.RealtimeAgent(name="host", instructions="Be brief.", tools=[hours])
    url = f"ws{gateway.url.removeprefix('http')}/v1/realtime?model=openai/gpt-realtime-2"
    said: list[str] = []
    settings = {"model_name": "openai/gpt-realtime-2"}
    session = await realtime.RealtimeRunner(agent).run(
        model_config={"url": url, "api_key": KEY, "initial_model_settings": settings}
    )
    async with session, asyncio.timeout(60):
        sound = SoundFormat()
        speaking = asyncio.create_task(speak(session.send_audio, sound))
        async for event in session:
            said.append(event.type)
            if event.type == "agent_end" and "tool_end" in said:
                break
        await speaking
    assert {"agent_start", "tool_start", "tool_end", "audio", "agent_end"} <= set(said)
    assert script.record.answers
    assert script.record.refusals == []
    assert len(rows_of(gateway, "openai/gpt-realtime-2", 2)) == 2
    gc.collect()  # the library leaves its socket to the collector


async def test_the_openai_client_talks_live_through_the_gateway(
    gateway: Gateway, sim: VoiceSimulation
) -> None:
    script = sim.talk("", [Turn("One moment.", calls=[Call("x")])], heard=["Hello"])
    client = AsyncOpenAI(api_key=KEY, base_url=f"{gateway.url}/v1")
    async with client, client.live.connect() as connection:
        session: Any = {"model": "openai/gpt-live-1.1", "delegation": {"type": "client"}}
        await connection.send({"type": "session.start", "session": session})

        async def send(data: bytes) -> None:
            append: Any = {"type": "session.input_audio.append"}
            append["audio"] = base64.b64encode(data).decode()
            await connection.send(append)

        is_answered = False
        speaking = asyncio.create_task(speak(send, SoundFormat(), s=30))
        async with asyncio.timeout(60):
            async for event in connection:
                if event.type == "session.delegation.created":
                    answer: Any = {"type": "session.commentary.append", "content": "It snows."}
                    answer["delegation_id"] = event.delegation.id
                    await connection.send(answer)
                if event.type == "session.commentary.appended":
                    is_answered = True
                # Sound and silence flow on: a second of them comes after the answer in any case.
                if event.type == "session.usage.updated" and is_answered:
                    await connection.send({"type": "session.close"})
                if event.type == "session.closed":
                    break
        speaking.cancel()
    assert script.record.answers
    assert script.record.refusals == []
    started = next(body for _, body in script.record.received if body["type"] == "session.start")
    assert started["session"]["model"] == "gpt-live-1.1"
    (row,) = rows_of(gateway, "openai/gpt-live-1.1")
    seconds = max(each["seconds"] for _, each in script.record.usage)
    assert float(row["cost_usd"]) == pytest.approx(seconds * 0.05 / 60)


async def test_a_gemini_client_talks_through_the_gateway(
    gateway: Gateway, sim: VoiceSimulation
) -> None:
    script = sim.talk("", [Turn("It snows.")], heard=["Hello"])
    path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key={}"
    async with connected(gateway, KEY, path=path, secret="") as client:
        setup: dict[str, Any] = {
            "model": "models/google/gemini-3.8-live",
            "outputAudioTranscription": {},
        }
        setup["generationConfig"] = {"responseModalities": ["AUDIO"]}
        await client.send_json({"setup": setup})
        sound = SoundFormat(rate=16000)

        async def send(data: bytes) -> None:
            blob = {"data": base64.b64encode(data).decode(), "mimeType": "audio/pcm;rate=16000"}
            await client.send_json({"realtimeInput": {"audio": blob}})

        speaking = asyncio.create_task(speak(send, sound))
        async with asyncio.timeout(60):
            async for message in client:
                if '"turnComplete"' in str(message.data):
                    break
        await speaking
    assert script.record.refusals == []
    assert script.record.received[0][1]["setup"]["model"] == "models/gemini-3.8-live"
    (row,) = rows_of(gateway, "google/gemini-3.8-live")
    assert row["client"] == "gemini-live"
    assert row["outcome"] == "ok"
    assert float(row["cost_usd"]) > 0


async def test_a_browser_sends_its_key_as_a_protocol(gateway: Gateway, voices: OddVoices) -> None:
    protocols = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
    async with connected(gateway, ODD.format("echo"), secret="", protocols=protocols) as client:
        assert client.protocol == "realtime"
        assert (await next_frame(client))["type"] == "session.created"
    seen = voices.seen[-1]
    assert seen["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert "sec-websocket-protocol" not in seen
    assert voices.targets[-1] == "/v1/realtime?model=gpt-realtime-2.1-echo"


# Refusals


REFUSALS = [
    ("no key", "odd/gpt-realtime-2.1-echo", "", 401),
    ("a wrong key", "odd/gpt-realtime-2.1-echo", "sk-nobody", 401),
    ("no model", "", KEY, 400),
    ("an unknown provider", "nobody/gpt-realtime-2.1", KEY, 404),
    ("a model that has no voice", "openai/gpt-5.4", KEY, 404),
    ("a model of another protocol", "openai/gpt-live-1.1", KEY, 400),
    ("a model that the key may not use", "odd/gpt-realtime-2.1-echo", OTHER_KEY, 403),
    ("a key with a budget, and no price", "odd/gpt-realtime-2.1-echo", POOR, 403),
    ("another parameter", "odd/gpt-realtime-2.1-echo&call_id=1", KEY, 400),
    ("a path", "odd/../../admin", KEY, 404),
    ("a provider that is down", "gone/gpt-realtime-2.1", KEY, 502),
    ("a provider that refuses the key", "odd/gpt-realtime-2.1-unauthorized", KEY, 502),
    ("a provider that is busy", "odd/gpt-realtime-2.1-busy", KEY, 503),
]


@pytest.mark.parametrize(("kind", "model", "secret", "status"), REFUSALS)
def test_what_is_refused_is_refused_by_http(
    gateway: Gateway, kind: str, model: str, secret: str, status: int
) -> None:
    answer = gateway.request(
        "GET", f"/v1/realtime?model={model}", key=secret or None, headers=UPGRADE
    )
    assert answer.status == status, answer.content
    error = answer.json()["error"]
    assert error["message"]
    assert PROVIDER_KEY.encode() not in answer.content
    assert answer.headers["polycall-request-id"].startswith("req_")


UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 426),
        ({**UPGRADE, "sec-websocket-version": "99"}, 426),
        ({**UPGRADE, "sec-websocket-version": "7"}, 426),
        ({**UPGRADE, "sec-websocket-key": "short"}, 400),
        ({**UPGRADE, "upgrade": "h2c"}, 426),
        ({**UPGRADE, "content-length": "0"}, 426),
    ],
)
def test_what_asks_for_no_websocket_has_none(
    gateway: Gateway, headers: dict[str, str], status: int
) -> None:
    path = "/v1/realtime?model=odd/gpt-realtime-2.1-echo"
    assert gateway.request("GET", path, headers=headers).status == status
    # The server goes on.
    assert gateway.request("GET", "/healthz").status == 200


def test_other_paths_are_asked_without_a_websocket(gateway: Gateway) -> None:
    assert gateway.request("GET", "/v1/chat/completions", headers=UPGRADE).status == 426
    assert gateway.request("GET", "/v1/models", headers=UPGRADE).status == 200


async def test_a_first_frame_that_names_nothing_is_refused_by_a_frame(gateway: Gateway) -> None:
    async with connected(gateway, "", path="/v1/live/sessions") as client:
        await client.send_json({"type": "session.start", "session": {"model": "openai/nothing"}})
        frames, code = await close_of(client)
    assert [frame["type"] for frame in frames] == ["error"]
    assert frames[0]["error"]["code"] == "model_not_found"
    assert code == 1008
    async with connected(gateway, "", path="/v1/live/sessions") as client:
        await client.send_str("[" * 1000)
        _, code = await close_of(client)
    assert code == 1008


# Frames


async def test_frames_pass_as_they_came(gateway: Gateway, voices: OddVoices) -> None:
    texts = [
        '{"type": "x",  "text": "안녕 👋🏽 \\u0000"}',
        "no JSON",
        "",
        '{"usage":',
        "가" * 300_000,
    ]
    async with connected(gateway, ODD.format("echo")) as client:
        await next_frame(client)
        for text in texts:
            await client.send_str(text)
            assert await client.receive_str() == text
        await client.send_bytes(b"\x00\xff")
        assert await client.receive_bytes() == b"\x00\xff"


async def test_what_no_voice_says_is_passed_on_and_harms_nothing(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("garbage")) as client:
        await next_frame(client)
        async with asyncio.timeout(60):
            assert [await client.receive_str() for _ in GARBAGE] == GARBAGE
            assert await client.receive_bytes() == b'"usage"\xff\x00'
        await client.send_str("enough")
        _, code = await close_of(client)
    assert code == 1000
    rows = rows_of(gateway, ODD.format("garbage"), 2)
    assert all("-" in row["id"] for row in rows)  # of its replies: the session did not fail


async def test_a_target_that_is_down_leaves_the_next_one(gateway: Gateway) -> None:
    async with connected(gateway, "careful") as client:
        assert (await next_frame(client))["type"] == "session.created"
    (row,) = rows_of(gateway, "careful")
    assert (row["provider"], row["attempts"], row["outcome"]) == ("odd", 2, "ok")
    assert (row["cost_usd"], row["input_tokens"]) == ("0", 0)  # nobody said anything


async def test_the_provider_key_is_never_said(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("babbler")) as client:
        await next_frame(client)
        assert (await next_frame(client))["text"] == "[redacted]"
    async with connected(gateway, ODD.format("stranger")) as client:
        frames, code = await close_of(client)
    assert [frame["type"] for frame in frames] == ["session.created", "error"]
    assert "the gateway's operator must mend that" in frames[1]["error"]["message"]
    assert PROVIDER_KEY not in json.dumps(frames)
    assert code == 1011


async def test_the_provider_ends_a_session_in_its_own_words(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("hour")) as client:
        await next_frame(client)
        async with asyncio.timeout(60):
            message = await client.receive()
    assert (message.data, message.extra) == (1001, "Your session hit the maximum duration")
    async with connected(gateway, ODD.format("crash")) as client:
        _, code = await close_of(client)
    assert code == 1011
    (row,) = rows_of(gateway, ODD.format("crash"))
    assert row["outcome"] == "error"


async def test_a_frame_that_is_too_large_ends_its_session(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("echo")) as other:
        await next_frame(other)
        async with connected(gateway, ODD.format("echo")) as client:
            await next_frame(client)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await client.send_str("a" * (16 * 2**20 + 1))
            _, code = await close_of(client)
        assert code in (1009, 1006)
        await other.send_str("still here")
        assert await other.receive_str() == "still here"


# Limits and money


async def ask(client: aiohttp.ClientWebSocketResponse) -> Any:
    await client.send_json({"type": "response.create"})
    while (frame := await next_frame(client))["type"] not in ("response.done", "error"):
        pass
    return frame


async def test_each_reply_has_a_row_and_its_price(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("replies")) as client:
        await next_frame(client)
        assert (await ask(client))["type"] == "response.done"
        assert (await ask(client))["type"] == "response.done"
    first, second = rows_of(gateway, ODD.format("replies"), 2)[:2]
    assert (first["input_tokens"], first["output_tokens"], first["cached_tokens"]) == (
        1000,
        500,
        100,
    )
    # The operator's own price: 1000 tokens in at 4 dollars for a million, 500 out at 16.
    assert float(first["cost_usd"]) == pytest.approx((1000 * 4 + 500 * 16) / 1e6)
    assert first["id"].rpartition("-")[0] == second["id"].rpartition("-")[0]


async def test_a_budget_ends_a_session_one_reply_late_at_most(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("replies"), secret=POOR) as client:
        await next_frame(client)
        assert (await ask(client))["type"] == "response.done"  # 0.012 of 0.015 dollars
        await client.send_json({"type": "response.create"})
        frames, code = await close_of(client)
    assert [frame["type"] for frame in frames] == ["response.created", "response.done", "error"]
    assert frames[-1]["error"]["code"] == "rate_limit_exceeded"
    assert code == 1008
    path = f"/v1/realtime?model={ODD.format('replies')}"
    answer = gateway.request("GET", path, key=POOR, headers=UPGRADE)
    assert answer.status == 429
    assert "budget" in answer.json()["error"]["message"]


async def test_tokens_a_minute_end_a_session_one_reply_late_at_most(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("replies"), secret=LIMITED) as client:
        await next_frame(client)
        await client.send_json({"type": "response.create"})  # 1500 of 1000 tokens
        frames, code = await close_of(client)
    assert [frame["type"] for frame in frames] == ["response.created", "response.done", "error"]
    assert code == 1008


def test_opening_a_session_is_a_request(gateway: Gateway) -> None:
    path = f"/v1/realtime?model={ODD.format('echo')}"
    found = [gateway.request("GET", path, key=FEW, headers=UPGRADE).status for _ in range(3)]
    assert found[0] == 101
    assert 429 in found  # a new minute may begin between two


# Ends


async def until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_client_that_leaves_in_a_reply_still_pays_for_it(
    gateway: Gateway, voices: OddVoices
) -> None:
    closed = len(voices.closed)
    async with connected(gateway, ODD.format("leaver-replies")) as client:
        await next_frame(client)
        await ask(client)
        await ask(client)
        await client.send_json({"type": "response.create"})  # this one does not end by itself
        while (await next_frame(client))["type"] != "response.created":
            pass
        connection = client._response.connection  # pyright: ignore[reportPrivateUsage]
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        await until(lambda: len(voices.closed) > closed)
    rows = rows_of(gateway, ODD.format("leaver-replies"), 3)
    assert [row["outcome"] for row in rows] == ["ok", "ok", "cancelled"]
    assert rows[-1]["input_tokens"] == 1000


@pytest.mark.parametrize("kind", ["response.create", "response\\u002ecreate"])
async def test_a_client_that_leaves_before_its_reply_begins_still_pays_for_it(
    gateway: Gateway, voices: OddVoices, kind: str
) -> None:
    model, closed = ODD.format(f"{len(kind)}-slow"), len(voices.closed)
    async with connected(gateway, model) as client:
        await next_frame(client)
        await client.send_str(f'{{"type":"{kind}"}}')
        connection = client._response.connection  # pyright: ignore[reportPrivateUsage]
        assert connection is not None
        assert connection.transport is not None
        await asyncio.sleep(0.1)
        connection.transport.abort()
        await until(lambda: len(voices.closed) > closed)
    (row,) = rows_of(gateway, model, 1)
    assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == ("cancelled", 1000, 500)


async def test_a_client_that_reads_nothing_is_given_up(gateway: Gateway, voices: OddVoices) -> None:
    resident, closed = gateway.resident_bytes, len(voices.closed)
    with opened(gateway, ODD.format("flood")):
        await until(lambda: len(voices.closed) > closed)
    assert gateway.resident_bytes - resident < 30 * 2**20
    (row,) = rows_of(gateway, ODD.format("flood"))
    assert row["outcome"] == "cancelled"


async def test_a_client_that_is_gone_without_a_word_is_noticed(
    gateway: Gateway, voices: OddVoices
) -> None:
    closed = len(voices.closed)
    with opened(gateway, ODD.format("echo")):  # it answers no ping
        await until(lambda: len(voices.closed) > closed)


async def test_a_provider_that_takes_nothing_is_given_up(gateway: Gateway) -> None:
    async with connected(gateway, ODD.format("deaf")) as client:
        await next_frame(client)
        frame = json.dumps({"type": "input_audio_buffer.append", "audio": SOUND * 50})

        async def send() -> None:
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                while True:
                    await client.send_str(frame)

        sending = asyncio.create_task(send())
        _, code = await close_of(client)
        sending.cancel()
    assert code in (1011, 1006)


@contextlib.contextmanager
def opened(gateway: Gateway, model: str) -> Generator[socket.socket]:
    """A WebSocket of a client that says nothing after its request, not even pong."""
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        lines = [f"{name}: {value}" for name, value in UPGRADE.items()]
        head = [f"GET /v1/realtime?model={model} HTTP/1.1", "host: localhost", *lines]
        head.append(f"authorization: Bearer {KEY}")
        client.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        assert client.recv(12) == b"HTTP/1.1 101"
        yield client


async def test_a_session_that_was_begun_ends_with_the_server(
    voices: OddVoices, sim: VoiceSimulation, tmp_path: Path
) -> None:
    more = SERVER.replace("drain_s = 2", "drain_s = 4")
    served = Gateway(tmp_path, configuration(voices, sim, more=more)).start()
    async with connected(served, ODD.format("replies")) as client:
        await next_frame(client)
        await ask(client)
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(served.stop))
        await asyncio.sleep(0.3)
        assert (await ask(client))["type"] == "response.done"  # it goes on while there is time
        frames, code = await close_of(client)
    assert code == 1012
    assert "restarting" in frames[-1]["error"]["message"]
    assert await stopping == 0
    assert time.monotonic() - began < 30
    assert len(rows_of(served, ODD.format("replies"), 3)) == 3  # two replies, and how it ended


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
async def test_two_gateways_share_a_budget(
    voices: OddVoices, sim: VoiceSimulation, tmp_path: Path, store_url: str
) -> None:
    store = f'[store]\nurl = "{store_url}"\n'
    with contextlib.ExitStack() as stack:
        pair: list[Gateway] = []
        for name in ("one", "two"):
            (folder := tmp_path / name).mkdir()
            pair.append(Gateway(folder, configuration(voices, sim, more=SERVER + store)).start())
            stack.callback(pair[-1].stop)
        model = ODD.format("replies")
        async with (
            connected(pair[0], model, secret=POOR) as first,
            connected(pair[1], model, secret=POOR) as second,
        ):
            await next_frame(first)
            await next_frame(second)
            assert (await ask(first))["type"] == "response.done"  # 0.012 of 0.015 dollars
            await second.send_json({"type": "response.create"})
            # Whichever is counted last has used more than was left.
            ends = {asyncio.create_task(close_of(each)) for each in (first, second)}
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            frames, code = done.pop().result()
            assert (frames[-1]["error"]["code"], code) == ("rate_limit_exceeded", 1008)
            for each in ends:
                each.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


async def test_without_keys_no_page_of_another_site_is_let_in(
    voices: OddVoices, sim: VoiceSimulation, tmp_path: Path
) -> None:
    config = configuration(voices, sim).partition("[[keys]]")[0]
    served = Gateway(tmp_path, config).start()
    try:
        path = f"/v1/realtime?model={ODD.format('echo')}"
        headers = {**UPGRADE, "origin": "https://elsewhere.example"}
        assert served.request("GET", path, key=None, headers=headers).status == 403
        own = {"origin": f"http://localhost:{served.port}"}
        async with connected(served, ODD.format("echo"), secret="", headers=own) as client:
            assert (await next_frame(client))["type"] == "session.created"
    finally:
        served.stop()


async def test_a_session_outlives_no_key(
    voices: OddVoices, sim: VoiceSimulation, tmp_path: Path
) -> None:
    served = Gateway(tmp_path, configuration(voices, sim)).start()
    try:
        async with connected(served, ODD.format("echo")) as client:
            await next_frame(client)
            text = served.path.read_text().replace(KEY, "sk-another-one-00001")
            served.path.write_text(text)
            served.signal(1)
            frames, code = await close_of(client)
    finally:
        served.stop()
    assert frames[-1]["error"]["code"] == "invalid_api_key"
    assert code == 1008


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
async def test_a_killed_gateway_leaves_its_rows_and_counts_to_the_other(
    voices: OddVoices, sim: VoiceSimulation, tmp_path: Path, store_url: str
) -> None:
    """The budget is 3 replies and a third; one gateway dies with its session open."""
    config = configuration(voices, sim, more=f'{SERVER}[store]\nurl = "{store_url}"\n')
    config = config.replace("budget_usd = 0.015", "budget_usd = 0.04")
    model, told = ODD.format("replies"), 0
    with contextlib.ExitStack() as stack:
        pair: list[Gateway] = []
        for name in ("one", "two"):
            (folder := tmp_path / name).mkdir()
            pair.append(Gateway(folder, config).start())
            stack.callback(pair[-1].kill)
        async with (
            connected(pair[0], model, secret=POOR) as first,
            connected(pair[1], model, secret=POOR) as second,
        ):
            await next_frame(first)
            await next_frame(second)
            for client in (first, first, second):
                told += (await ask(client))["type"] == "response.done"
            await asyncio.sleep(1)
            pair[0].kill()
            told += (await ask(second))["type"] == "response.done"
            frames, code = await close_of(second)
            assert (frames[-1]["error"]["code"], code) == ("rate_limit_exceeded", 1008)
        refused = pair[1].request("GET", f"/v1/realtime?model={model}", key=POOR, headers=UPGRADE)
        assert refused.status == 429
        assert pair[1].stop() == 0  # it writes what it has yet to write
    rows = paid(store_url)
    # The fourth reply is the first that is more than was left: none is lost or counted twice.
    assert told == len(rows) == len({each for each, _ in rows}) == 4
    assert sum(float(cost) for _, cost in rows) == pytest.approx(4 * 0.012)


def paid(url: str) -> list[tuple[str, str]]:
    """The replies in a ledger that somebody pays for: their ids and costs."""
    query = "SELECT id, cost_usd FROM ledger WHERE input_tokens > 0"
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            return database.execute(query).fetchall()
    import psycopg

    with psycopg.connect(url) as database:
        return database.execute(query).fetchall()


async def test_rows_of_replies_survive_a_killed_gateway(
    voices: OddVoices, sim: VoiceSimulation, tmp_path: Path
) -> None:
    served = Gateway(tmp_path, configuration(voices, sim)).start()
    async with connected(served, ODD.format("replies")) as client:
        await next_frame(client)
        await ask(client)
        assert len(rows_of(served, ODD.format("replies"))) == 1
        served.kill()
    (row,) = rows_of(served, ODD.format("replies"))
    assert row["outcome"] == "ok"


def test_the_price_by_hand_is_that_of_the_table() -> None:
    from polycall.voices.capabilities import voice_for
    from polycall.voices.usage import VoiceUsage, cost_usd

    used = VoiceUsage(
        text_tokens=400,
        audio_tokens=600,
        cached_audio_tokens=100,
        output_text_tokens=100,
        output_audio_tokens=400,
    )
    cost = cost_usd(used, voice_for("openai", "gpt-realtime-2.1").price)
    assert float(cost or 0) == pytest.approx(COST)
