"""Images by URL through the gateway, and Gemini's two spellings."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.drivers import PIXEL
from tests.gateway.harness import Gateway, sim_config
from tests.gateway.test_bad_input import BODIES
from tests.gateway.test_requests import shape_is
from tests.sdk import canned

PNG = base64.b64decode(PIXEL)


@pytest.fixture
def image() -> Iterator[str]:
    with canned(200, "image/png", PNG, method="GET") as url:
        yield f"{url}/a.png"


def asking(client: str, url: str) -> tuple[str, dict[str, Any]]:
    text = "what is this?"
    match client:
        case "anthropic":
            source = {"type": "url", "url": url}
            content: Any = [{"type": "text", "text": text}, {"type": "image", "source": source}]
            messages = [{"role": "user", "content": content}]
            return "/v1/messages", {"messages": messages, "max_tokens": 99}
        case "openai-responses":
            content = [
                {"type": "input_text", "text": text},
                {"type": "input_image", "image_url": url, "detail": "auto"},
            ]
            return "/v1/responses", {"input": [{"role": "user", "content": content}]}
        case _:
            content = [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": url}},
            ]
            return "/v1/chat/completions", {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize("client", ["openai-chat", "openai-responses", "anthropic"])
def test_j02_what_lies_inside_is_not_fetched(
    gateway: Gateway, sim: Simulation, image: str, client: str
) -> None:
    before = sim.received
    path, body = asking(client, image)
    answer = gateway.post(path, {**body, "model": "up-gemini/sim-1"})
    assert answer.status == 400
    assert shape_is(client, answer.json())
    assert "its address is not a public one" in answer.json()["error"]["message"]
    assert sim.received == before


@pytest.mark.parametrize("client", ["openai-chat", "openai-responses", "anthropic"])
def test_an_image_is_fetched_for_who_needs_its_bytes(
    sim: Simulation, image: str, client: str, tmp_path: Path
) -> None:
    config = "[server]\nfetch_private_addresses = true\n" + sim_config(sim)
    gateway = Gateway(tmp_path, config).start()
    path, body = asking(client, image)
    answer = gateway.post(path, {**body, "model": "up-gemini/sim-1"})
    assert answer.status == 200, answer.content
    parts = sim.requests[-1].body["contents"][0]["parts"]
    assert parts[1]["inlineData"] == {"mimeType": "image/png", "data": PIXEL}
    assert gateway.stop() == 0


def snake(value: Any) -> Any:
    """The body with the protocol's own names in Google's other spelling."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = ("args", "response", "parametersJsonSchema")
    return {
        re.sub("[A-Z]", lambda found: "_" + found[0].lower(), key): item
        if key in kept
        else snake(item)
        for key, item in value.items()
    }


@pytest.mark.parametrize("target", ["up-anthropic", "up-deepseek", "up-gemini"])
def test_both_spellings_say_the_same(gateway: Gateway, sim: Simulation, target: str) -> None:
    sent: list[Any] = []
    for body in (BODIES["gemini"], snake(BODIES["gemini"])):
        answer = gateway.post(f"/v1beta/models/{target}/sim-1:generateContent", body)
        assert answer.status == 200, answer.content
        sent.append(sim.requests[-1].body)
    assert snake(BODIES["gemini"])["generation_config"]["max_output_tokens"] == 500
    if target == "up-gemini":  # as it came
        sent[0] = snake(sent[0])
    assert sent[0] == sent[1]
