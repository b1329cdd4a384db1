"""Lists of what servers have beside tools, where a server is slow, silent or too talkative."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import mcp_types as types
import pytest

from polycall.errors import ToolServerError
from polycall.gateway.mcp.calls import McpRequest
from polycall.gateway.mcp.hub import Hub
from polycall.gateway.mcp.offers import Offers
from polycall.mcp import listing
from polycall.mcp.comparing import Comparison
from polycall.mcp.others import OtherOffers
from polycall.mcp.pins import MemoryPins

SECRET = "sk-very-secret"


def offers_of(ask: Any) -> tuple[Offers, McpRequest]:
    """The offers of one server that answers as `ask` does, and a request for them."""
    others = OtherOffers(
        Comparison("s", MemoryPins(), "refuse", is_pinned=True, inspects=True), ask
    )
    source = SimpleNamespace(
        others=others,
        ask=ask,
        capabilities=types.ServerCapabilities(
            resources=types.ResourcesCapability(), prompts=types.PromptsCapability()
        ),
    )
    member = SimpleNamespace(
        name="s", mcp=source, secrets=[SECRET], told="", settings=SimpleNamespace(deadline_s=0.05)
    )

    class TheHub:
        pins = SimpleNamespace()
        on_updated = None

        async def ready(self, names: list[str]) -> list[Any]:
            return [member]

    owner = SimpleNamespace(id="k", may_call=lambda _tool: True)
    asked = SimpleNamespace(names=("s",), owner=owner, is_one=False)
    return Offers(cast("Hub", TheHub())), cast("McpRequest", asked)


@pytest.mark.parametrize("kind", ["resources", "templates", "prompts"])
async def test_each_list_has_a_calls_deadline(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def hang(*_: Any) -> Any:
        await asyncio.sleep(3_600)

    offers, asked = offers_of(hang)
    async with asyncio.timeout(10):
        assert await getattr(offers, kind)(asked) == []
    assert f"'s' gave no {kind} within 0.05 s" in caplog.text


@pytest.mark.parametrize("kind", ["resources", "templates", "prompts"])
async def test_no_lists_failure_says_a_servers_secrets(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: Any) -> Any:
        raise ToolServerError(f"refused: bad token {SECRET}")

    offers, asked = offers_of(refuse)
    assert await getattr(offers, kind)(asked) == []
    assert "refused: bad token" in caplog.text
    assert SECRET not in caplog.text


async def test_of_too_many_resources_the_first_are_listed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_ITEMS_MAX", 10)

    async def many(*_: Any) -> Any:
        found = [types.Resource(name=f"r{number}", uri=f"a://{number}") for number in range(15)]
        return types.ListResourcesResult(resources=found)

    offers, asked = offers_of(many)
    with caplog.at_level(logging.WARNING, "polycall.mcp"):
        found = await offers.resources(asked)
    assert [each.name for each in found] == [f"r{number}" for number in range(10)]
    assert "resources/list has more than 10 items; the first 10 are listed" in caplog.text
