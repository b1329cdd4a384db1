"""Random agents against the strict prefix check: `python -m bench.append --traces 10000`.

Each trace is an agent of a kind (a tree of tools, written tools, memory, handoffs, a delegate,
programs, compaction, a fallback, an edited history) with a simulated model of Claude's that refuses
or drops thinking whose beginning has changed.  Half of the traces are the library's, the others go
through the gateway, whose client is the library again, over one of its four protocols.

Printed are the blocks of thinking that the simulated vendor found not to fit (there must be none),
those that were sent back and fitted, and the share of input tokens that were read from the cache in
all steps but the first of a run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall import Client, Limits, tool
from polycall.agents import Agent, Compaction, Handoff, Memory, ToolTree, WrittenTools
from polycall.ir import Message, Text
from polycall.providers.catalogue import CATALOGUE
from polycall.sandbox import Sandbox
from polycall.sim import Call, Failure, Simulation, Turn
from polycall.sim.vendors import anthropic_history, anthropic_thinking
from polycall.transport.base import Retry

MODEL = "claude-fable-5-2"
OTHER = "claude-opus-5-5"
PROTOCOLS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
}
KINDS = (
    *("plain", "tree", "written", "memory", "handoff", "delegate"),
    *("programs", "compaction", "fallback", "edited", "instructions"),
)
_HEAD = "Answer in the tone of the house: short, exact, friendly. "


class Found(Struct):
    """What a set of traces came to."""

    traces: int = 0
    steps: int = 0
    fitted: int = 0  # blocks of thinking that came back and fitted
    unfit: int = 0  # blocks that the vendor found not to fit
    other_model: int = 0
    left_out: int = 0  # blocks that were left out before they were sent
    read: int = 0  # input tokens read from the cache
    readable: int = 0  # input tokens that the step before had sent
    sent: int = 0  # all input tokens
    failed: int = 0
    problems: list[str] = []
    by_kind: dict[str, list[int]] = {}


class Watch:
    """Counts what the strict check finds, in every request that any trace sends."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._check: Callable[..., Any] = anthropic_thinking.check

    def __enter__(self) -> None:
        def check(turns: Any, *given: Any, **named: Any) -> Any:
            result = self._check(turns, *given, **named)
            blocks = sum(
                block["type"] in ("thinking", "redacted_thinking")
                for role, parts, _ in turns
                if role == "assistant"
                for block in parts
            )
            reasons = Counter(entry["reason"] for entry in result.dropped)
            unfit = reasons["prefix_binding_mismatch"]
            self._found.unfit += unfit
            self._found.other_model += reasons["model_binding_mismatch"]
            self._found.fitted += blocks - len(result.dropped)
            return result

        anthropic_history.anthropic_thinking.check = check

    def __exit__(self, *_: object) -> None:
        anthropic_history.anthropic_thinking.check = self._check


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fair in {city}, 12 degrees"


