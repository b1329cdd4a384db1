"""Routes for answers and conversations that are kept here, each its key's own.

Google's interactions are answers too: they are looked up and deleted as those of Responses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from polycall._support import jsontext
from polycall.errors import InvalidRequestError, MalformedRequestError, NotFoundError
from polycall.gateway.accounts.keys import Keys, Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.http.bodies import read_body
from polycall.gateway.http.replies import header_value, send_json
from polycall.gateway.http.request import GatewayRequest, passed_query
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.responses.background import BackgroundResponses
from polycall.gateway.responses.compaction import Compaction
from polycall.gateway.responses.elsewhere import ask_keeper, dialect_of
from polycall.gateway.responses.replay import replay
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.conversations import (
    ADDED_MAX,
    KEPT_BYTES_MAX,
    Conversations,
    missing,
)
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.providers.provider import DialectName

INTERACTIONS = ("/v1/interactions/", "/v1beta/interactions/", "/v1beta1/interactions/")
PREFIXES = ("/v1/responses/", "/v1/conversations", *INTERACTIONS)
_LIST_MAX = 100
_METADATA_MAX = 16

_Handler = Callable[["ResponsesRoutes", GatewayRequest, Owner, "re.Match[str]"], Awaitable[None]]


@dataclass(eq=False, repr=False)
class ResponsesRoutes:
    """Answers the routes below `/v1/responses/` and `/v1/conversations`."""

    store: Store
    keys: Keys
    memory: MemoryGuard
    background: BackgroundResponses
    compaction: Compaction

    def configure(self, services: GatewayServices, limits: KeyLimits) -> None:
        """Work by another configuration from the next request on."""
        self.services = services
        self.limits = limits

    async def serve(self, gateway_request: GatewayRequest) -> None:
        """Answer one request; raises `NotFoundError` for a path that is none of these."""
        allowed: list[str] = []
        for method, pattern, handler in _ROUTES:
            match = pattern.fullmatch(gateway_request.path)
            if match is None:
                continue
            if method != gateway_request.method:
                allowed.append(method)
                continue
            owner = self.keys.owner(
                gateway_request.headers, gateway_request.query, gateway_request.address
            )
            if handler is not _compact:  # which is a generation, and counted as one
                await self.limits.count_request(owner)
            await handler(self, gateway_request, owner, match)
            return
        shown = gateway_request.path[:200]
        if allowed:
            gateway_request.notes.append((b"allow", ", ".join(allowed).encode()))
            raise InvalidRequestError(f"{shown} takes {', '.join(allowed)}", status=405)
        raise NotFoundError(
            f"there is no {gateway_request.method} {shown!r} here; /openapi.json says what is",
            code="unknown_url",
        )

    async def answer_begun(
        self, gateway_request: GatewayRequest, client_request: ClientRequest, name: str
    ) -> None:
        """Answer the request that began an answer in the background: by that as it stands, or by
        its events as they come."""
        owner = client_request.owner
        if client_request.streams:
            await replay(self.store, self.background, gateway_request, owner, name, after=-1)
            return
        response = await self.services.items.find(owner.id, name)
        if response is None:
            raise missing(name)
        await _send(gateway_request, response)

    @property
    def conversations(self) -> Conversations:
        """Those of all keys."""
        return self.services.items.conversations

    async def body(self, gateway_request: GatewayRequest, bytes_max: int = KEPT_BYTES_MAX) -> JSON:
        """The body, an object; empty where there is none."""
        data = await read_body(gateway_request, self.services.server, self.memory, bytes_max)
        if not data:
            return {}
        try:
            value = jsontext.decode(data)
        except ValueError:
            raise MalformedRequestError("the body is not JSON") from None
        if not isinstance(value, dict):
            raise MalformedRequestError("the body must be a JSON object")
        return value  # pyright: ignore[reportUnknownVariableType]


# ---------------------------------------------------------------------------------------------
# Answers


async def _get(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    name = _own_name(match, "openai-responses")
    query = _query(gateway_request)
    record = await routes.background.record(owner, name)
    if query.get("stream") == "true":
        if record is None:
            raise InvalidRequestError(
                "only an answer that was asked for in the background can be streamed again",
                param="stream",
            )
        after = _number(query, "starting_after", -1)
        await replay(routes.store, routes.background, gateway_request, owner, name, after=after)
        return
    response = await routes.services.items.find(owner.id, name)
    if response is None:
        response = await ask_keeper(routes.services, owner.id, name)
    if response is None:
        raise missing(name)
    headers = {} if record is None else record.headers
    await _send(gateway_request, response, headers)


async def _delete(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    name = _own_name(match, "openai-responses")
    record = await routes.background.record(owner, name)
    if record is not None and not record.is_done:
        await routes.background.cancel(owner, name)
    is_there = await routes.services.items.delete(owner.id, name)
    if record is not None:
        await routes.background.forget(owner, name)
    if not is_there and await ask_keeper(routes.services, owner.id, name, action="delete") is None:
        raise missing(name)
    await _send(gateway_request, {"id": name, "object": "response", "deleted": True})


async def _cancel(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    name = _own_name(match, "openai-responses")
    items = routes.services.items
    if await items.find(owner.id, name) is None:
        theirs = await ask_keeper(routes.services, owner.id, name, action="cancel")
        if theirs is None:
            raise missing(name)
        await _send(gateway_request, theirs)
        return
    await routes.background.cancel(owner, name)
    response = await items.find(owner.id, name)
    if response is None:
        raise missing(name)
    await _send(gateway_request, response)


async def _input_items(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    bytes_max = routes.services.server.body_bytes_max
    items = await routes.services.items.input_items(owner.id, match[1], bytes_max)
    if items is None:
        query = passed_query(gateway_request)
        theirs = await ask_keeper(
            routes.services, owner.id, match[1], action="input_items", query=query
        )
        if theirs is None:
            raise missing(match[1])
        await _send(gateway_request, theirs)
        return
    await _send(gateway_request, _page(items, _query(gateway_request)))


async def _compact(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    body = await routes.body(gateway_request, routes.services.server.body_bytes_max)
    await routes.compaction.answer(gateway_request, owner, body)


async def _interaction(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    name = _own_name(match, "gemini-interactions")
    if _query(gateway_request).get("stream") == "true":
        raise InvalidRequestError(
            "an interaction that is kept here is not streamed again; ask for it whole",
            param="stream",
        )
    found = await routes.services.items.find(owner.id, name)
    found = found or await ask_keeper(routes.services, owner.id, name)
    if found is None:
        raise missing(name)
    await _send(gateway_request, found)


async def _drop_interaction(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    name = _own_name(match, "gemini-interactions")
    is_there = await routes.services.items.delete(owner.id, name)
    if not is_there and await ask_keeper(routes.services, owner.id, name, action="delete") is None:
        raise missing(name)
    await _send(gateway_request, {})


async def _cancel_interaction(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    name = _own_name(match, "gemini-interactions")
    found = await routes.services.items.find(owner.id, name)
    found = found or await ask_keeper(routes.services, owner.id, name, action="cancel")
    if found is None:
        raise missing(name)
    await _send(gateway_request, found)  # one that is kept here has ended


def _own_name(match: re.Match[str], dialect: DialectName) -> str:
    """The answer's id; raises where it is one of another protocol."""
    name = match[1]
    if dialect_of(name) != dialect:
        raise missing(name)
    return name


