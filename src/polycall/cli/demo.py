"""`polycall demo`: one function, called through every vendor's protocol."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

from msgspec import Struct

from polycall.client import Client
from polycall.ir import Message, PartDelta, Request, Text, Tool, ToolCall, ToolResult, Usage
from polycall.loop import CallEnd, CallStart, ModelEvent, RunEnd, run_tools
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Price, Provider
from polycall.sim import Simulation

PROMPT = "서울 날씨 알려줘"
PARALLEL_PROMPT = "서울, 도쿄, 파리 날씨 알려줘"

GET_WEATHER = Tool(
    name="get_weather",
    description="The weather in a city now (날씨).",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "the city (도시)"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
)

_WEATHER = {"서울": (3, "맑음"), "도쿄": (12, "흐림"), "파리": (8, "비")}

# What the simulated models cost: a price list of the demonstration's own.
SIMULATED_PRICE = Price(input=Decimal("1.00"), output=Decimal("4.00"), cached=Decimal("0.10"))

SIMULATED = {
    "openai": "sim-1",
    "anthropic": "sim-1",
    "google": "sim-1",
    "deepseek": "sim-1",
    "compatible": "sim-1",
}
REAL = {
    "openai": "gpt-5.4",
    "anthropic": "claude-sonnet-4.6",
    "google": "gemini-2.5-flash",
    "deepseek": "deepseek-chat",
}


class Line(Struct, frozen=True):
    """One finished run, for `--json`."""

    model: str
    simulated: bool
    streamed: bool
    prompt: str
    calls: list[dict[str, Any]]
    text: str
    usage: Usage
    cost_usd: Decimal | None
    warnings: list[str]


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "demo",
        help="the tool cycle through every vendor's protocol, offline",
        description=(
            "Call one function through five providers, streamed and not, then three calls side by "
            "side. The providers are simulated on this machine: real HTTP in the vendors' own "
            "protocols, no language model. Where a key is set (OPENAI_API_KEY, ANTHROPIC_API_KEY, "
            "GEMINI_API_KEY, DEEPSEEK_API_KEY) the real provider follows, at a cost of less than "
            "one US cent each; --offline leaves that out."
        ),
        epilog="Example: polycall demo --offline --json",
    )
    parser.add_argument("--offline", action="store_true", help="never ask a real provider")
    parser.add_argument("--json", action="store_true", help="one JSON object a run")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demonstration; fails where a run did not end with the weather."""
    with Simulation() as simulation:
        providers = list(simulated_providers(simulation))
        good = asyncio.run(_demonstrate(providers, SIMULATED, options, simulated=True))
    if not options.offline:
        real = {name: model for name, model in REAL.items() if _has_key(CATALOGUE[name])}
        if real:
            good &= asyncio.run(_demonstrate([], real, options, simulated=False))
    return 0 if good else 1


def simulated_providers(simulation: Simulation) -> Iterator[Provider]:
    """The catalogue's rows with the simulation's addresses, and one compatible server."""
    for name, model in SIMULATED.items():
        row = CATALOGUE.get(name, CATALOGUE["arouter"])
        yield Provider(
            name=name,
            dialect=row.dialect,
            tools_dialect=row.tools_dialect,
            base_url=simulation.base_url(name),
            auth=row.auth,
            headers=row.headers,
            quirks=row.quirks,
            prices={model: SIMULATED_PRICE},
        )


def _has_key(provider: Provider) -> bool:
    return any(os.environ.get(variable) for variable in provider.key_variables)


async def _demonstrate(
    providers: list[Provider],
    models: dict[str, str],
    options: argparse.Namespace,
    *,
    simulated: bool,
) -> bool:
    keys = dict.fromkeys(models, "simulated-key") if simulated else {}
    good = True
    async with Client(providers=providers, keys=keys) as client:
        for prompt, streamed in ((PROMPT, False), (PROMPT, True), (PARALLEL_PROMPT, True)):
            if not options.json:
                kind = "simulated" if simulated else "real"
                print(f"\n# {prompt}   ({kind} providers, {'' if streamed else 'not '}streamed)")
            for name, model in models.items():
                line = await _one_run(client, f"{name}/{model}", prompt, streamed, options.json)
                good &= bool(line.calls) and bool(line.text)
                if options.json:
                    _print_json(line, simulated)
    return good


async def _one_run(client: Client, model: str, prompt: str, streamed: bool, quiet: bool) -> Line:
    request = Request(
        model=model,
        messages=[Message("user", [Text(prompt)])],
        tools=[GET_WEATHER],
        stream=streamed,
    )
    show = _Printer(quiet)
    show.line(f"\n{model}")
    calls: list[dict[str, Any]] = []
    warnings: list[str] = []
    async with aclosing(run_tools(client, request, _execute)) as events:
        async for event in events:
            match event:
                case ModelEvent(event=PartDelta(text=text)) if streamed:
                    show.fragment(text)
                case CallStart(call=call):
                    show.line(f"  call    {call.name}({_shown(call.arguments)})")
                case CallEnd(call=call, result=result):
                    show.line(f"  result  {result.text}")
                    calls.append({"name": call.name, "arguments": call.arguments})
                case RunEnd() as end:
                    steps = end.steps
                    warnings = [w.feature for step in steps for w in step.response.warnings]
                    show.line(f"  text    {end.text}")
                    usage, cost = end.usage, end.cost
                    price = "unknown" if cost is None else f"${cost:.6f}"
                    show.line(
                        f"  tokens  {usage.input_tokens} in, {usage.output_tokens} out; "
                        f"cost {price}; {len(steps)} steps"
                    )
                    return Line(
                        model, False, streamed, prompt, calls, end.text, usage, cost, warnings
                    )
                case _:
                    pass
    raise AssertionError("a run ends with RunEnd")


async def _execute(call: ToolCall) -> ToolResult:
    city = str((call.arguments or {}).get("city"))
    if city not in _WEATHER:
        return ToolResult(call.id, [Text(f"no weather for {city!r}")], is_error=True)
    temperature, sky = _WEATHER[city]
    weather = {"city": city, "temperature": temperature, "sky": sky}
    return ToolResult(call.id, [Text(_shown(weather))], name=call.name)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Printer:
    """Lines, and a stream's fragments in one line of their own."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._in_fragments = False

    def line(self, text: str) -> None:
        if self._quiet:
            return
        if self._in_fragments:
            print()
            self._in_fragments = False
        print(text)

    def fragment(self, text: str) -> None:
        if self._quiet:
            return
        text = text.replace("\n", "⏎")
        print(text if self._in_fragments else f"  stream  {text}", end="|", flush=True)
        self._in_fragments = True


def _print_json(line: Line, simulated: bool) -> None:
    row = {name: getattr(line, name) for name in line.__struct_fields__}
    row["simulated"] = simulated
    row["usage"] = {
        "input_tokens": line.usage.input_tokens,
        "output_tokens": line.usage.output_tokens,
    }
    row["cost_usd"] = None if line.cost_usd is None else str(line.cost_usd)
    json.dump(row, sys.stdout, ensure_ascii=False)
    print()
