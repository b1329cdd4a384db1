"""Random agents against the strict prefix check: `python -m bench.append --traces 10000`.

Each trace is an agent of a kind (a tree of tools, written tools, memory, handoffs, a delegate,
programs, compaction, a fallback, an edited history, changing instructions, several of these at
once, a session), a conversation whose tool choices change, or one that the gateway stores, with a
simulated model of Claude's that refuses or drops thinking whose beginning has changed.  Half of the
traces are the library's, the others go through the gateway, whose client is the library again, over
one of its four protocols.

Printed are the blocks of thinking that the simulated vendor found not to fit (there must be none);
how many turns do not fit any more, by what is another than it was; the share of the blocks that
came back and fitted, of those whose turns were sent again to a model that reads them (`kept`), and
of the most that the vendor would have taken (`of fitting`); and the share of input tokens that were
read from the cache in all steps but the first of a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from bench.append_gateway import PROTOCOLS, play_stored, served
from bench.append_traces import HEAD, KINDS, MODEL, Trace, add, mail, weather
from polycall import Client
from polycall.agents import Sessions
from polycall.ir import Message, Part, Text, ToolResult, Usage
from polycall.providers.catalogue import CATALOGUE
from polycall.sandbox import Sandbox
from polycall.sim import Simulation, signing
from polycall.sim.vendors import anthropic, anthropic_history, anthropic_thinking
from polycall.transport.base import Retry


class Kind(Struct):
    """What the traces of one kind came to."""

    traces: int = 0
    steps: int = 0
    fitted: int = 0  # blocks of thinking that came back and fitted
    possible: int = 0  # blocks whose turns were sent again to a model that reads them
    fitting: int = 0  # of these, the most that the vendor would take
    tools: int = 0  # turns that do not fit any more since the tools are others
    system: int = 0  # since the system's words are
    prefix: int = 0  # since an earlier message is
    unfit: int = 0  # blocks that the vendor found not to fit
    read: int = 0  # input tokens read from the cache, in all steps but the first of a run
    sent: int = 0  # all input tokens of these
    failed: int = 0

    def count(self, usages: list[Usage]) -> None:
        """Add the usages of one run."""
        self.steps += len(usages)
        self.read += sum(usage.cached_tokens for usage in usages[1:])
        self.sent += sum(usage.input_tokens for usage in usages[1:])


class Found(Struct):
    """What a set of traces came to."""

    kinds: dict[str, Kind] = {}
    problems: list[str] = []


class Watch:
    """Counts what the strict check finds in every request, and what had been issued before."""

    def __init__(self) -> None:
        self.now = Kind()
        self._check: Callable[..., Any] = anthropic_thinking.check
        self._thinking: Callable[..., Any] = anthropic.thinking_blocks
        self._by_text: dict[str, str] = {}
        self._issued: dict[str, list[dict[str, Any]]] = {}  # what blocks are bound to, by nonce

    def __enter__(self) -> Watch:
        def thinking(prompt: Any, turn: Any, nonce: str, reasoning: str) -> Any:
            made = self._thinking(prompt, turn, nonce, reasoning)
            tokens = [block.get("signature") or block["data"] for block in made]
            read = [signing.read(anthropic_thinking.SCOPE, token) for token in tokens]
            self._issued[nonce] = [data for data in read if data is not None]
            if turn.text:
                self._by_text[turn.text] = nonce
            return made

        def check(turns: Any, body: Any, model: Any, **named: Any) -> Any:
            result = self._check(turns, body, model, **named)
            blocks = [block for role, parts, _ in turns if role == "assistant" for block in parts]
            came = sum(block["type"] in ("thinking", "redacted_thinking") for block in blocks)
            reasons = Counter(entry["reason"] for entry in result.dropped)
            self.now.unfit += reasons["prefix_binding_mismatch"]
            self.now.fitted += came - len(result.dropped)
            self._count_possible(turns, body, model)
            return result

        anthropic.thinking_blocks = thinking
        anthropic_history.anthropic_thinking.check = check
        return self

    def __exit__(self, *_: object) -> None:
        anthropic.thinking_blocks = self._thinking
        anthropic_history.anthropic_thinking.check = self._check

    def _count_possible(self, turns: Any, body: Any, model: Any) -> None:
        """Count what could have come back, and what of it the vendor would take.

        It takes a row of blocks that fit what stands before them, of which each names the one
        before it: they may be missing from the front alone.
        """
        rows: dict[str, int] = {}  # how long a row can be that ends with a block
        for number, (role, blocks, _) in enumerate(turns):
            nonces = dict.fromkeys(self._nonce(block) for block in blocks)
            known = [each for nonce in nonces for each in self._issued.get(nonce, [])]
            known = [data for data in known if data["model"] in model.reads]
            if role != "assistant" or not known:
                continue
            self.now.possible += len(known)
            now = anthropic_thinking.bound_to(body, turns[:number])
            why = [name for name in ("tools", "system", "prefix") if known[0][name] != now[name]]
            for name in why:
                setattr(self.now, name, getattr(self.now, name) + 1)
            for data in [] if why else known:
                name = anthropic_thinking.identity(data["nonce"], data["part"])
                rows[name] = rows.get(data["previous"], 0) + 1
        self.now.fitting += max(rows.values(), default=0)

    def _nonce(self, block: dict[str, Any]) -> str:
        if block["type"] == "text":
            return self._by_text.get(block["text"], "")
        return signing.marked_nonce("anthropic", block["id"]) if block["type"] == "tool_use" else ""

    def forget(self) -> None:
        """What was issued to one trace is nothing to the next."""
        self._by_text.clear()
        self._issued.clear()


async def play(trace: Trace, sim: Simulation, client: Client, found: Kind) -> list[str]:
    """Run an agent to its end, and count; gives what went wrong."""
    agent = trace.agent(client)
    problems: list[str] = []
    history: Any = None
    sessions = Sessions("sqlite:///:memory:") if trace.kind == "session" else None
    for number in range(1 + trace.number % 2):
        for name, turns in trace.scripts().items():
            sim.script("anthropic", name, turns)
        prompt: Any = f"go {number}"
        if sessions is not None:
            run = await sessions.open("one").run(agent, prompt, user="u")
        elif trace.number % 3 == 0:
            async with agent.stream(prompt, history=history, user="u") as stream:
                async for _ in stream:
                    pass
            run = stream.run
        else:
            run = await agent.run(prompt, history=history, user="u")
        if run.reason != "finished":
            problems.append(f"{trace.kind} {trace.number}: {run.reason} {run.problem}"[:200])
        found.count([step.response.usage for step in run.steps])
        history = run.history
        if trace.kind == "edited" and run.messages:
            history = [Message("user", [Text("edited")]), *run.messages[1:]]
    if sessions is not None:
        sessions.close()
    return problems


async def play_choices(trace: Trace, sim: Simulation, client: Client, found: Kind) -> list[str]:
    """A conversation in which other tools may be called each time."""
    script = trace.choices()
    sim.script("anthropic", MODEL, [turn for _, turn in script])
    messages = [Message("system", [Text(f"{HEAD}Trace {trace.number}.")])]
    messages.append(Message("user", [Text("go")]))
    usages: list[Usage] = []
    for choice, turn in script:
        more: dict[str, Any] = {} if choice is None else {"tool_choice": choice}
        tools: Any = [add, weather, mail]
        response = await client.generate(trace.model, messages, tools=tools, **more)
        usages.append(response.usage)
        results: list[Part] = [
            ToolResult(call.id, [Text("1")]) for call in response.message.tool_calls
        ]
        said = Message("tool", results) if turn.calls else Message("user", [Text("more")])
        messages = [*messages, response.message, said]
    found.count(usages)
    return []


@asynccontextmanager
async def clients(sim: Simulation, folder: Path) -> AsyncGenerator[dict[str, tuple[Client, str]]]:
    """The library's client, and one through the gateway for each protocol, with its address."""
    row = replace(CATALOGUE["anthropic"], base_url=sim.base_url("anthropic"))
    known = Client(providers=[row], keys={"anthropic": "any-key"}, retry=Retry(attempts=1))
    found: dict[str, tuple[Client, str]] = {"library": (known, "")}
    with served(sim, folder) as (address, key):
        try:
            for dialect, vendor in PROTOCOLS.items():
                url = address + ("/v1" if vendor == "openai" else "")
                changes: dict[str, Any] = {"dialect": dialect, "base_url": url, "vendor": ""}
                row = replace(CATALOGUE[vendor], name="gateway", tools_dialect=None, **changes)
                client = Client(providers=[row], keys={"gateway": key}, retry=Retry(attempts=1))
                found[dialect] = (client, address)
            yield found
        finally:
            for client, _ in found.values():
                await client.close()


