"""The gateway's programs: who may run how many, in which sandbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from polycall.config import ProgramSettings
from polycall.errors import InvalidRequestError, OverloadedError
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.programs.client_tools import programs_for, without_namespaces
from polycall.gateway.programs.history import as_the_model_saw, records_in, shows_programs
from polycall.gateway.programs.protocols import (
    AnthropicProtocol,
    PlainProtocol,
    ProgramProtocol,
    ResponsesProtocol,
    container_of,
    declared_kind,
    declares_programmatic,
)
from polycall.gateway.programs.records import Records, read_id
from polycall.gateway.programs.turn import ProgramTurn
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.anthropic_threads import refuse_thread
from polycall.gateway.store import Store
from polycall.ir import Request
from polycall.loop import Turn
from polycall.sandbox import Limits, Sandbox, SandboxError, Session
from polycall.tools import FunctionTool

logger = logging.getLogger("polycall.programs")

_RESPONSES = "openai-responses"
_WAITING_S = 5.0  # for a turn among an owner's programs
_JOURNAL_BYTES_MAX = 16_000_000  # is held while the session lives


class ProgramService:
    """One for the process; `close` it at the end."""

    def __init__(self, settings: ProgramSettings, store: Store) -> None:
        self._settings = settings
        self._records = Records(store, settings.expiry_s)
        self._sandbox: Sandbox | None = None
        self._opening = asyncio.Lock()
        self._running: dict[str, int] = {}
        self._turns = asyncio.Condition()

    async def answer(
        self,
        client_request: ClientRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
        calling: str,
        *,
        own: Sequence[FunctionTool[..., Any]] = (),
    ) -> bool:
        """Answer the request; false where calls are better made directly, or no program is meant.

        `calling` is what the client's header says: `code`, `auto`, or nothing; `direct` where `own`
        tools are to be called, which run here.
        """
        carried = await client_request.parse(services)
        protocol = _protocol_for(
            carried.request, client_request.dialect.NAME, client_request.owner.id, services, calling
        )
        if protocol is None:
            return False
        refuse_thread(carried.request)
        exchange = ProgramTurn(
            client_request,
            gateway_request,
            services,
            account,
            protocol=protocol,
            records=self._records,
            open_sandbox=self.sandbox,
            steps_max=self._settings.steps,
            turn=partial(self.turn, client_request.owner.id),
            own=own,
        )
        return await exchange.run(carried, calling or "code")

    async def offered(
        self, request: Request, dialect: str, owner: str, services: GatewayServices, calling: str
    ) -> Request:
        """The request as the model will see it, where tokens are counted and nothing is run."""
        protocol = _protocol_for(request, dialect, owner, services, calling)
        if protocol is None:
            return request
        plain, _ = without_namespaces(protocol.without_programs(request))
        found = await self._records.load(owner, records_in(plain.messages))
        messages, _ = as_the_model_saw(plain.messages, found)
        programs = programs_for(plain, plain.model, calling, _no_session)
        turn = await programs.prepare(plain, messages, [])
        assert isinstance(turn, Turn), "the first step of a run is always asked"
        return turn.request

    async def close(self) -> None:
        """End all programs."""
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.close()

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncGenerator[None]:
        """One of the answers with programs that an owner may have going on at a time."""
        async with self._turns:
            try:
                async with asyncio.timeout(_WAITING_S):
                    await self._turns.wait_for(lambda: self._count(owner) < self._settings.at_once)
            except TimeoutError:
                raise OverloadedError(
                    f"{self._settings.at_once} programs of this key are running; try again",
                    retry_after_s=1.0,
                ) from None
            self._running[owner] = self._count(owner) + 1
        try:
            yield
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]
            async with self._turns:
                self._turns.notify_all()

    def _count(self, owner: str) -> int:
        return self._running.get(owner, 0)

    async def sandbox(self) -> Sandbox:
        """The sandbox, opened with the first program."""
        async with self._opening:
            if self._sandbox is None:
                settings = self._settings
                limits = Limits(
                    wall_s=settings.wall_s,
                    memory_mib=settings.memory_mib,
                    stdout_bytes=settings.stdout_bytes,
                    calls=settings.calls,
                    journal_bytes=_JOURNAL_BYTES_MAX,
                )
                sandbox = Sandbox(settings.runtime, limits, pool=1)
                try:
                    await sandbox.__aenter__()
                except SandboxError as error:
                    logger.warning("programs cannot be run: %s", error)
                    raise InvalidRequestError(
                        f"this gateway cannot run programs: {error}; "
                        "its operator sees more with `polycall doctor`"
                    ) from None
                self._sandbox = sandbox
            return self._sandbox


def _no_session() -> Session:
    raise AssertionError("nothing runs where tokens are counted")


def _protocol_for(
    request: Request, dialect: str, owner: str, services: GatewayServices, calling: str
) -> ProgramProtocol | None:
    """The protocol of programs that the client speaks; `None` where it speaks none.

    A conversation that has shown programs continues as it began, whatever tools are declared now.
    """
    kind = declared_kind(request)
    if kind and any("code" in tool.allowed_callers for tool in request.tools):
        return AnthropicProtocol(kind)
    if any(declares_programmatic(tool) for tool in request.tools):
        return ResponsesProtocol(services.carrier.sealer, owner)
    records = records_in(request.messages)
    if not calling and (shows_programs(request.messages) or read_id(container_of(request))):
        return (
            ResponsesProtocol(services.carrier.sealer, owner)
            if dialect == _RESPONSES
            else AnthropicProtocol(kind)
        )
    return PlainProtocol() if calling or records else None
