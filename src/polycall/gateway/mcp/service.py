"""All that serves MCP in one process, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from polycall.config import Config
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.mcp.calls import ToolCalls
from polycall.gateway.mcp.code import CodeModes
from polycall.gateway.mcp.endpoint import Endpoint
from polycall.gateway.mcp.handlers import Handlers
from polycall.gateway.mcp.hub import Hub
from polycall.gateway.mcp.offers import Offers
from polycall.gateway.mcp.sampling import Application
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.store import Store
from polycall.sandbox import Sandbox
from polycall.transport.base import Transport

if TYPE_CHECKING:
    from polycall.gateway.observability.traces import Traces

logger = logging.getLogger("polycall.mcp")


class McpService:
    """One for the process; `close` it at the end."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        keys: Keys,
        limits: KeyLimits,
        metrics: Metrics,
        memory: MemoryGuard,
        transport: Transport,
        traces: Traces | None,
        sandbox: Callable[[], Awaitable[Sandbox]],
        application: Application,
    ) -> None:
        self._telling: set[asyncio.Task[None]] = set()
        self.hub = Hub(store, config.folder, transport, on_changed=self._changed)
        self.hub.configure(config.mcp)
        self.calls = ToolCalls(self.hub, store, limits, metrics, traces)
        self._codes = CodeModes(self.calls, sandbox)
        self._handlers = Handlers(self.calls, Offers(self.hub), self._codes, store, application)
        self.endpoint = Endpoint(self._handlers, keys, memory, config)

    def configure(self, config: Config) -> None:
        """Serve by this configuration; servers that are as before stay open."""
        self.hub.configure(config.mcp)
        self.endpoint.configure(config)
        self._changed("")

    async def close(self) -> None:
        """End all sessions and servers."""
        await self.endpoint.close()
        await self._codes.close()
        await self.hub.close()
        if self._telling:
            await asyncio.wait(self._telling)

    def _changed(self, _name: str) -> None:
        task = asyncio.ensure_future(self._handlers.tools_changed())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
