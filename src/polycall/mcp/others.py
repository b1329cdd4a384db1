"""Prompts, templates and instructions of a server, as far as they are as they were pinned.

A prompt's text is made anew each time, and a template's address is filled in by who reads: what is
pinned is what lists say of them.  A text is looked at when it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar

import mcp_types as types
from mcp import Client, MCPError

from polycall.errors import ToolServerError
from polycall.ir import JSON
from polycall.mcp.comparing import Comparison, tell_new
from polycall.mcp.inspection import suspicious
from polycall.mcp.listing import ListBounds, all_pages
from polycall.mcp.pieces import TOO_LARGE, weight_of
from polycall.mcp.pins import Notice, What

logger = logging.getLogger("polycall.mcp")

T = TypeVar("T")


class Asks(Protocol):
    """Makes a request of a server."""

    async def __call__(
        self, what: str, asking: Callable[[Client], Awaitable[T]], caller: Hashable = None
    ) -> T: ...


class OtherOffers:
    """One server's.  `notices` are what was flagged last."""

    def __init__(self, comparison: Comparison, ask: Asks, bounds: ListBounds) -> None:
        self._comparison = comparison
        self._ask = ask
        self._bounds = bounds
        self._notices: dict[What, list[Notice]] = {}
        self._addresses: dict[str, str] = {}  # of templates, by name
        self._changes: Counter[What] = Counter()  # that a server reported
        self._looked_at: dict[What, int] = {}  # after so many of them
        self._held_back: set[str] = set()
        self._comparing = asyncio.Lock()
        self.instructions = ""

    @property
    def notices(self) -> list[Notice]:
        """The notices of all kinds."""
        return [notice for each in self._notices.values() for notice in each]

    def held(self, what: What, name: str) -> Notice | None:
        """Why a prompt, or the template of an address, is not offered, as of the last list."""
        for notice in self._notices.get(what, ()):
            is_held = notice.withheld or notice.kind == "unusable"
            if is_held and name in (notice.tool, self._addresses.get(notice.tool)):
                return notice
        return None

    def is_listed(self, what: What) -> bool:
        """Whether a list of these was read, and no other was reported since."""
        return self._looked_at.get(what) == self._changes[what]

    def forget(self, *kinds: What) -> None:
        """There may be other prompts or templates now: they are listed before the next use."""
        self._changes.update(kinds)

    async def prompts(self, caller: Hashable = None) -> list[types.Prompt]:
        """The prompts that are as they were pinned."""
        changes = self._changes["prompt"]
        listed = await self.listed_prompts(caller)
        counts = Counter(each.name for each in listed)
        once = {each.name: each for each in listed if counts[each.name] == 1}
        wires, large = await self._wires("prompt", once)
        twice = [
            Notice(self._comparison.server, name, "unusable", reason=reason, what="prompt")
            for name, count in counts.items()
            if count > 1 and (reason := "two prompts have the name")
        ]
        held = await self._compare("prompt", wires, twice + large)
        self._looked_at["prompt"] = changes
        return [each for each in listed if each.name in wires and each.name not in held]

    async def templates(self, caller: Hashable = None) -> list[types.ResourceTemplate]:
        """The templates of addresses that are as they were pinned."""
        changes = self._changes["template"]
        listed = await self.listed_templates(caller)
        named = template_names(listed)
        self._addresses = {name: each.uri_template for name, each in named.items()}
        wires, large = await self._wires("template", named)
        held = await self._compare("template", wires, large)
        self._looked_at["template"] = changes
        return [named[name] for name in wires if name not in held]

    async def _wires(
        self, what: What, named: Mapping[str, types.Prompt | types.ResourceTemplate]
    ) -> tuple[dict[str, JSON], list[Notice]]:
        """The definitions, and why others have none."""

        def made() -> tuple[dict[str, JSON], list[Notice]]:
            all_wires = {name: wire_of(each) for name, each in named.items()}
            large = [name for name, wire in all_wires.items() if weight_of(wire).is_too_large]
            for name in large:
                del all_wires[name]
            server = self._comparison.server
            return all_wires, [
                Notice(server, name, "unusable", reason=TOO_LARGE, what=what) for name in large
            ]

        return await asyncio.to_thread(made)

    async def take_instructions(self, text: str) -> None:
        """Take the server's instructions at the first meeting.

        `instructions` are they, unless held.
        """
        wires = instructions_wires(text)
        held = await self._compare("instructions", wires, [])
        self.instructions = "" if held else text

    async def listed_prompts(self, caller: Hashable = None) -> list[types.Prompt]:
        """All prompts, whatever is pinned."""

        async def page(cursor: str | None) -> types.ListPromptsResult:
            return await self._ask("prompts/list", lambda client: _prompts(client, cursor), caller)

        return await self._pages("prompts/list", page, lambda each: each.prompts)

    async def listed_templates(self, caller: Hashable = None) -> list[types.ResourceTemplate]:
        """All templates, whatever is pinned."""

        async def page(cursor: str | None) -> types.ListResourceTemplatesResult:
            return await self._ask(what, lambda client: _templates(client, cursor), caller)

        what = "resources/templates/list"
        return await self._pages(what, page, lambda each: each.resource_templates)

    async def _pages(
        self,
        what: str,
        page_of: Callable[[str | None], Awaitable[Any]],
        items_of: Callable[[Any], list[T]],
        *,
        is_pinned: bool = True,
    ) -> list[T]:
        server, bounds = self._comparison.server, self._bounds
        return await all_pages(server, what, page_of, items_of, bounds=bounds, is_pinned=is_pinned)

    async def checked_text(
        self, name: str, result: types.GetPromptResult, arguments: Mapping[str, str]
    ) -> types.GetPromptResult:
        """A filled prompt; `ToolServerError` where its server's words look like an attack."""
        doubt = ""
        if self._comparison.inspects:
            doubt = await asyncio.to_thread(suspicious_prompt, result, arguments)
        if doubt:
            self._tell(f"the text of the prompt {name[:200]!r} is withheld: {doubt}")
            raise ToolServerError(
                f"MCP server {self._comparison.server!r}: the text of the prompt {name[:200]!r} is "
                f"withheld: {doubt}; its operator can allow it"
            )
        return result

    async def resources(self, caller: Hashable = None) -> list[types.Resource]:
        """Without those that look like an attack; resources come and go, and are not pinned."""

        async def page(cursor: str | None) -> types.ListResourcesResult:
            return await self._ask(
                what,
                lambda client: client.list_resources(cursor=cursor, cache_mode="bypass"),
                caller,
            )

        what = "resources/list"
        listed = await self._pages(what, page, lambda each: each.resources, is_pinned=False)
        return await asyncio.to_thread(self._looked_over, listed)

    def _looked_over(self, listed: list[types.Resource]) -> list[types.Resource]:
        found: list[types.Resource] = []
        for each in listed:
            shown = _words_of(each)
            doubt = suspicious(shown) if self._comparison.inspects else ""
            if doubt := (TOO_LARGE if weight_of(shown).is_too_large else doubt):
                self._tell(f"the resource {each.uri[:200]!r} is not listed: {doubt}")
            else:
                found.append(each)
        return found

    async def _compare(
        self, what: What, wires: Mapping[str, JSON], unusable: list[Notice]
    ) -> set[str]:
        """The names of those that are held."""
        async with self._comparing:
            listed = {*wires, *(each.tool for each in unusable)}
            notices = unusable + await self._comparison.notices(what, wires, listed)
            tell_new(notices, self._notices.get(what, []))
            self._notices[what] = notices
        return {each.tool for each in notices if each.withheld}

    def _tell(self, words: str) -> None:
        if words not in self._held_back and len(self._held_back) < 1_000:
            self._held_back.add(words)
            logger.warning("MCP server %r: %s", self._comparison.server, words)


