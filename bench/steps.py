"""What an agent of 40 steps costs on four simulated vendors: `python -m bench.steps`.

The same agent on each: long instructions, of which a sentence changes every eighth step, a tree of
tools that opens, and forty steps.  *Anew* is the agent as many write it: each request begins with
what is so now, and nothing is marked.  *Appended* is polycall's own way.  Tokens, and what was read
from a cache, are the simulated vendors' count, by the cache rules in `sim/dated/data/caches.toml`;
dollars are the price table's.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall import Client, Limits
from polycall.agents import Agent, ToolTree
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import Call, Simulation, Turn

STEPS = 40
MODELS = {
    "anthropic": "claude-opus-5-5",
    "openai": "gpt-5.6-sol",
    "google": "gemini-3.8-flash",
    "deepseek": "deepseek-v4-flash",
}
_WORDS = "Answer in the tone of the house: short, exact, friendly. " * 400


class Cost(Struct, frozen=True):
    """What one run came to, a step on average."""

    vendor: str
    way: str
    steps: int
    input_tokens: int
    cached_share: float
    dollars: Decimal | None


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fair in {city}, 12 degrees"


def turns() -> list[Turn]:
    """Opens both branches, and calls their tools in turn."""
    made = [Turn(reasoning="hm", calls=[Call("open_namespace", {"namespace": "math"})])]
    for number in range(STEPS - 3):
        if number == STEPS // 2:
            made.append(
                Turn(reasoning="hm", calls=[Call("open_namespace", {"namespace": "world"})])
            )
        later = number >= STEPS // 2 and number % 2
        call = Call("world__weather", {"city": "Rome"}) if later else None
        made.append(Turn(reasoning="hm", calls=[call or Call("math__add", {"a": number, "b": 2})]))
    return [*made, Turn(text="done")]


class _Anew(Client):
    """A client for which every request begins with what is so now."""

    def binds_prefix(self, model: str) -> bool:
        """No: the agent writes the beginning anew."""
        return False

    def appends(self, model: str) -> bool:
        """No."""
        return False


async def measure(vendor: str, *, appended: bool) -> Cost:
    """One run of forty steps."""
    model = MODELS[vendor]
    with Simulation(seed=1) as sim:
        row = replace(CATALOGUE[vendor], base_url=sim.base_url(vendor))
        sim.script(vendor, model, turns())
        moods = itertools.count()

        def instructions(_: Any) -> str:
            return f"It is part {next(moods) // 8} of the work. {_WORDS}"

        branches = {"math": {"add": add}, "world": {"weather": weather}}
        settings: dict[str, Any] = {} if appended else {"cache": False}
        made = Client if appended else _Anew
        async with made(providers=[row], keys={vendor: "any-key"}) as client:
            agent = Agent(
                f"{vendor}/{model}",
                instructions=instructions,
                tools=[ToolTree(branches)],
                client=client,
                limits=Limits(steps=STEPS + 5),
                **settings,
            )
            run = await agent.run("go")
        count = len(run.steps)
        usage = run.usage
        dollars = None if run.cost is None else run.cost / count
        share = usage.cached_tokens / usage.input_tokens
        way = "appended" if appended else "anew"
        return Cost(vendor, way, count, usage.input_tokens // count, share, dollars)


async def all_costs() -> list[Cost]:
    """Both ways on each vendor."""
    return [
        await measure(vendor, appended=appended) for vendor in MODELS for appended in (False, True)
    ]


def table(costs: list[Cost]) -> str:
    """The table of docs/costs.md."""
    lines = [
        "| vendor, model | way | steps | input tokens a step | from the cache | $ a step |",
        "|---|---|---|---|---|---|",
    ]
    for each in costs:
        dollars = "unknown" if each.dollars is None else f"{each.dollars:.5f}"
        lines.append(
            f"| {each.vendor}, `{MODELS[each.vendor]}` | {each.way} | {each.steps} | "
            f"{each.input_tokens:,} | {each.cached_share:.0%} | {dollars} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run, and print the table."""
    print(table(asyncio.run(all_costs())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
