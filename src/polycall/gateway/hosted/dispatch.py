"""Whether a request is about what its vendor does itself; what does it here is loaded then."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from polycall.config.hosted import HostedToolSettings
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.store import Store

if TYPE_CHECKING:
    from polycall.gateway.generation.answer import RequestUsage
    from polycall.gateway.hosted.service import HostedToolService
    from polycall.gateway.services import GatewayServices

# What stands in a body that declares such tools, by the client's protocol.
_MCP = {
    "openai-responses": (b'"mcp"',),
    "anthropic": (b'"mcp_servers"',),
}
_SEARCH = {
    "openai-responses": (b'"web_search',),
    "anthropic": (b'"web_search_2',),
}


class HostedToolDispatch:
    """The door to them.  One for the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._service: HostedToolService | None = None
        self.configure(HostedToolSettings())

    def configure(self, settings: HostedToolSettings) -> None:
        """Serve by these settings."""
        self._settings = settings
        self._service = None

    async def answered(
        self,
        client_request: ClientRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
    ) -> bool:
        """Whether the request was about them, and has its answer now."""
        name = client_request.dialect.NAME
        marks = (*_MCP.get(name, ()),) if self._settings.mcp_servers else ()
        marks += _SEARCH.get(name, ()) if self._settings.web_search else ()
        # Of the protocols whose vendors do such things themselves.
        compacts = name in _MCP and client_request.is_compacted
        for mark in () if compacts else marks:
            if client_request.mentions(mark):
                break
        else:
            if not compacts:
                return False
        if client_request.runs_natively(services):
            return False
        if self._service is None:
            made = importlib.import_module("polycall.gateway.hosted.service")
            self._service = cast(
                "HostedToolService", made.HostedToolService(self._settings, self._store)
            )
        return await self._service.answer(client_request, gateway_request, services, account)
