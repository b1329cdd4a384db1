"""Lists of what servers have beside tools, where a server is slow, silent or too talkative."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import mcp_types as types
import pytest

from polycall.errors import ToolError, ToolServerError
from polycall.gateway.mcp.calls import McpRequest
from polycall.gateway.mcp.hub import Hub
from polycall.gateway.mcp.offers import Offers
from polycall.mcp import HttpServer, McpToolset
from polycall.mcp.comparing import Comparison
from polycall.mcp.listing import ListBounds
from polycall.mcp.others import OtherOffers
from polycall.mcp.pins import MemoryPins

SECRET = "sk-very-secret"
BOUNDS = ListBounds()


def offers_of(ask: Any, bounds: ListBounds = BOUNDS) -> tuple[Offers, McpRequest]:
    """The offers of one server that answers as `ask` does, and a request for them."""
    others = OtherOffers(
        Comparison("s", MemoryPins(), "refuse", is_pinned=True, inspects=True), ask, bounds
    )
    source = SimpleNamespace(
        others=others,
        ask=ask,
        capabilities=types.ServerCapabilities(
            resources=types.ResourcesCapability(), prompts=types.PromptsCapability()
        ),
    )
    settings = SimpleNamespace(deadline_s=0.05, result_bytes_max=10_000, list_items_max=20)
    member = SimpleNamespace(
        name="s",
        mcp=source,
        secrets=[SECRET],
        told="",
        settings=settings,
    )

    async def flush(_server: str) -> bool:
        return True

    def is_unwritten(_server: str, _what: str) -> bool:
        return False

    class TheHub:
        pins = SimpleNamespace(flush=flush, is_unwritten=is_unwritten)
        on_updated = None

        async def ready(self, names: list[str]) -> list[Any]:
            return [member]

    owner = Mock(id="k")
    owner.may_call.return_value = True
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
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def many(*_: Any) -> Any:
        found = [types.Resource(name=f"r{number}", uri=f"a://{number}") for number in range(15)]
        return types.ListResourcesResult(resources=found)

    offers, asked = offers_of(many, ListBounds(10))
    with caplog.at_level(logging.WARNING, "polycall.mcp"):
        found = await offers.resources(asked)
    assert [each.name for each in found] == [f"r{number}" for number in range(10)]
    assert (
        "resources/list has more items than list_items_max (10); the first 10 are listed"
        in caplog.text
    )


@pytest.mark.parametrize("way", ["listed twice", "told of"])
async def test_a_prompt_that_is_another_is_not_given_however_its_server_lists_it(way: str) -> None:
    listed = [types.Prompt(name="x", description="good")]

    async def ask(what: str, *_: Any) -> Any:
        if what == "prompts/list":
            return types.ListPromptsResult(prompts=listed)
        return types.GetPromptResult(messages=[])

    offers, asked = offers_of(ask)
    (member,) = await cast("Any", offers)._hub.ready(["s"])
    assert [each.name for each in await offers.prompts(asked)] == ["s_x"]
    assert (await offers.prompt(asked, "s_x", None))["messages"] == []
    listed[0] = types.Prompt(name="x", description="other")
    if way == "listed twice":
        listed.append(types.Prompt(name="x", description="again"))
        assert await offers.prompts(asked) == []
    else:
        member.mcp.others.forget("prompt")
    with pytest.raises(ToolError, match="prompt 'x'"):
        await offers.prompt(asked, "s_x", None)
    ref = types.PromptReference(name="s_x")
    argument = types.CompletionArgument(name="a", value="b")
    with pytest.raises(ToolError, match="prompt 'x'"):
        await offers.complete(asked, types.CompleteRequestParams(ref=ref, argument=argument))


@pytest.mark.parametrize(("kind", "what"), [("prompts", "prompt"), ("resources", "template")])
async def test_a_notice_of_changes_has_what_was_listed_looked_at_again(
    kind: Any, what: Any
) -> None:
    heard: list[str] = []
    server = HttpServer("s", url="http://127.0.0.1:1/mcp")
    tools = McpToolset(server, on_others_changed=heard.append)
    empty = (
        types.ListPromptsResult(prompts=[]),
        types.ListResourceTemplatesResult(resource_templates=[]),
    )

    async def ask(asked: str, *_: Any) -> Any:
        return empty[asked != "prompts/list"]

    tools.others._ask = ask  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    await tools.others.prompts()
    await tools.others.templates()
    assert tools.others.is_listed(what)
    tools._others_changed(kind)  # pyright: ignore[reportPrivateUsage]
    assert not tools.others.is_listed(what)
    assert heard == [kind]