# ---------------------------------------------------------------------------------------------
# Conversations


async def _create(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    body = await routes.body(gateway_request)
    made = await routes.conversations.create(owner.id, _items(body), _metadata(body))
    await _send(gateway_request, made)


async def _conversation(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    await _send(gateway_request, await routes.conversations.shown(owner.id, match[1]))


async def _update(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    body = await routes.body(gateway_request)
    shown = await routes.conversations.update(owner.id, match[1], _metadata(body))
    await _send(gateway_request, shown)


async def _drop(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    await routes.conversations.delete(owner.id, match[1])
    deleted = {"id": match[1], "object": "conversation.deleted", "deleted": True}
    await _send(gateway_request, deleted)


async def _list(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    ids = await routes.conversations.item_ids(owner.id, match[1])
    page = _page([{"id": each} for each in ids], _query(gateway_request))
    shown = [each["id"] for each in page["data"]]
    page["data"] = await routes.conversations.items(owner.id, shown)
    await _send(gateway_request, page)


async def _add(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    items = _items(await routes.body(gateway_request))
    if not items:
        raise MalformedRequestError("expected at least one item", path="items")
    added = await routes.conversations.add(owner.id, match[1], items)
    await _send(gateway_request, _page(added, {"order": "asc", "limit": str(_LIST_MAX)}))


async def _item(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    ids = await routes.conversations.item_ids(owner.id, match[1])
    found = await routes.conversations.items(owner.id, [match[2]]) if match[2] in ids else []
    if not found:
        raise missing(match[2])
    await _send(gateway_request, found[0])


async def _drop_item(
    routes: ResponsesRoutes, gateway_request: GatewayRequest, owner: Owner, match: re.Match[str]
) -> None:
    shown = await routes.conversations.remove_item(owner.id, match[1], match[2])
    await _send(gateway_request, shown)


_NAME = "([^/]{1,200})"
_OF_INTERACTIONS = "/v1(?:beta1?)?/interactions/"
_ROUTES: tuple[tuple[str, re.Pattern[str], _Handler], ...] = tuple(
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("GET", f"{_OF_INTERACTIONS}{_NAME}", _interaction),
        ("DELETE", f"{_OF_INTERACTIONS}{_NAME}", _drop_interaction),
        ("POST", f"{_OF_INTERACTIONS}{_NAME}/cancel", _cancel_interaction),
        ("POST", "/v1/responses/compact", _compact),
        ("GET", f"/v1/responses/{_NAME}", _get),
        ("DELETE", f"/v1/responses/{_NAME}", _delete),
        ("POST", f"/v1/responses/{_NAME}/cancel", _cancel),
        ("GET", f"/v1/responses/{_NAME}/input_items", _input_items),
        ("POST", "/v1/conversations", _create),
        ("GET", f"/v1/conversations/{_NAME}", _conversation),
        ("POST", f"/v1/conversations/{_NAME}", _update),
        ("DELETE", f"/v1/conversations/{_NAME}", _drop),
        ("GET", f"/v1/conversations/{_NAME}/items", _list),
        ("POST", f"/v1/conversations/{_NAME}/items", _add),
        ("GET", f"/v1/conversations/{_NAME}/items/{_NAME}", _item),
        ("DELETE", f"/v1/conversations/{_NAME}/items/{_NAME}", _drop_item),
    )
)

# ---------------------------------------------------------------------------------------------
# Reading and writing


def _query(gateway_request: GatewayRequest) -> dict[str, str]:
    text = gateway_request.query.decode("latin-1")
    return {name: values[-1] for name, values in parse_qs(text).items()}


def _number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 18:
        raise MalformedRequestError(f"expected a number, got {text[:60]!r}", path=name)
    return int(text)


def _items(body: JSON) -> list[Any]:
    given: Any = body.get("items")
    if given is None:
        return []
    if not isinstance(given, list):
        raise MalformedRequestError("expected an array of items", path="items")
    if len(given) > ADDED_MAX:  # pyright: ignore[reportUnknownArgumentType]
        raise MalformedRequestError(f"at most {ADDED_MAX} items at a time", path="items")
    return given  # pyright: ignore[reportUnknownVariableType]


def _metadata(body: JSON) -> JSON:
    given: Any = body.get("metadata")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > _METADATA_MAX:  # pyright: ignore[reportUnknownArgumentType]
        raise MalformedRequestError(
            f"expected an object of at most {_METADATA_MAX} strings", path="metadata"
        )
    for name, value in given.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(value, str) or len(value) > 512 or len(str(name)) > 64:  # pyright: ignore[reportUnknownArgumentType]
            raise MalformedRequestError(
                "expected names of at most 64 and strings of at most 512 characters",
                path="metadata",
            )
    return given  # pyright: ignore[reportUnknownVariableType]


def _page(items: list[JSON], query: dict[str, str]) -> JSON:
    """A page of items, the newest first unless asked otherwise."""
    limit = _number(query, "limit", 20)
    if not 1 <= limit <= _LIST_MAX:
        raise MalformedRequestError(f"expected 1 to {_LIST_MAX}, got {limit}", path="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise MalformedRequestError(f"expected asc or desc, got {order[:60]!r}", path="order")
    ordered = items if order == "asc" else items[::-1]
    if after := query.get("after"):
        places = [place for place, item in enumerate(ordered) if item["id"] == after]
        if not places:
            raise missing(after)
        ordered = ordered[places[0] + 1 :]
    page = ordered[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(ordered) > limit,
    }


async def _send(
    gateway_request: GatewayRequest, body: JSON, more: dict[str, str] | None = None
) -> None:
    headers = [(b"polycall-request-id", gateway_request.id.encode())]
    headers += [(name.encode(), header_value(value)) for name, value in (more or {}).items()]
    gateway_request.heard_at = time.monotonic()
    await send_json(gateway_request, 200, jsontext.encode_bytes(body), headers)
