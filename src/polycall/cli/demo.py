"""`polycall demo`: one function, called through every vendor's protocol."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Literal

from polycall.cli.show import summary
from polycall.client import Client
from polycall.ir import Message, PartDelta, Request, Text, ToolCall
from polycall.loop import CallEnd, CallStart, ModelEvent, RunEnd, run_tools
from polycall.profiles import LIVING
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Price, Provider
from polycall.sim import Simulation
from polycall.tools import Executor, Toolset, tool

PROMPT = "What is the weather in Seoul?"
KOREAN_PROMPT = "서울 날씨 알려줘"
PARALLEL_PROMPT = "Weather in Seoul, Tokyo and Paris?"

_SEOUL = (3, "clear")
_WEATHER = {"Seoul": _SEOUL, "Tokyo": (12, "cloudy"), "Paris": (8, "rain"), "서울": _SEOUL}
# Prompt, whether it is streamed, and what the lines below it show.
_RUNS = (
    (PROMPT, False, "whole answers"),
    (KOREAN_PROMPT, True, "streamed"),
    (PARALLEL_PROMPT, True, "streamed, three calls at once"),
)


@tool
async def get_weather(
    city: str, unit: Literal["celsius", "fahrenheit"] = "celsius"
) -> dict[str, str | int]:
    """The weather in a city now (날씨).

    Args:
        city: the city (도시)
        unit: of the temperature
    """
    temperature, sky = _WEATHER[city]
    if unit == "fahrenheit":
        temperature = round(temperature * 9 / 5 + 32)
    return {"city": city, "temperature": temperature, "sky": sky}


TOOLS = Toolset([get_weather])

# What the simulated models cost: a price list of the demonstration's own.
SIMULATED_PRICE = Price(input=Decimal("1.00"), output=Decimal("4.00"), cached=Decimal("0.10"))

SIMULATED = {
    "openai": "sim-1",
    "anthropic": "sim-1",
    "google": "sim-1",
    "deepseek": "sim-1",
    "compatible": "sim-1",
}
REAL = {vendor: name.partition("/")[2] for vendor, name in LIVING.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Call one function through five providers, streamed and not, then three calls at once; "
        "then start a gateway and ask four of them with the same curl. The providers are "
        "simulated on this machine: real HTTP in the vendors' own protocols, no language "
        "model. If a key is set (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, "
        "DEEPSEEK_API_KEY), the real provider follows, at less than one US cent each; "
        "--offline leaves that out."
    )
    parser.epilog = "Example: polycall demo --offline --json"
    parser.add_argument("--offline", action="store_true", help="do not ask real providers")
    parser.add_argument(
        "--verbose", action="store_true", help="every call, fragment, result and cost"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each run")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demonstration; fails where a run did not end with the weather."""
    with Simulation() as simulation:
        providers = list(simulated_providers(simulation))
        good = asyncio.run(_demonstrate(providers, SIMULATED, options, simulated=True))
        good &= _through_the_gateway(simulation, options)
    if not options.offline:
        real = {name: model for name, model in REAL.items() if _has_key(CATALOGUE[name])}
        if real:
            good &= asyncio.run(_demonstrate([], real, options, simulated=False))
    return 0 if good else 1


def _through_the_gateway(simulation: Simulation, options: argparse.Namespace) -> bool:
    from polycall.cli.demo_gateway import Asking, demonstrate  # noqa: PLC0415 - `--help` needs none of it

    definition = get_weather.definition
    tool = {
        "type": "function",
        "function": {
            "name": definition.name,
            "description": definition.description,
            "parameters": definition.parameters,
        },
    }
    temperature, sky = _SEOUL
    result = {"city": "Seoul", "temperature": temperature, "sky": sky}
    show = _Printer(quiet=options.json, verbose=options.verbose)
    rows = demonstrate(simulation, Asking(PROMPT, tool, result), show.line, show.detail)
    if options.json:
        for row in rows:
            print(_shown(row))
    return all(row["ok"] for row in rows)


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
        for prompt, streamed, form in _RUNS:
            show = _Printer(quiet=options.json, verbose=options.verbose)
            kind = "simulated" if simulated else "real"
            show.line(f"\n{prompt}   ({kind} providers, {form})")
            for name, model in models.items():
                request = Request(
                    model=f"{name}/{model}",
                    messages=[Message("user", [Text(prompt)])],
                    tools=TOOLS.definitions,
                    stream=streamed,
                )
                calls, end = await _one_run(client, request, show)
                good &= bool(calls) and bool(end.text)
                if options.json:
                    _print_json(request, prompt, calls, end, simulated=simulated)
    return good


async def _one_run(
    client: Client, request: Request, show: _Printer
) -> tuple[list[ToolCall], RunEnd]:
    show.detail(f"\n{request.model}")
    calls: list[ToolCall] = []
    async with aclosing(run_tools(client, request, Executor(TOOLS))) as events:
        async for event in events:
            match event:
                case ModelEvent(event=PartDelta(text=text)) if request.stream:
                    show.fragment(text)
                case CallStart(call=call):
                    show.detail(f"  call    {call.name}({_shown(call.arguments)})")
                case CallEnd(call=call, result=result):
                    show.detail(f"  result  {result.text}")
                    calls.append(call)
                case RunEnd() as end:
                    indented = end.text.replace("\n", "\n          ")
                    show.detail(f"  text    {indented}")
                    show.detail(f"  took    {summary(end.usage, end.cost, len(end.steps))}")
                    show.brief(_in_a_line(request.model, calls, end))
                    return calls, end
                case _:
                    pass
    raise AssertionError("a run ends with RunEnd")


def _in_a_line(model: str, calls: list[ToolCall], end: RunEnd) -> str:
    cities = [str((call.arguments or {}).get("city")) for call in calls]
    cost = "" if end.cost is None else f"   ${end.cost:f}"
    made = "  ".join(f"get_weather({city})" for city in cities)
    return f"  {model:17} {made}   {end.usage.total_tokens} tokens{cost}"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Printer:
    """One line for a run, or with `verbose` every event of it; a stream's fragments in one line."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose and not quiet
        self._in_fragments = False

    def line(self, text: str) -> None:
        """Print a line at once: what follows may take a while."""
        if self._quiet:
            return
        if self._in_fragments:
            print()
            self._in_fragments = False
        print(text, flush=True)

    def brief(self, text: str) -> None:
        """Print a line unless details are shown."""
        if not self._verbose:
            self.line(text)

    def detail(self, text: str) -> None:
        """Print a line if details are shown."""
        if self._verbose:
            self.line(text)

    def fragment(self, text: str) -> None:
        """Print a piece of a stream if details are shown."""
        if not self._verbose:
            return
        text = text.replace("\n", "⏎")
        print(text if self._in_fragments else f"  stream  {text}", end="|", flush=True)
        self._in_fragments = True


def _print_json(
    request: Request, prompt: str, calls: list[ToolCall], end: RunEnd, *, simulated: bool
) -> None:
    row = {
        "model": request.model,
        "simulated": simulated,
        "streamed": request.stream,
        "prompt": prompt,
        "calls": [{"name": call.name, "arguments": call.arguments} for call in calls],
        "text": end.text,
        "input_tokens": end.usage.input_tokens,
        "output_tokens": end.usage.output_tokens,
        "cost_usd": None if end.cost is None else str(end.cost),
        "warnings": [w.feature for step in end.steps for w in step.response.warnings],
    }
    print(_shown(row))