def mail(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


def both(city: str) -> str:
    """Look a city up, by call or by program."""
    return f"{city}: 12 degrees"


_CODE = "def {name}(x: int) -> int:\n    return x * {number}\n"


class Trace:
    """One random agent, and what its model does in its runs."""

    def __init__(
        self, seed: int, kind: str, model: str, *, steps: int, sandbox: Sandbox | None
    ) -> None:
        self.random = random.Random(seed)
        self.kind = kind
        self.model = f"{model},{model.replace(MODEL, OTHER)}" if kind == "fallback" else model
        self.number = seed
        self._steps = steps
        self._sandbox = sandbox
        self._opened: set[str] = set()
        self._written = 0
        self._mood = 0
        self._speaker = "first"

    def instructions(self, _: Any) -> str:
        """Words that change now and then."""
        self._mood += self.random.random() < 0.1
        return f"{_HEAD * 500}Agent {self.number}. Mood {self._mood}."

    def agent(self, client: Client) -> Agent[Any]:
        """The agent of this kind."""
        words: Any = f"{_HEAD * 500}Agent {self.number}."
        more: dict[str, Any] = {}
        tools: list[Any] = [add, weather]
        match self.kind:
            case "tree":
                branches = {"math": {"add": add}, "world": {"weather": weather, "mail": mail}}
                tools = [ToolTree(branches)]
            case "written" if self._sandbox is not None:
                tools = [add, WrittenTools(self._sandbox)]
            case "memory":
                memory = Memory()
                memory.add("the user likes tea", scope="user:u")
                more["memory"] = memory
            case "handoff":
                words_of_other = "You are the other."
                other = Agent(self.model, name="other", instructions=words_of_other, tools=[mail])
                more["handoffs"] = [Handoff(other)]
            case "delegate":
                below = Agent(self.model, name="below", instructions="You look things up.")
                tools = [add, below]
            case "programs" if self._sandbox is not None:
                more["sandbox"] = self._sandbox
                more["calling"] = "auto"
                tools = [add, tool(allowed_callers=["direct", "code"])(both)]
            case "compaction":
                more["compaction"] = Compaction(tokens_max=7_500)
            case "instructions":
                words = self.instructions
            case _:
                pass
        return Agent(
            self.model,
            name="first",
            instructions=words,
            tools=tools,
            client=client,
            limits=Limits(steps=self._steps + 8),
            **more,
        )

    def run(self) -> list[Turn]:
        """The model's turns of one run."""
        count = self.random.randrange(self._steps // 2, self._steps)
        turns = [turn for _ in range(count) for turn in self._turn()]
        return [*turns, Turn(reasoning="end", text="done")]

    def scripts(self) -> dict[str, list[Turn]]:
        """The turns by model: where the first one fails, the other answers."""
        turns = self.run()
        found: dict[str, list[Turn]] = {MODEL: [], OTHER: []}
        for turn in turns:
            fails = self.kind == "fallback" and self.random.random() < 0.1
            if fails:
                found[MODEL].append(Turn(error=Failure(503, "no room for now")))
            found[OTHER if fails else MODEL].append(turn)
        return {name: each for name, each in found.items() if each}

    def _thought(self) -> str | None:
        chance = self.random.random()
        return f"thought {chance:.6f} of what to do next" if chance < 0.9 else None

    def _turn(self) -> list[Turn]:
        """The next turn, and those of an agent below it."""
        chance = self.random
        calls = [Call("add", {"a": 1, "b": chance.randrange(9)})]
        if self.kind in ("plain", "handoff", "compaction", "instructions", "fallback", "edited"):
            city = chance.choice(["Rome", "서울", "São Paulo"])
            if self._speaker == "first" and chance.random() < 0.5:
                calls.append(Call("weather", {"city": city}))
        match self.kind:
            case "tree":
                names = {"math": "math__add", "world": "world__weather"}
                place = chance.choice(list(names))
                arguments: Any = {"math": {"a": 1, "b": 2}, "world": {"city": "Rome"}}[place]
                if place not in self._opened:
                    self._opened.add(place)
                    calls = [Call("open_namespace", {"namespace": place})]
                else:
                    calls = [Call(names[place], arguments)]
            case "written" if chance.random() < 0.25 and self._sandbox is not None:
                self._written += 1
                name = f"times_{self._written}"
                code = _CODE.format(name=name, number=self._written)
                tests = f"assert {name}(2) == {2 * self._written}"
                calls = [Call("add_tool", {"name": name, "code": code, "tests": tests})]
            case "handoff" if chance.random() < 0.2:
                here = self._speaker
                self._speaker = "other" if here == "first" else "first"
                name = "transfer_to_other" if here == "first" else "return_to_first"
                calls = [Call(name, {"reason": "it is theirs"})]
            case "handoff" if self._speaker == "other":
                calls = [Call("mail", {"to": "ann"})]
            case "delegate" if chance.random() < 0.3:
                calls = [Call("below", {"task": "look it up"})]
                return [
                    Turn(reasoning=self._thought(), calls=calls),
                    Turn(reasoning="below", text="found"),
                ]
            case "programs" if self._sandbox is not None:
                calls = [Call("both", {"city": "Rome"}) for _ in range(chance.randrange(1, 4))]
            case _:
                pass
        return [Turn(reasoning=self._thought(), calls=calls)]


async def play(trace: Trace, sim: Simulation, client: Client, found: Found) -> None:
    """Run a trace to its end, and count."""
    agent = trace.agent(client)
    history: Any = None
    for number in range(1 + trace.number % 2):
        for name, turns in trace.scripts().items():
            sim.script("anthropic", name, turns)
        prompt: Any = f"go {number}"
        if trace.number % 3 == 0:
            async with agent.stream(prompt, history=history, user="u") as stream:
                async for _ in stream:
                    pass
            run = stream.run
        else:
            run = await agent.run(prompt, history=history, user="u")
        if run.reason != "finished":
            found.failed += 1
            found.problems.append(f"{trace.kind} {trace.number}: {run.reason} {run.problem}"[:200])
        found.left_out += sum(
            int(each.detail.split(" ", 1)[0])
            for each in run.warnings
            if each.kind == "dropped_state" and each.detail[:1].isdigit()
        )
        kind = found.by_kind.setdefault(trace.kind, [0, 0])
        for before, step in itertools.pairwise(run.steps):
            read = step.response.usage.cached_tokens
            could = min(before.response.usage.input_tokens, step.response.usage.input_tokens)
            found.read, found.readable = found.read + read, found.readable + could
            kind[0], kind[1] = kind[0] + read, kind[1] + step.response.usage.input_tokens
        found.sent += sum(step.response.usage.input_tokens for step in run.steps[1:])
        found.steps += len(run.steps)
        history = run.history
        if trace.kind == "edited" and run.messages:
            history = [Message("user", [Text("edited")]), *run.messages[1:]]
    found.traces += 1


@asynccontextmanager
async def clients(sim: Simulation, folder: Path) -> AsyncIterator[dict[str, tuple[Client, str]]]:
    """The library's client, and one through the gateway for each protocol, with a model's name."""
    row = replace(CATALOGUE["anthropic"], base_url=sim.base_url("anthropic"))
    known = Client(providers=[row], keys={"anthropic": "any-key"}, retry=Retry(attempts=1))
    found: dict[str, tuple[Client, str]] = {"library": (known, f"anthropic/{MODEL}")}
    config = (
        f'[providers.claude]\ndialect = "anthropic"\nbase_url = "{sim.base_url("anthropic")}"\n'
        'api_key = "any-key"\n[server]\nattempts = 1\nlog = "error"\n'
        '[[keys]]\nkey = "sk-client-of-bench-1"\nname = "bench"\n'
    )
    path = folder / "polycall.toml"
    path.write_text(config, encoding="utf-8")
    program = Path(sys.executable).with_name("polycall")
    command = [str(program), "serve", "--config", str(path), "--port", "0"]
    # It says its address with its first line, at once.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        port = process.stdout.readline().rsplit(":", 1)[1].strip()
        try:
            for dialect, vendor in PROTOCOLS.items():
                url = f"http://127.0.0.1:{port}" + ("/v1" if vendor == "openai" else "")
                own: Any = dialect
                row = replace(
                    CATALOGUE[vendor],
                    name="gateway",
                    dialect=own,
                    tools_dialect=None,
                    base_url=url,
                    vendor="",
                )
                client = Client(
                    providers=[row],
                    keys={"gateway": "sk-client-of-bench-1"},
                    retry=Retry(attempts=1),
                )
                found[dialect] = (client, f"gateway/claude/{MODEL}")
            yield found
        finally:
            for client, _ in found.values():
                await client.close()
            process.terminate()


async def measure(
    traces: int, *, seed: int = 0, steps: int = 12, sandboxed: bool = True, only: str = ""
) -> dict[str, Found]:
    """Play so many traces; by library and protocol."""
    results: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as folder, Simulation(seed=seed) as sim:
        async with AsyncExitStack() as stack:
            sandbox = await stack.enter_async_context(Sandbox()) if sandboxed else None
            known = await stack.enter_async_context(clients(sim, Path(folder)))
            names = list(known)
            for number in range(traces):
                place = number % (2 * len(PROTOCOLS))
                name = names[0] if place % 2 == 0 else names[1 + place // 2]
                kinds = [kind for kind in KINDS if only in ("", kind)]
                kind = kinds[(number // 2) % len(kinds)]
                client, model = known[name]
                found = results.setdefault(name, Found())
                trace = Trace(seed + number, kind, model, steps=steps, sandbox=sandbox)
                with Watch(found):
                    await play(trace, sim, client, found)
    return results


def table(results: dict[str, Found]) -> str:
    """The figures, a line for each client."""
    lines = [
        f"{'client':<18}{'traces':>8}{'steps':>8}{'unfit':>7}{'kept':>9}{'left out':>9}"
        f"{'cached':>8}"
    ]
    for name, each in results.items():
        share = each.read / each.sent if each.sent else 0.0
        lines.append(
            f"{name:<18}{each.traces:>8}{each.steps:>8}{each.unfit:>7}{each.fitted:>9}"
            f"{each.left_out:>9}{share:>8.1%}"
        )
    kinds: dict[str, list[int]] = {}
    for each in results.values():
        for kind, (read, sent) in each.by_kind.items():
            sums = kinds.setdefault(kind, [0, 0])
            sums[0], sums[1] = sums[0] + read, sums[1] + sent
    shares = [f"{kind} {read / sent:.1%}" for kind, (read, sent) in kinds.items() if sent]
    lines.append("cached by kind: " + ", ".join(shares))
    problems = [problem for each in results.values() for problem in each.problems]
    return "\n".join([*lines, *problems[:10]])


def main() -> int:
    """Run, and print the table; 1 where a block did not fit or a run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12, help="the most steps of one run")
    parser.add_argument("--only", default="", help="one kind of trace")
    options = parser.parse_args()
    started = time.monotonic()
    results = asyncio.run(
        measure(options.traces, seed=options.seed, steps=options.steps, only=options.only)
    )
    print(table(results))
    print(f"{time.monotonic() - started:.0f} s")
    return int(any(each.unfit or each.failed for each in results.values()))


if __name__ == "__main__":
    sys.exit(main())
