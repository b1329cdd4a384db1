"""Routes over several protocols, addresses that only a provider can read, and memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from polycall.dialects import gemini, openai_chat
from polycall.gateway.media.request_media import wanted_media
from polycall.sim import Simulation
from tests.gateway.harness import KEY, Gateway, provider_table, sim_config
from tests.gateway.upstream import bad_upstream

ALIASES = """
[models.over]
route = ["up-anthropic/fault-503", "up-gemini/fault-503", "up-chat/sim-1"]
"""
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory, sim: Simulation) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("routes"), sim_config(sim, ALIASES)).start()
    yield gateway
    assert gateway.stop() == 0


@pytest.mark.parametrize("client", ["openai-responses", "anthropic", "openai-chat"])
def test_i04_each_stop_is_rendered_from_the_original(
    routed: Gateway, sim: Simulation, client: str
) -> None:
    text = "What is the weather in Seoul? 서울"
    body: dict[str, Any]
    match client:
        case "openai-responses":
            path, body = "/v1/responses", {"input": text, "tools": [TOOL], "top_p": 0.5}
        case "anthropic":
            tool = {"name": "get_weather", "input_schema": TOOL["parameters"]}
            messages = [{"role": "user", "content": text}]
            path = "/v1/messages"
            body = {"messages": messages, "max_tokens": 99, "tools": [tool], "top_k": 7}
        case _:
            path = "/v1/chat/completions"
            body = {"messages": [{"role": "user", "content": text}], "seed": 3}

    def sent(model: str) -> tuple[Any, str | None]:
        answer = routed.post(path, {**body, "model": model})
        assert (answer.status, answer.headers["polycall-model"]) == (200, "up-chat/sim-1")
        return sim.requests[-1].body, answer.headers.get("polycall-warnings")

    assert sent("over") == sent("up-chat/sim-1")


def test_i14_addresses_that_only_the_provider_can_read_are_kept() -> None:
    url = "gs://bucket/a.png"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    request = openai_chat.parse_request(body)
    assert wanted_media(request, "gemini") == {}
    rendered = json.dumps(gemini.render_request(request).body)
    assert f'"fileUri": "{url}"' in rendered


@pytest.mark.slow
def test_i07_streams_leave_nothing_in_memory(folder: Path) -> None:
    with bad_upstream() as upstream, ThreadPoolExecutor(16) as pool:
        tables = [
            provider_table("up", upstream.base_url, "openai-chat", 'quirks = "openai"'),
            f'[[keys]]\nkey = "{KEY}"\n',
        ]
        gateway = Gateway(folder, "\n".join(tables)).start()

        def ask(number: int) -> int:
            # Passed through, translated, and broken off.
            model = "up/cut" if number % 7 == 0 else "up/plain"
            content = [{"role": "user", "content": "x" * 200_000}]
            body = {"model": model, "messages": content, "stream": True, "max_tokens": 9}
            path = "/v1/messages" if number % 2 else "/v1/chat/completions"
            return gateway.post(path, body).status

        assert set(pool.map(ask, range(300))) <= {200, 502}
        before = gateway.resident_bytes
        assert set(pool.map(ask, range(500))) <= {200, 502}
        grown = gateway.resident_bytes - before
        assert gateway.stop() == 0
    # Five hundred kept bodies would be a hundred megabytes; caches that fill are a few.
    assert grown < 16 * 1024 * 1024
