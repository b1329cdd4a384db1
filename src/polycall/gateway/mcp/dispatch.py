"""The door to MCP; what serves it is loaded with the first request."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from polycall.config import Config
from polycall.errors import InvalidRequestError, MalformedRequestError, NotFoundError
from polycall.gateway.accounts.keys import Keys, Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.http.request import GatewayRequest, Receive, Scope, Send
from polycall.gateway.mcp.task_names import HEAD, TTL_S_MAX, is_live
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.processes.silence import SUSPECT_S
from polycall.gateway.store import Store
from polycall.gateway.store.base import StatePlace
from polycall.transport.base import Transport

if TYPE_CHECKING:
    from polycall.gateway.mcp.service import McpService
    from polycall.gateway.observability.traces import Traces
    from polycall.sandbox import Sandbox
    from polycall.tools import FunctionTool

logger = logging.getLogger("polycall.mcp")

PATH = "/mcp"
_SERVICE = "polycall.gateway.mcp.service"
_LOOK_S = 4.0
_CLOCKS_S = 30.0  # by which those of replicas may differ
_PAGE = 100


class McpDispatch:
    """One for the process; `close` it at the end."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        limits: KeyLimits,
        metrics: Metrics,
        *,
        memory: MemoryGuard,
        transport: Transport,
        traces: Traces | None,
        sandbox: Callable[[], Awaitable[Sandbox]],
        turn: Callable[[str], AbstractAsyncContextManager[None]],
        application: Callable[[Scope, Receive, Send], Awaitable[None]],
    ) -> None:
        self._parts: dict[str, Any] = {
            "store": store,
            "keys": keys,
            "limits": limits,
            "metrics": metrics,
            "memory": memory,
            "transport": transport,
            "traces": traces,
            "sandbox": sandbox,
            "turn": turn,
            "application": application,
        }
        self._config: Config | None = None
        self.has_servers = False  # there is something to serve
        self._is_draining = False
        self._service: McpService | None = None
        self._look_at = 0.0
        self._looked_until = 0.0
        self._since = self._until = 0.0  # what is looked through now, the newest first
        self._place: StatePlace | None = None  # how far

    def configure(self, config: Config) -> None:
        """Serve by this configuration."""
        self._config = config
        self.has_servers = bool(config.mcp)
        if self._service is not None:
            self._service.configure(config)

    def is_for(self, path: str) -> bool:
        """Whether a path is one of the protocol's."""
        return path == PATH or path.startswith(f"{PATH}/")

    async def serve(self, gateway_request: GatewayRequest, scope: Scope) -> None:
        """One request of the protocol."""
        if not self.has_servers:
            raise NotFoundError(
                "this gateway has no MCP servers; its operator adds them: [mcp.NAME]",
                code="unknown_url",
            )
        await (await self.opened()).endpoint.serve(gateway_request, scope)

    async def opened(self) -> McpService:
        """The service of the protocol, loaded away from the loop: it takes about half a second."""
        assert self._config is not None, "it was configured before it served"
        if self._service is None:
            try:
                made = await asyncio.to_thread(importlib.import_module, _SERVICE)
            except ModuleNotFoundError as error:
                raise InvalidRequestError(str(error), status=501) from None
            if self._service is None:  # others may have waited for it, too
                self._service = made.McpService(self._config, **self._parts)
        assert self._service is not None
        return self._service

    async def model_tools(
        self, owner: Owner, names: Sequence[str], gateway_request: GatewayRequest
    ) -> list[FunctionTool[..., Any]]:
        """The tools of these servers for a model request, as far as its key may call them."""
        known = self._config.mcp if self._config is not None else {}
        for name in names:
            if name not in known:
                shown = ", ".join(known)
                raise MalformedRequestError(
                    f"there is no MCP server {name[:100]!r}; there are: {shown}",
                    path="polycall-mcp",
                )
        return await (await self.opened()).model_tools(owner, names, gateway_request)

    async def look(self) -> None:
        """Every few seconds, take up tasks of processes that are gone, for which nobody may ask."""
        if not self.has_servers or self._is_draining or time.monotonic() < self._look_at:
            return
        if self._place is None:
            # What is at work is written anew all the time.
            self._until = time.time() - SUSPECT_S
            self._since = min(self._looked_until, self._until) - _CLOCKS_S
            self._since = max(self._since, self._until - TTL_S_MAX)
            self._place = (self._until, "", "")
        # One page at a time: revoked keys, which the same task looks for, do not wait for all.
        rows, place = await self._parts["store"].states_page(HEAD, _PAGE, self._since, self._place)
        for owner_id, name, _, value in rows:
            if not await self._is_seen_to(owner_id, name, value):
                logger.warning("as many tasks of lost processes as can be are seen to; others wait")
                self._look_at = time.monotonic() + _LOOK_S
                return  # to this page again
        self._place = place
        if place is None:
            self._looked_until = self._until
            self._look_at = time.monotonic() + _LOOK_S

    async def _is_seen_to(self, owner_id: str, name: str, value: bytes) -> bool:
        owner = self._parts["keys"].of_id(owner_id)
        if owner is None or not is_live(value):
            return True
        return (await self.opened()).take_up_task(owner, name.removeprefix(HEAD))

    def drain(self) -> None:
        """End the streams in which nothing is under way."""
        self._is_draining = True
        if self._service is not None:
            self._service.endpoint.drain()

    async def close(self) -> None:
        """End all sessions and servers."""
        if self._service is not None:
            await asyncio.shield(self._service.close())
