"""What is no address is one nowhere, and ends nothing, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polycall.gateway.hosted.web_search import SearchSpec
from polycall.mcp.blocks import CallResult, Contents, ResourceBlock
from polycall.mcp.content import result_of
from tests.edge.test_doors import ask, serving

NONE = ["http://[", "http://[::1", "//[x", "http://[v1.x]:y/", "https://\u2100.example/"]
GEMINI = (
    '[providers.g]\ndialect="gemini"\nbase_url="http://127.0.0.1:9"\napi_key="sk-u"\nmodels=["m"]\n'
)


@pytest.mark.parametrize("url", NONE)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a1_an_image_at_no_address_is_no_fault_of_the_gateway(
    tmp_path: Path, url: str, path: str
) -> None:
    image: dict[str, Any] = {
        "/v1/chat/completions": {"type": "image_url", "image_url": {"url": url}},
        "/v1/messages": {"type": "image", "source": {"type": "url", "url": url}},
        "/v1/responses": {"type": "input_image", "image_url": url},
    }[path]
    messages = [{"role": "user", "content": [image]}]
    field = "input" if path == "/v1/responses" else "messages"
    async with serving(tmp_path, "[server]\nattempts = 1\n" + GEMINI) as served:
        body = {"model": "g/m", "max_tokens": 9, field: messages}
        status, answer = await ask(served, "POST", path, body)
    assert status in (400, 502), answer  # refused, or sent on: nobody listens there
    assert "its log has the reason" not in json.dumps(answer)


@pytest.mark.parametrize("url", NONE)
def test_a_search_that_finds_no_address_goes_on(url: str) -> None:
    assert not SearchSpec(allowed_domains=frozenset({"example.com"})).takes(url)
    assert SearchSpec(blocked_domains=frozenset({"example.com"})).takes(url)


@pytest.mark.parametrize("url", NONE)
def test_a19_a_resource_at_no_address_is_a_result(url: str) -> None:
    blob = Contents(url, blob="AAAA", mime_type="application/zip")
    found = result_of(CallResult([ResourceBlock(resource=blob)]))
    assert len(found.content) == 1
