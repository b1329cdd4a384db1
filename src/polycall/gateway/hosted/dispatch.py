"""Whether a request is about what its vendor does itself; what does it here is loaded then."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from polycall.config.hosted import HostedToolSettings
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.store import Store

if TYPE_CHECKING:
    from polycall.gateway.generation.request_usage import RequestUsage
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
        self._marks = {
            name: (*(_MCP[name] if settings.mcp_servers else ()),)
            + (_SEARCH[name] if settings.web_search else ())
            for name in _MCP
        }

    def may_answer(self, client_request: ClientRequest) -> bool:
        """Whether the request may be about them: it is looked at more closely then."""
        # Of the protocols whose vendors do such things themselves.
        marks = self._marks.get(client_request.dialect.NAME)
        if marks is None:
            return False
        return any(map(client_request.mentions, marks)) or client_request.is_compacted

    async def answered(
        self,
        client_request: ClientRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
    ) -> bool:
        """Whether a request that may be about them was, and has its answer now."""
        if client_request.runs_natively(services):
            return False
        if self._service is None:
            made = importlib.import_module("polycall.gateway.hosted.service")
            self._service = cast(
                "HostedToolService", made.HostedToolService(self._settings, self._store)
            )
        return await self._service.answer(client_request, gateway_request, services, account)
