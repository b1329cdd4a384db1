"""The administration of a gateway, as the gateway sees it."""

from __future__ import annotations

from typing import Protocol

from polycall.gateway.http.request import GatewayRequest
from polycall.ir import JSON

PREFIXES = ("/admin/v1/", "/console")


class Administered(Protocol):
    """Answers below `PREFIXES`, and is closed with the gateway."""

    async def serve(self, gateway_request: GatewayRequest) -> None:
        """Answer one request, or raise what is wrong with it."""
        ...

    def paths(self) -> JSON:
        """Its routes, as OpenAPI has them."""
        ...

    async def close(self) -> None:
        """Let go of what it has opened."""
        ...
