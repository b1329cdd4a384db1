"""All that serves MCP in one process, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polycall._support import jsontext
from polycall.config import Config
from polycall.errors import ToolError
from polycall.gateway.accounts.keys import Keys, Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.mcp.calls import CallScope, ToolCalls
from polycall.gateway.mcp.code import CodeModes, StoreSessions
from polycall.gateway.mcp.endpoint import Endpoint
from polycall.gateway.mcp.handlers import Handlers
from polycall.gateway.mcp.hub import Hub, OfferedTool
from polycall.gateway.mcp.offers import Offers
from polycall.gateway.mcp.sampling import Application
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.mcp.connection import Kind
from polycall.sandbox import Sandbox
from polycall.tools import FunctionTool, ToolContext
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
        turn: Callable[[str], AbstractAsyncContextManager[None]],
        application: Application,
    ) -> None:
        self._telling: set[asyncio.Task[None]] = set()
        self.hub = Hub(store, config.folder, transport, on_changed=self._changed)
        self.hub.configure(config.mcp)
        self.calls = ToolCalls(self.hub, store, limits, metrics, traces)
        is_shared = config.server.workers > 1 or not config.store.url.startswith("sqlite:")
        sessions = StoreSessions(store) if is_shared else None
        self._codes = CodeModes(self.calls, sandbox, turn, sessions)
        self._handlers = Handlers(self.calls, Offers(self.hub), self._codes, store, application)
        self.endpoint = Endpoint(self._handlers, keys, memory, config)

    def configure(self, config: Config) -> None:
        """Serve by this configuration; servers that are as before stay open."""
        self.hub.configure(config.mcp)
        self.endpoint.configure(config)
        self._changed("tools")

    def take_up_task(self, owner: Owner, name: str) -> bool:
        """See to a task whose process may be gone; false where that has to wait."""
        return self._handlers.take_up(owner, name)

    async def model_tools(
        self, owner: Owner, names: Sequence[str], gateway_request: GatewayRequest
    ) -> list[FunctionTool[..., Any]]:
        """The tools of these servers as a model request has them.

        Calls that need a person's word are refused: in a model's answer nobody can be asked.
        """
        opened = await self.calls.offered(owner, names)

        def made() -> list[FunctionTool[..., Any]]:
            return [self._model_tool(each, owner, gateway_request) for each in opened.values()]

        return await asyncio.to_thread(made)  # of thousands that takes a while

    def _model_tool(
        self, offered: OfferedTool, owner: Owner, gateway_request: GatewayRequest
    ) -> FunctionTool[..., Any]:
        async def run(arguments: JSON, *, context: ToolContext[Any]) -> Any:
            name = offered.name
            if offered.own.needs_approval:
                raise ToolError(
                    f"{name!r} needs a person's approval, and nobody can be asked here; call it "
                    "at /mcp; nothing was run"
                )
            scope = CallScope(owner, gateway_request.id, gateway_request.headers)
            caller = "direct" if context.call is None else context.call.caller
            is_direct = caller == "direct"
            outcome = await self.calls.call(
                offered,
                jsontext.encode(arguments),
                scope,
                reporter=context.reporter,
                caller="direct" if is_direct else "code",
            )
            if outcome.result.is_error:
                raise ToolError(outcome.result.text)
            return outcome.result

        return replace(
            offered.own,
            name=offered.name,
            function=run,
            needs_approval=False,
            whole_arguments=True,
            context_parameter="context",
            allowed_callers=("direct", "code"),
        )

    async def close(self) -> None:
        """End all sessions and servers."""
        await self.endpoint.close()
        await self._codes.close()
        await self.hub.close()
        if self._telling:
            await asyncio.wait(self._telling)

    def _changed(self, kind: Kind) -> None:
        task = asyncio.ensure_future(self._handlers.changed(kind))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
