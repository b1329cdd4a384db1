"""Whether a request is about programs; what serves those is loaded with the first one."""

from __future__ import annotations

import importlib
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, cast

from polycall.config import ProgramSettings
from polycall.errors import InvalidRequestError, MalformedRequestError
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.routing.router import Target
from polycall.gateway.store import Store
from polycall.ir import Request

if TYPE_CHECKING:
    from polycall.gateway.accounts.keys import Owner
    from polycall.gateway.generation.request_usage import RequestUsage
    from polycall.gateway.mcp.dispatch import McpDispatch
    from polycall.gateway.programs.service import ProgramService
    from polycall.gateway.services import GatewayServices
    from polycall.sandbox import Sandbox

HEADER = b"polycall-calling"
MCP_HEADER = b"polycall-mcp"

# How each protocol declares that the model may write programs.
_DECLARATIONS = {
    "anthropic": b'"code_execution_2',
    "openai-responses": b'"programmatic_tool_calling"',
}
# Stands in every id that a program's calls have.
_MARK = b"_pgm_"


class ProgramDispatch:
    """The door to programs.  One for the process; `close` it at the end."""

    def __init__(self, settings: ProgramSettings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._mcp: McpDispatch | None = None
        self._service: ProgramService | None = None

    def use_mcp(self, mcp: McpDispatch) -> None:
        """Let requests have the tools of these servers."""
        self._mcp = mcp

    def may_answer(self, client_request: ClientRequest, gateway_request: GatewayRequest) -> bool:
        """Whether the request may be about programs: it is looked at more closely then."""
        declaration = _DECLARATIONS.get(client_request.dialect.NAME)
        return bool(
            client_request.mentions(_MARK)
            or (declaration is not None and client_request.mentions(declaration))
            or client_request.earlier.may_be_named
            or HEADER in gateway_request.headers
            or self.mcp_names(gateway_request, client_request.owner)
        )

    async def answered(
        self,
        client_request: ClientRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
    ) -> bool:
        """Whether a request that may be about programs was, and has its answer now."""
        given = gateway_request.headers.get(HEADER)
        names = self.mcp_names(gateway_request, client_request.owner)
        if names:
            assert self._mcp is not None
            own = await self._mcp.model_tools(client_request.owner, names, gateway_request)
            if own:
                calling = "direct" if given is None else given.decode("latin-1")
                service = self._opened(runs=calling != "direct")
                return await service.answer(
                    client_request, gateway_request, services, account, _word(calling), own=own
                )
        if given == b"direct":
            return False
        if given is None and not await _is_about_programs(client_request, services):
            return False
        return await self._opened().answer(
            client_request, gateway_request, services, account, _word(given)
        )

    def mcp_names(self, gateway_request: GatewayRequest, owner: Owner) -> tuple[str, ...]:
        """The MCP servers whose tools the request has: by its header, or by its key."""
        if self._mcp is None or not self._mcp.has_servers:
            return ()
        given = gateway_request.headers.get(MCP_HEADER)
        if given is None:
            return owner.mcp_default
        words = given.decode("latin-1").split(",")
        return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))

    async def offered(
        self,
        request: Request,
        data: bytes,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        *,
        owner: str,
        target: Target,
        dialect: str,
    ) -> Request:
        """The request as the model at a target will see it, if it is about programs."""
        given = gateway_request.headers.get(HEADER)
        marks = (_MARK, *_DECLARATIONS.values())
        if given == b"direct" or (given is None and not any(mark in data for mark in marks)):
            return request
        is_theirs = target.provider.dialect_for(with_tools=True) == dialect
        if given is None and target.provider.runs_programs and is_theirs:
            return request
        return await self._opened().offered(request, dialect, owner, services, _word(given))

    async def sandbox(self) -> Sandbox:
        """The sandbox of this process' programs, opened with the first."""
        return await self._opened().sandbox()

    def turn(self, owner: str) -> AbstractAsyncContextManager[None]:
        """One of the programs that a key may have running at a time."""
        return self._opened().turn(owner)

    def _opened(self, *, runs: bool = True) -> ProgramService:
        if runs and not self._settings.enabled:
            raise InvalidRequestError("programs are turned off here: [programs] enabled = false")
        if self._service is None:
            made = importlib.import_module("polycall.gateway.programs.service")
            self._service = made.ProgramService(self._settings, self._store)
        return cast("ProgramService", self._service)

    async def close(self) -> None:
        """End all programs."""
        if self._service is not None:
            await self._service.close()


def _word(given: bytes | str | None) -> str:
    calling = given if isinstance(given, str) else (given or b"").decode("latin-1")
    if calling not in ("", "code", "auto", "direct"):
        raise MalformedRequestError(
            f"{calling[:40]!r} is not a way of calling; say direct, code or auto",
            path=HEADER.decode(),
        )
    return calling


async def _is_about_programs(client_request: ClientRequest, services: GatewayServices) -> bool:
    declaration = _DECLARATIONS.get(client_request.dialect.NAME)
    if declaration is not None and client_request.mentions(declaration):
        # A provider that runs programs itself is asked as the client asks.
        return not client_request.runs_natively(services)
    if client_request.mentions(_MARK):
        return True
    return await client_request.earlier.mention(_MARK, services)
