"""Runs each task in each form through the tool loop, and measures what that takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from polycall.cli.bench.cases import Case
from polycall.cli.bench.tokens import CountingClient
from polycall.client import Client, ModelClient
from polycall.errors import UpstreamError
from polycall.ir import Message, Request, Text
from polycall.loop import Limits, RunEnd
from polycall.program import Bounds, Calling, CallingDecision, Hints, Programs, Seen
from polycall.providers.catalogue import CATALOGUE
from polycall.sandbox import Limits as SandboxLimits
from polycall.sandbox import Sandbox
from polycall.sim import Call, Simulation, Turn
from polycall.transport.aiohttp_transport import AiohttpTransport
from polycall.transport.base import Deadlines, HTTPRequest, HTTPResponse

_ANSWER = "Here is what you asked for."


class Measured(Struct, frozen=True):
    """One task in one form.

    `context_tokens` is what the model has read and written by the end, each thing once;
    `billed_tokens` what all its requests and answers hold together.  `turns` are answers of the
    model that made calls, `calls` the tools that ran.
    """

    context_tokens: int
    billed_tokens: int
    turns: int
    calls: int
    sent_bytes: int
    time_s: float


class Compared(Struct, frozen=True):
    """One task in all forms, and what `auto` makes of it: with hints, and after a run."""

    name: str
    forms: dict[str, Measured]
    told: CallingDecision
    seen: CallingDecision
    is_right: bool

    @property
    def cheapest(self) -> str:
        """The form that bills the fewest tokens, of the two that `auto` chooses between."""
        direct = min(
            each.billed_tokens for form, each in self.forms.items() if form != "programmatic"
        )
        return "code" if self.forms["programmatic"].billed_tokens < direct else "direct"


class _CountingTransport:
    """Counts the bytes that are sent."""

    def __init__(self) -> None:
        self._inner = AiohttpTransport()
        self.sent_bytes = 0

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        self.sent_bytes += len(request.body)
        return await self._inner.open(request, deadlines)

    async def close(self) -> None:
        await self._inner.close()


async def compare(cases: Iterable[Case], vendor: str = "openai") -> list[Compared]:
    """All tasks in all forms."""
    limits = SandboxLimits(wall_s=60, cpu_s=60, memory_mib=512)
    rows: list[Compared] = []
    async with Simulation() as simulation, Sandbox(limits=limits) as sandbox:
        for case in cases:
            rows.append(await _compared(case, simulation, sandbox, vendor))
    return rows


async def _compared(case: Case, simulation: Simulation, sandbox: Sandbox, vendor: str) -> Compared:
    seen = Seen()
    forms: dict[str, Measured] = {}
    sequential = [[call] for call in case.calls]
    run = _Runner(case, simulation, sandbox, vendor)
    forms["sequential"], _ = await run("direct", sequential, None if case.parallel else seen)
    if case.parallel is not None:
        forms["parallel"], _ = await run("direct", [case.parallel], seen)
    program = [[Call("run_code", {"code": case.code})]]
    forms["programmatic"], output = await run("code", program)
    return Compared(
        case.name,
        forms,
        await _decision(case, sandbox, Seen(), case.hints),
        await _decision(case, sandbox, seen, Hints()),
        is_right=case.check(output),
    )


async def _decision(case: Case, sandbox: Sandbox, seen: Seen, hints: Hints) -> CallingDecision:
    """What `auto` decides before the run begins."""
    async with Programs(case.tools, sandbox, seen=seen, hints=hints) as programs:
        seen.begin_run()
        return programs.offer.decide(_request("auto", case), 0)


class _Runner:
    """Runs one task in a form, against a simulated provider that follows a script."""

    def __init__(self, case: Case, simulation: Simulation, sandbox: Sandbox, vendor: str) -> None:
        self._case = case
        self._simulation = simulation
        self._sandbox = sandbox
        self._vendor = vendor
        row = CATALOGUE.get(vendor, CATALOGUE["arouter"])
        self._provider = replace(row, name=vendor, base_url=simulation.base_url(vendor))

    async def __call__(
        self, calling: Calling, steps: Sequence[Sequence[Call]], seen: Seen | None = None
    ) -> tuple[Measured, str]:
        model = f"scripted-{calling}-{len(steps)}"
        turns = [Turn(calls=list(calls)) for calls in steps]
        self._simulation.script(self._vendor, model, [*turns, Turn(_ANSWER)])
        transport = _CountingTransport()
        keys = {self._vendor: "simulated-key"}
        started = time.perf_counter()
        async with Client(providers=[self._provider], keys=keys, transport=transport) as client:
            counted = CountingClient(client)
            async with Programs(
                self._case.tools,
                self._sandbox,
                calling=calling,
                seen=seen,
                bounds=Bounds(park_bytes=None),
            ) as programs:
                end = await self._end(programs, counted, f"{self._vendor}/{model}")
        time_s = time.perf_counter() - started
        nested = sum(len(run.calls) for run in programs.programs)
        direct = sum(len(calls) for calls in steps) if calling == "direct" else 0
        measured = Measured(
            counted.context_tokens,
            counted.billed_tokens,
            turns=sum(1 for step in end.steps if step.results),
            calls=nested + direct,
            sent_bytes=transport.sent_bytes,
            time_s=time_s,
        )
        return measured, programs.programs[-1].output if programs.programs else ""

    async def _end(self, programs: Programs, client: ModelClient, model: str) -> RunEnd:
        end = None
        limits = Limits(steps=100, parallel_calls=64)
        async for event in programs.run(client, _request(model, self._case), limits=limits):
            end = event if isinstance(event, RunEnd) else end
        if end is None or end.reason != "finished" or end.text != _ANSWER:
            raise UpstreamError(f"the scripted run of {self._case.name!r} did not end as written")
        return end


def _request(model: str, case: Case) -> Request:
    return Request(model, [Message("user", [Text(case.question)])])
