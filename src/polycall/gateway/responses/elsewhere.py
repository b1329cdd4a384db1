"""Answers that passed through: their provider keeps them, and is asked for them by their owner."""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext
from polycall.errors import ProtocolError
from polycall.exchange import check_weight
from polycall.gateway.services import GatewayServices
from polycall.ir import JSON
from polycall.providers.credentials import credential_for
from polycall.providers.dialects import DIALECTS
from polycall.providers.places import address, headers_for
from polycall.providers.provider import DialectName
from polycall.transport.base import Deadlines, HTTPRequest, send

_PATHS: dict[DialectName, str] = {
    "openai-responses": "/responses",
    "gemini-interactions": "/v1beta/interactions",
}
_METHODS = {"": "GET", "delete": "DELETE", "cancel": "POST", "input_items": "GET"}


def dialect_of(name: str) -> DialectName:
    """The protocol whose answers have such an id."""
    return "gemini-interactions" if name.startswith("v1_") else "openai-responses"


async def ask_keeper(
    services: GatewayServices, owner: str, name: str, *, action: str = "", query: str = ""
) -> JSON | None:
    """The provider's description of an answer; `None` where no known provider has it.

    `action` is `delete`, `cancel` or `input_items`; without one, the answer is asked for.
    """
    place = await services.items.place(owner, name)
    if not place:
        return None
    target = services.router.possible(place)[0]
    dialect = dialect_of(name)
    path = f"{_PATHS[dialect]}/{name}"
    if action in ("cancel", "input_items"):
        path += f"/{action}"
    url = address(target.provider, f"{path}?{query}" if query else path)
    headers = headers_for(target.provider, target.key, stream=False)
    method = _METHODS[action]
    body = b"{}" if method == "POST" else b""
    server = services.server
    deadlines = Deadlines(server.connect_s, server.read_s, server.total_s)
    credential = credential_for(target.provider, target.key)
    asked = HTTPRequest(url, headers, body, method, credential)
    http = await send(services.transport, asked, deadlines)
    try:
        data = await http.read(size_bytes_max=target.provider.whole_bytes_max)
    finally:
        await http.close()
    if http.status != 200:
        raise DIALECTS[dialect].parse_error(http.status, data)
    check_weight(data)
    try:
        value: Any = jsontext.decode(data)
    except ValueError:
        raise ProtocolError("the provider's answer is not JSON") from None
    return value
