"""Who is let in, and what may be reached: decided by the configuration, at the start."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from polycall.config import ClientKey, environment_config, parse_config
from polycall.errors import AuthenticationError, RateLimitError
from polycall.gateway.accounts.keys import ANYBODY, Keys
from polycall.gateway.app import Gateway
from polycall.gateway.store import open_store
from polycall.ir import JSON

UP = '[providers.up]\ndialect="openai-chat"\nbase_url="http://127.0.0.1:9/v1"\napi_key="sk-u"\n'
MODELS = 'models=["m"]\n'


@asynccontextmanager
async def serving(folder: Path, text: str) -> AsyncIterator[Gateway]:
    served = Gateway(parse_config(text, folder=folder, environment={}))
    try:
        yield served
    finally:
        await served.close()


async def ask(
    served: Gateway, method: str, path: str, body: JSON | None = None, **more: Any
) -> tuple[int, Any]:
    """Status and JSON of one request; `headers` and `client` as ASGI has them, `data` is a body."""
    sent: list[Any] = []
    data: bytes = more.pop("data", b"") if body is None else json.dumps(body).encode()

    async def receive() -> dict[str, Any]:
        if receive.__dict__.setdefault("is_read", False):
            await asyncio.sleep(60)
        receive.__dict__["is_read"] = True
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    await served({**scope, **more}, receive, send)
    text = b"".join(message["body"] for message in sent[1:])
    return sent[0]["status"], json.loads(text)


# A13


CHAT: JSON = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    "model", ["ollama/llama", "openai/gpt-5", "anthropic/claude", "vllm/x", "lmstudio/x", "groq/x"]
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a13_only_what_the_file_names_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, path: str
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY"):
        monkeypatch.setenv(name, "sk-the-operators-own")
    async with serving(tmp_path, UP + MODELS) as served:
        status, body = await ask(served, "POST", path, {**CHAT, "model": model, "input": "hi"})
        assert status == 404
        assert f"[providers.{model.partition('/')[0]}]" in json.dumps(body)
        assert (await ask(served, "GET", f"/v1/models/{model}"))[0] == 404
        count = "/v1/messages/count_tokens"
        assert (await ask(served, "POST", count, {**CHAT, "model": model}))[0] == 404


async def test_a13_the_list_of_models_is_what_can_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-operators-own")
    text = f'{UP}{MODELS}[models.fast]\nroute=["anthropic/claude-x"]\n'
    text += '[providers.mistral]\napi_key="sk-m"\nmodels=["a"]\n'
    async with serving(tmp_path, text) as served:
        _, body = await ask(served, "GET", "/v1/models")
        names = {model["id"] for model in body["data"]}
        assert names == {"fast", "up/m", "mistral/a"}
        for name in names - {"fast"}:
            assert served.services.router.possible(name)
        # An alias leads where the file says, and the provider's other models stay shut.
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-a")
        assert served.services.router.possible("fast")[0].provider.name == "anthropic"
        assert (await ask(served, "GET", "/v1/models/anthropic/claude-y"))[0] == 404


async def test_a13_a_file_without_providers_reaches_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-operators-own")
    async with serving(tmp_path, "[server]\nport = 1\n") as served:
        status, _ = await ask(
            served, "POST", "/v1/chat/completions", {**CHAT, "model": "openai/gpt-5"}
        )
        assert status == 404
        assert (await ask(served, "GET", "/v1/models"))[1]["data"] == []


def test_a13_without_a_file_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    config = environment_config()
    assert "openai" in config.named
    assert "anthropic" not in config.named
    assert "ollama" not in config.named


# A12


async def test_a12_an_emptied_store_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}", tmp_path)
    keys = Keys(store)
    keys.configure([ClientKey(key="sk-one", name="one")])
    assert not keys.is_open
    with caplog.at_level(logging.ERROR):
        keys.configure([])
    assert not keys.is_open
    assert "no key any more" in caplog.text
    with pytest.raises(AuthenticationError):
        keys.owner({}, b"")
    await store.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.internal"])
async def test_a12_beyond_loopback_nobody_is_let_in_without_a_key(
    tmp_path: Path, host: str
) -> None:
    async with serving(tmp_path, f'[server]\nhost="{host}"\n{UP}') as served:
        status, _ = await ask(served, "POST", "/v1/chat/completions", {**CHAT, "model": "up/m"})
        assert status == 401
        assert (await ask(served, "GET", "/v1/models"))[0] == 401


async def test_a12_a_worker_that_starts_later_keeps_what_was_decided(tmp_path: Path) -> None:
    config = parse_config(UP, folder=tmp_path, environment={})
    served = Gateway(config, may_be_open=False)
    assert (await ask(served, "GET", "/v1/models"))[0] == 401
    await served.close()


async def test_a12_the_first_key_closes_for_good(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}", tmp_path)
    keys = Keys(store)
    keys.configure([])
    assert keys.owner({}, b"") is ANYBODY
    keys.configure([ClientKey(key="sk-one", name="one")])
    keys.configure([])
    with pytest.raises(AuthenticationError):
        keys.owner({}, b"")
    await store.close()


# A14


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ([(b"authorization", b"Bearer sk-wrong")], "/v1/chat/completions"),
        ([(b"x-api-key", b"sk-wrong")], "/v1/messages"),
        ([], "/v1/responses"),
        ([(b"authorization", b"Bearer sk-wrong")], "/v1/models"),
    ],
)
async def test_a14_strangers_leave_no_row_and_are_slowed(
    tmp_path: Path, headers: list[tuple[bytes, bytes]], path: str
) -> None:
    text = f'{UP}{MODELS}[[keys]]\nkey="sk-good-0123456789"\nname="good"\n'
    async with serving(tmp_path, text) as served:
        rows: list[Any] = []
        served.store.add_row = rows.append  # type: ignore[method-assign]
        method = "GET" if path == "/v1/models" else "POST"
        statuses = [
            (await ask(served, method, path, {}, headers=headers, client=("192.0.2.1", n)))[0]
            for n in range(200)
        ]
        assert set(statuses) == {401, 429}
        assert 90 <= statuses.count(401) <= 110
        assert statuses[-1] == 429
        assert rows == []
        # Another address is not meant, nor a good key at this one.
        assert (await ask(served, method, path, {}, headers=headers, client=("192.0.2.2", 1)))[
            0
        ] == 401
        good = [(b"authorization", b"Bearer sk-good-0123456789")]
        status, _ = await ask(served, "GET", "/v1/models", headers=good, client=("192.0.2.1", 1))
        assert status == 200


@pytest.mark.parametrize(
    "addresses",
    [
        lambda n: f"2001:db8::{n:x}",
        lambda n: f"2001:db8::{n:x}:{n:x}%eth0",
        lambda n: "::ffff:192.0.2.1" if n % 2 else "192.0.2.1",
    ],
)
async def test_a14_addresses_that_cost_nothing_are_one(
    tmp_path: Path, addresses: Callable[[int], str]
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}", tmp_path)
    keys = Keys(store, may_be_open=False)
    keys.configure([])
    refused: list[type[Exception]] = []
    for number in range(1, 300):
        with pytest.raises((AuthenticationError, RateLimitError)) as caught:
            keys.owner({}, b"", addresses(number))
        refused.append(caught.type)
    assert 150 < refused.count(RateLimitError) < 210
    with pytest.raises(AuthenticationError):
        keys.owner({}, b"", "2001:db9::1")
    await store.close()


async def test_a14_addresses_are_bounded(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}", tmp_path)
    keys = Keys(store, may_be_open=False)
    keys.configure([])
    for number in range(30_000):
        with pytest.raises((AuthenticationError, RateLimitError)):
            keys.owner({}, b"", f"10.0.{number >> 8}.{number & 255}")
    assert len(keys._strangers._tries) <= 10_000
    await store.close()


# What is awaited before a body is read


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/batches"])
@pytest.mark.parametrize("waits_s", [0.5, 1.0])
async def test_a_body_waits_for_its_reader_whatever_is_looked_up_before(
    tmp_path: Path, path: str, waits_s: float
) -> None:
    text = (
        f'{UP}{MODELS}[[keys]]\nkey="sk-good-0123456789"\nname="good"\nrequests_per_minute = 100\n'
    )
    async with serving(tmp_path, text) as served:

        async def count_request(owner: Any) -> None:
            await asyncio.sleep(waits_s)  # a slow database

        served._limits.count_request = count_request  # type: ignore[method-assign]
        good = [(b"authorization", b"Bearer sk-good-0123456789")]
        body = {"model": "", "input": "x", "messages": []}
        async with asyncio.timeout(10):
            status, answer = await ask(served, "POST", path, body, headers=good)
        assert status in (400, 404, 502), answer


# A12: where nobody needs a key, pages of other sites are strangers


PAGES: dict[str, list[tuple[bytes, bytes]]] = {
    "another site": [(b"host", b"127.0.0.1:8080"), (b"origin", b"https://evil.example")],
    "a frame without an origin": [(b"host", b"localhost:8080"), (b"origin", b"null")],
    "a name that was made to lead here": [(b"host", b"evil.example:8080")],
    "a name of the local network": [(b"origin", b"http://intranet")],
    "a name that only begins well": [(b"origin", b"http://localhost.evil.example")],
    "a user that looks like this machine": [(b"origin", b"http://localhost@evil.example")],
    "an address of the network": [(b"host", b"192.168.0.7:8080")],
    "what is no address": [(b"origin", b"http://[")],
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/files"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
    ],
)
async def test_a12_an_open_gateway_is_not_open_to_pages(
    tmp_path: Path, page: str, method: str, path: str
) -> None:
    async with serving(tmp_path, UP + MODELS) as served:
        status, answer = await ask(served, method, path, {"model": "up/m"}, headers=PAGES[page])
        assert status == 403, answer
    async with serving(
        tmp_path, f'{UP}{MODELS}[[keys]]\nkey="sk-0123456789"\nname="k"\n'
    ) as served:
        key = [*PAGES[page], (b"authorization", b"Bearer sk-0123456789")]
        status, _ = await ask(served, "GET", "/v1/models", headers=key)
        assert status == 200  # who has a key may come from anywhere


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"127.0.0.1:8080"), (b"origin", b"http://localhost:3000")],
        [(b"host", b"[::1]:8080"), (b"origin", b"http://[::1]:3000")],
        [(b"host", b"gateway:8080")],
        [(b"host", b"host.docker.internal:8080")],
        [(b"host", b"app.localhost"), (b"origin", b"http://app.localhost")],
    ],
)
async def test_an_open_gateway_serves_this_machine(
    tmp_path: Path, headers: list[tuple[bytes, bytes]]
) -> None:
    async with serving(tmp_path, UP + MODELS) as served:
        assert (await ask(served, "GET", "/v1/models", headers=headers))[0] == 200
