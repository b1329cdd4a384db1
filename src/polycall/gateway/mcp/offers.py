"""Resources, prompts and completion of all servers, under names that say whose they are.

At `/mcp` a resource is `polycall://SERVER/` and its own address, a prompt `SERVER_prompt`; at
`/mcp/SERVER` they have their own names.  A key may use them where it may call
`SERVER_resources` and `SERVER_prompts`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar, cast

import mcp_types as types
from mcp import Client
from pydantic import BaseModel

from polycall._support import jsontext
from polycall.errors import PolycallError, ToolError, ToolServerError
from polycall.gateway.mcp.calls import McpRequest, clean, clean_tree
from polycall.gateway.mcp.hub import Hub, Member
from polycall.gateway.mcp.updates import Updates
from polycall.ir import JSON
from polycall.mcp import McpToolset, Notice

logger = logging.getLogger("polycall.mcp")

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

_URI_LENGTH_MAX = 8_192
SCHEME = "polycall://"


class Offers:
    """The servers' offers alongside tools."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.updates = Updates(hub)

    async def resources(self, asked: McpRequest) -> list[types.Resource]:
        """The resources of these servers that the key may read."""

        async def listed(member: Member) -> list[types.Resource]:
            listing = _spoken(member).others.resources(asked.owner.id)
            found = await _within(member, "resources", listing)
            return [_renamed(each, uri=_uri(member, asked, each.uri)) for each in found]

        return await self._all(asked, "resources", listed)

    async def templates(self, asked: McpRequest) -> list[types.ResourceTemplate]:
        """The templates of resources' addresses."""

        async def listed(member: Member) -> list[types.ResourceTemplate]:
            found = await self._templates(member, asked)
            return [
                _renamed(each, uri_template=_uri(member, asked, each.uri_template))
                for each in found
            ]

        return await self._all(asked, "resources", listed)

    async def read(self, asked: McpRequest, uri: str) -> JSON:
        """A resource as it is on the wire; `ToolError` where it is not there for this key."""
        member, own = await self.place(asked, uri)
        found = await _ask(
            member, asked, f"the resource {own[:200]!r}", lambda client: client.read_resource(own)
        )
        _check_parts(found.contents, member, "resource")
        for each in found.contents:
            each.uri = _uri(member, asked, each.uri)
        return await asyncio.to_thread(_wire, found, "contents", member, "resource")

    async def prompts(self, asked: McpRequest) -> list[types.Prompt]:
        """The prompts of these servers that the key may use."""

        async def listed(member: Member) -> list[types.Prompt]:
            start = "" if asked.is_one else f"{member.name}_"
            found = await self._prompts(member, asked)
            return [_renamed(each, name=f"{start}{each.name}") for each in found]

        return await self._all(asked, "prompts", listed)

    async def prompt(self, asked: McpRequest, name: str, arguments: dict[str, str] | None) -> JSON:
        """A prompt with its arguments filled in, as it is on the wire."""
        member, own = await self._prompt_place(asked, name)
        await self._check(member, asked, "prompt", own)
        found = await _ask(
            member,
            asked,
            f"the prompt {own[:200]!r}",
            lambda client: client.get_prompt(own, arguments),
        )
        _check_parts(found.messages, member, "prompt")
        wire = await asyncio.to_thread(_wire, found, "messages", member, "prompt")
        await _spoken(member).others.checked_text(own, found, arguments or {})
        for message in wire["messages"]:
            _link(message["content"], _uri(member, asked, ""))
        return wire

    async def complete(
        self, asked: McpRequest, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """Completions for an argument of a prompt or of an address."""
        ref = params.ref
        if isinstance(ref, types.PromptReference):
            member, own = await self._prompt_place(asked, ref.name)
            await self._check(member, asked, "prompt", own)
            ref = types.PromptReference(name=own)
        else:
            member, own = await self.place(asked, ref.uri)
            await self._check(member, asked, "template", own)
            ref = types.ResourceTemplateReference(uri=own)
        argument = {"name": params.argument.name, "value": params.argument.value}
        given = params.context.arguments if params.context is not None else None
        found = await _ask(
            member, asked, "completion", lambda client: client.complete(ref, argument, given)
        )
        return _cleaned(found, member)

    async def _prompts(self, member: Member, asked: McpRequest) -> list[types.Prompt]:
        return await self._pinned(member, asked, "prompts", _spoken(member).others.prompts)

    async def _templates(self, member: Member, asked: McpRequest) -> list[types.ResourceTemplate]:
        return await self._pinned(member, asked, "templates", _spoken(member).others.templates)

    async def _pinned(
        self,
        member: Member,
        asked: McpRequest,
        kind: str,
        listing: Callable[[str], Awaitable[list[ModelT]]],
    ) -> list[ModelT]:
        """List the offers, and keep what is pinned at the first meeting."""
        found = await _within(member, kind, listing(asked.owner.id))
        if not await self._hub.pins.flush(member.name):  # another replica met it first
            found = await _within(member, kind, listing(asked.owner.id))
        return found

    async def _check(
        self, member: Member, asked: McpRequest, what: Literal["prompt", "template"], own: str
    ) -> None:
        """Raise where a prompt, or the template of an address, is held."""
        others = _spoken(member).others

        def held() -> Notice | None:
            return others.held(what, own)

        is_open = self._hub.pins.is_unwritten(member.name, what)
        if is_open or not others.is_listed(what) or held() is not None:
            await (self._prompts if what == "prompt" else self._templates)(member, asked)
        if (notice := held()) is not None:
            raise ToolError(clean(str(notice), member.secrets))

    async def _all(
        self,
        asked: McpRequest,
        kind: str,
        listed: Callable[[Member], Awaitable[list[ModelT]]],
    ) -> list[ModelT]:
        wanted = [name for name in asked.names if asked.owner.may_call(f"{name}_{kind}")]
        members = [each for each in await self._hub.ready(wanted) if _has(each, kind)]
        outcomes = await asyncio.gather(
            *(listed(member) for member in members), return_exceptions=True
        )
        found: list[ModelT] = []
        for member, outcome in zip(members, outcomes, strict=True):
            if isinstance(outcome, PolycallError):
                if member.told != str(outcome):
                    member.told = str(outcome)
                    logger.warning("%s; the others are listed", outcome)
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            found += await asyncio.to_thread(_all_cleaned, outcome, member)
        return found

    async def place(self, asked: McpRequest, uri: str) -> tuple[Member, str]:
        """The server of a resource, and the resource's own address; `ToolError` without leave."""
        if len(uri) > _URI_LENGTH_MAX:
            raise ToolError(f"an address has at most {_URI_LENGTH_MAX} characters: {uri[:80]!r}")
        name, own = (asked.names[0], uri) if asked.is_one else ("", "")
        if uri.startswith(SCHEME) and not name:
            name, _, own = uri.removeprefix(SCHEME).partition("/")
        return await self._member(asked, name, "resources"), own

    async def _prompt_place(self, asked: McpRequest, name: str) -> tuple[Member, str]:
        if asked.is_one:
            return await self._member(asked, asked.names[0], "prompts"), name
        for each in asked.names:
            if name.startswith(f"{each}_"):
                member = await self._member(asked, each, "prompts")
                return member, name.removeprefix(f"{each}_")
        raise ToolError(f"there is no prompt {name[:200]!r}")

    async def _member(self, asked: McpRequest, name: str, kind: str) -> Member:
        if name not in asked.names or not asked.owner.may_call(f"{name}_{kind}"):
            raise ToolError(f"there are no {kind} of {name[:100]!r} for this key")
        found = await self._hub.ready([name])
        if not found:
            raise ToolServerError(self._hub.members[name].error or f"{name!r} cannot be reached")
        return found[0]


async def _ask(
    member: Member, asked: McpRequest, what: str, asking: Callable[[Client], Awaitable[ModelT]]
) -> ModelT:
    return await _within(member, what, _spoken(member).ask(what, asking, asked.owner.id))


async def _within(member: Member, what: str, asking: Awaitable[T]) -> T:
    """The answer within a call's deadline; errors in the server's words without its secrets."""
    try:
        async with asyncio.timeout(member.settings.deadline_s):
            return await asking
    except TimeoutError:
        deadline_s = member.settings.deadline_s
        raise ToolServerError(f"{member.name!r} gave no {what} within {deadline_s:g} s") from None
    except ToolError as error:
        raise ToolServerError(clean(str(error), member.secrets)) from None


def _spoken(member: Member) -> McpToolset:
    if member.mcp is None:
        raise ToolError(f"{member.name!r} is an OpenAPI document, and has tools alone")
    return member.mcp


def _check_parts(parts: Sequence[BaseModel], member: Member, what: str) -> None:
    most = member.settings.list_items_max
    if len(parts) > most:
        raise ToolError(
            f"the {what} has {len(parts):,} parts, more than can be passed on "
            f"([mcp.{member.name}] list_items_max is {most:,})"
        )


def _wire(found: BaseModel, name: str, member: Member, what: str) -> JSON:
    """The finding as JSON, made part by part: `name` is the field of its parts."""
    most = member.settings.result_bytes_max
    parts: list[BaseModel] = getattr(found, name)
    made: list[JSON] = []
    rest = _clean_json(found.model_copy(update={name: []}), member)
    rest.pop("_meta", None)
    size = len(jsontext.encode_bytes(rest))
    for each in parts:
        made.append(_clean_json(each, member))
        size += len(jsontext.encode_bytes(made[-1])) + 1
        if size > most:
            raise ToolError(
                f"the {what} has more bytes than can be passed on "
                f"([mcp.{member.name}] result_bytes_max is {most:,})"
            )
    return {**rest, name: made}


def _link(block: JSON, start: str) -> None:
    """Have an address lead to this server's resources, whatever it names."""
    place = block["resource"] if block["type"] == "resource" else block
    uri: str = place.get("uri", "")
    if uri and not uri.startswith(("https://", "http://")):
        place["uri"] = start + uri


def _clean_json(each: BaseModel, member: Member) -> JSON:
    shown = each.model_dump(by_alias=True, exclude_none=True, mode="json")
    return cast("JSON", clean_tree(shown, member.secrets))


def _has(member: Member, kind: str) -> bool:
    capabilities = None if member.mcp is None else member.mcp.capabilities
    return capabilities is not None and getattr(capabilities, kind) is not None


def _uri(member: Member, asked: McpRequest, uri: str) -> str:
    return uri if asked.is_one else f"{SCHEME}{member.name}/{uri}"


def _renamed(each: ModelT, **fields: str) -> ModelT:
    return each.model_copy(update=fields)


def _cleaned(each: ModelT, member: Member) -> ModelT:
    shown = _clean_json(each, member)
    shown.pop("_meta", None)
    return type(each).model_validate(shown)


def _all_cleaned(found: list[ModelT], member: Member) -> list[ModelT]:
    return [_cleaned(each, member) for each in found]
