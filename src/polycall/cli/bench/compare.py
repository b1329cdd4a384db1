"""Runs each task in each form through the tool loop, and measures what that takes."""

from __future__ import annotations

import html
import math
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
    """The decision of `auto` before the run begins."""
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


FORMS = ("sequential", "parallel", "programmatic")
_COLOURS = {"sequential": "#b8b8b8", "parallel": "#6f8fb5", "programmatic": "#c2571a"}
_LEFT, _WIDTH, _BAR, _GAP = 250, 470, 13, 16


def table(rows: Sequence[Compared], how: str) -> str:
    """Markdown.  Seconds are of one machine, without a model's own time."""
    lines = [
        f"Tokens: {how}.",
        "",
        "| task | form | tokens in context | tokens billed | round trips | calls | bytes sent "
        "| seconds |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        for form in FORMS:
            each = row.forms.get(form)
            if each is None:
                lines.append(f"| {row.name} | {form} | cannot be done | | | | | |")
                continue
            cells = (
                each.context_tokens,
                each.billed_tokens,
                each.turns,
                each.calls,
                each.sent_bytes,
            )
            shown = " | ".join(f"{cell:,}" for cell in cells)
            lines.append(f"| {row.name} | {form} | {shown} | {each.time_s:.2f} |")
    lines += [
        "",
        "| task | cheaper | auto, with hints | auto, from what it saw | its reason (with hints) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.cheapest} | {row.told.form} | {row.seen.form} | {row.told.reason} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def chart(rows: Sequence[Compared]) -> str:
    """An SVG: tokens in the context by task and form, on a logarithmic scale."""
    most = max(each.context_tokens for row in rows for each in row.forms.values())
    scale = _WIDTH / math.log10(most)
    height = 60 + len(rows) * (3 * _BAR + _GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" '
        'font-family="sans-serif" font-size="12" role="img" '
        'aria-label="Tokens that enter the context, by task and form">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="14">Tokens that enter the context (logarithmic)</text>',
    ]
    for place, form in enumerate(FORMS):
        x = 10 + place * 120
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{_COLOURS[form]}"/>')
        parts.append(f'<text x="{x + 15}" y="39">{form}</text>')
    y = 60
    for row in rows:
        middle = y + 1.5 * _BAR + 4
        parts.append(f'<text x="10" y="{middle:.0f}">{html.escape(row.name)}</text>')
        for form in FORMS:
            parts += _bar(row, form, y, scale)
            y += _BAR
        y += _GAP
    return "\n".join([*parts, "</svg>\n"])


def _bar(row: Compared, form: str, y: int, scale: float) -> list[str]:
    each = row.forms.get(form)
    if each is None:
        return [f'<text x="{_LEFT}" y="{y + 10}" fill="#888">cannot be done</text>']
    width = math.log10(max(each.context_tokens, 1)) * scale
    return [
        f'<rect x="{_LEFT}" y="{y}" width="{width:.0f}" height="{_BAR - 2}" '
        f'fill="{_COLOURS[form]}"/>',
        f'<text x="{_LEFT + width + 5:.0f}" y="{y + 10}">{each.context_tokens:,}</text>',
    ]
