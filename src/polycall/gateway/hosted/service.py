"""The gateway's own running of hosted tools: which requests it takes."""

from __future__ import annotations

from polycall.config.hosted import HostedToolSettings
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.hosted.protocols import PROTOCOLS
from polycall.gateway.hosted.turn import HostedTurn
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.anthropic_threads import refuse_thread
from polycall.gateway.store import Store


class HostedToolService:
    """One for each configuration."""

    def __init__(self, settings: HostedToolSettings, store: Store) -> None:
        self._settings = settings
        self._store = store

    async def answer(
        self,
        client_request: ClientRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
    ) -> bool:
        """Answer the request; false where nothing in it is served here."""
        carried = await client_request.parse(services)
        protocol = PROTOCOLS[client_request.dialect.NAME]
        plan = protocol.plan(
            carried.request,
            has_mcp=bool(self._settings.mcp_servers),
            has_search=bool(self._settings.web_search),
        )
        if not plan.servers and plan.search is None and plan.compaction is None:
            return False
        refuse_thread(carried.request)
        turn = HostedTurn(
            client_request,
            gateway_request,
            services,
            account,
            protocol=protocol,
            plan=plan,
            settings=self._settings,
            store=self._store,
        )
        await turn.run(carried)
        return True