async def _prompts(client: Client, cursor: str | None) -> types.ListPromptsResult:
    try:
        return await client.list_prompts(cursor=cursor, cache_mode="bypass")
    except MCPError as error:
        if error.code != types.METHOD_NOT_FOUND:
            raise
        return types.ListPromptsResult(prompts=[])


async def _templates(client: Client, cursor: str | None) -> types.ListResourceTemplatesResult:
    try:
        return await client.list_resource_templates(cursor=cursor, cache_mode="bypass")
    except MCPError as error:
        if error.code != types.METHOD_NOT_FOUND:
            raise
        return types.ListResourceTemplatesResult(resource_templates=[])


def template_names(
    listed: list[types.ResourceTemplate],
) -> dict[str, types.ResourceTemplate]:
    """Templates by name; where several have one, by name and address."""
    counts = Counter(each.name for each in listed)
    return {
        each.name if counts[each.name] == 1 else f"{each.name} {each.uri_template}": each
        for each in listed
    }


def instructions_wires(text: str) -> dict[str, JSON]:
    """A server's instructions as a definition, if it has any."""
    return {"instructions": {"name": "instructions", "text": text}} if text else {}


def suspicious_prompt(result: types.GetPromptResult, arguments: Mapping[str, str]) -> str:
    """The reason to look at a filled prompt, apart from what its client filled in."""
    own = [value for value in arguments.values() if suspicious({"value": value})]
    own.sort(key=len, reverse=True)
    shown = [result.description or "", *map(_words_of, result.messages)]
    return next((doubt for each in shown if (doubt := suspicious(_without(each, own)))), "")


def _without(node: Any, values: list[str]) -> Any:
    if isinstance(node, str):
        for value in values:
            node = node.replace(value, " ")
        return node
    if isinstance(node, list):
        return [_without(each, values) for each in node]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(node, dict):
        return {key: _without(each, values) for key, each in node.items()}  # pyright: ignore[reportUnknownVariableType]
    return node


def wire_of(each: types.Prompt | types.ResourceTemplate) -> JSON:
    """A definition as it was on the wire."""
    return each.model_dump(by_alias=True, exclude_none=True, mode="json")


def _words_of(each: types.PromptMessage | types.Resource) -> JSON:
    """The words of an item; pictures and files are data."""
    hidden: Any = {"content": {"data": True, "resource": {"blob"}}}
    return each.model_dump(by_alias=True, exclude_none=True, mode="json", exclude=hidden)