async def play_one(
    trace: Trace, name: str, sim: Simulation, known: tuple[Client, str], kind: Kind
) -> list[str]:
    """One trace of any kind."""
    client, address = known
    kind.traces += 1
    if trace.kind == "choices":
        return await play_choices(trace, sim, client, kind)
    if trace.kind == "stored":
        if name == "openai-responses":
            usages = await asyncio.to_thread(play_stored, trace, sim, address)
            kind.count(usages)
            return []
        trace.kind, trace.parts = "session", ("session",)
    return await play(trace, sim, client, kind)


async def measure(
    traces: int, *, seed: int = 0, steps: int = 12, sandboxed: bool = True, only: str = ""
) -> dict[str, Found]:
    """Play so many traces; by library and protocol."""
    results: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as folder, Simulation(seed=seed) as sim, Watch() as watch:
        async with AsyncExitStack() as stack:
            sandbox = await stack.enter_async_context(Sandbox()) if sandboxed else None
            known = await stack.enter_async_context(clients(sim, Path(folder)))
            names = list(known)
            kinds = [kind for kind in KINDS if only in ("", kind)]
            for number in range(seed, seed + traces):
                place = number % (2 * len(PROTOCOLS))
                name = names[0] if place % 2 == 0 else names[1 + place // 2]
                round_ = number // (2 * len(PROTOCOLS))
                kind = kinds[round_ % len(kinds)]
                model = f"{'gateway/claude' if place % 2 else 'anthropic'}/{MODEL}"
                alias = "gateway/both" if place % 2 else ""
                trace = Trace(number, kind, model, steps=steps, sandbox=sandbox, alias=alias)
                found = results.setdefault(name, Found())
                watch.now = found.kinds.setdefault(kind, Kind())
                watch.forget()
                try:
                    problems = await play_one(trace, name, sim, known[name], watch.now)
                except Exception as error:  # noqa: BLE001
                    # One trace that fails is a line of the table, and no end of the others.
                    problems = [f"{kind} {number} {name}: {error!r}"[:300]]
                watch.now.failed += bool(problems)
                found.problems += problems
    return results


def table(results: dict[str, Found]) -> str:
    """The figures, a line for each client and each kind."""
    counted = ("traces", "steps", "failed", "unfit", "possible", "tools", "system", "prefix")
    head = (*counted, "kept", "of fitting", "cached")
    lines = [" ".join([f"{'':<18}", *(f"{word:>10}" for word in head)])]
    rows = {name: list(found.kinds.values()) for name, found in results.items()}
    for found in results.values():
        for kind, each in found.kinds.items():
            rows.setdefault(kind, []).append(each)
    rows["all"] = [each for found in results.values() for each in found.kinds.values()]
    for name, kinds in rows.items():
        total = {field: sum(getattr(k, field) for k in kinds) for field in Kind.__struct_fields__}
        shares = [
            total["fitted"] / (total["possible"] or 1),
            total["fitted"] / (total["fitting"] or 1),
            total["read"] / (total["sent"] or 1),
        ]
        cells = " ".join(f"{total[word]:>10}" for word in counted)
        lines.append(f"{name:<18} {cells} {' '.join(f'{share:>10.1%}' for share in shares)}")
    problems = [problem for each in results.values() for problem in each.problems]
    return "\n".join([*lines, *problems[:10]])


def merged(paths: list[str]) -> dict[str, Found]:
    """The results of several runs, read from what `--save` wrote."""
    whole: dict[str, Found] = {}
    for path in paths:
        for name, each in json.loads(Path(path).read_text(encoding="utf-8")).items():
            found = whole.setdefault(name, Found())
            found.problems += each["problems"]
            for kind, counts in each["kinds"].items():
                sums = found.kinds.setdefault(kind, Kind())
                for field, count in counts.items():
                    setattr(sums, field, getattr(sums, field) + count)
    return whole


def saved(results: dict[str, Found], path: str) -> None:
    """Write results for `merged`."""
    plain = {
        name: {
            "problems": found.problems,
            "kinds": {
                kind: {field: getattr(each, field) for field in Kind.__struct_fields__}
                for kind, each in found.kinds.items()
            },
        }
        for name, found in results.items()
    }
    Path(path).write_text(json.dumps(plain), encoding="utf-8")


def main() -> int:
    """Run, and print the table; 1 where a block did not fit or a run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12, help="the most steps of one run")
    parser.add_argument("--only", default="", help="one kind of trace")
    parser.add_argument("--save", default="", help="a file for the counts")
    parser.add_argument("--merge", nargs="*", default=[], help="print saved counts as one table")
    options = parser.parse_args()
    started = time.monotonic()
    if options.merge:
        results = merged(options.merge)
    else:
        results = asyncio.run(
            measure(options.traces, seed=options.seed, steps=options.steps, only=options.only)
        )
    if options.save:
        saved(results, options.save)
    print(table(results))
    print(f"{time.monotonic() - started:.0f} s")
    every = [each for found in results.values() for each in found.kinds.values()]
    return int(any(each.unfit or each.failed for each in every))


if __name__ == "__main__":
    sys.exit(main())
