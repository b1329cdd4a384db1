"""Clients × upstreams × cases: what is run, and the page that says how it went.

`test_compatibility.py` runs every cell; `python -m bench.compatibility` runs them and writes
docs/compatibility.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from polycall.sim import Call, Simulation, Turn
from tests.gateway.curl_driver import Curl
from tests.gateway.drivers import DRIVERS, Driver, Result, Step
from tests.gateway.harness import KEY, UPSTREAMS, Gateway
from tests.gateway.node_drivers import SDKS, Node

Open = Callable[..., Driver]

PYTHON: dict[str, Open] = {
    "openai (Python), Chat": DRIVERS["openai-chat"],
    "openai (Python), Responses": DRIVERS["openai-responses"],
    "anthropic (Python)": DRIVERS["anthropic"],
    "google-genai (Python)": DRIVERS["gemini"],
}
CLIENTS = (*PYTHON, *SDKS, "curl, Chat")
TITLES = {
    "up-chat": "OpenAI Chat",
    "up-responses": "OpenAI Responses",
    "up-anthropic": "Anthropic",
    "up-gemini": "Gemini",
    "up-deepseek": "DeepSeek",
    "up-compatible": "compatible",
}

SEOUL = Call("get_weather", {"city": "서울"})
TOKYO = Call("get_weather", {"city": "도쿄"})
NOW = Call("now", {})
# What the model calls in each turn before its last.
CASES: dict[str, list[list[Call]]] = {
    "single": [[SEOUL]],
    "three parallel": [[SEOUL, TOKYO, NOW]],
    "same name twice": [[SEOUL, SEOUL]],
    "no arguments": [[NOW]],
    "error result": [[SEOUL]],
    "image": [[SEOUL]],
    "three steps": [[SEOUL], [TOKYO], [NOW]],
}
KILLED = "reasoning, killed between steps"
KILLED_TURNS = [[NOW, SEOUL], [TOKYO]]
# OpenAI's Chat shows no reasoning, and the compatible server has none.
SILENT = ("up-chat", "up-compatible")
FINAL = "서울은 맑음, 3°C 입니다."
PROMPT = "서울과 도쿄 날씨?"

_numbers = itertools.count()


class Cell(NamedTuple):
    """One client before one upstream."""

    client: str
    upstream: str


CELLS = [Cell(client, upstream) for client in CLIENTS for upstream in UPSTREAMS]


def opener(client: str, node: Callable[[], Node]) -> Open:
    """What opens the client's conversations; the Node process is started where one is needed."""
    if client in PYTHON:
        return PYTHON[client]
    return node().driver(SDKS[client]) if client in SDKS else Curl


def _scripted(sim: Simulation, upstream: str, turns: list[Turn]) -> str:
    model = f"cell-{next(_numbers)}"
    sim.script(UPSTREAMS[upstream][0], model, turns)
    return model


def _seen(step: Step) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in step.calls]


def run_cycle(
    sim: Simulation, gateway: Gateway, cell: Cell, case: str, opened: Open, *, streamed: bool
) -> None:
    """One conversation from the question to the answer; raises where it is not as it should be."""
    turns = [*(Turn(calls=calls) for calls in CASES[case]), Turn(text=FINAL)]
    model = _scripted(sim, cell.upstream, turns)
    driver = opened(gateway.url, KEY, f"{cell.upstream}/{model}", streamed=streamed)
    try:
        step = driver.ask(PROMPT, image=case == "image")
        for calls in CASES[case]:
            assert _seen(step) == [(call.name, call.arguments) for call in calls]
            ids = [call.id for call in step.calls]
            assert len(set(ids)) == len(ids)
            is_error = case == "error result"
            step = driver.give([Result(call, "3°C", is_error) for call in step.calls])
        assert (step.text, step.calls) == (FINAL, [])
        assert sim.remaining(UPSTREAMS[cell.upstream][0], model) == 0
    finally:
        driver.close()


class _Conversation:
    """One of many that go on together while the gateway is killed between their steps."""

    def __init__(
        self, sim: Simulation, gateway: Gateway, cell: Cell, opened: Open, *, streamed: bool
    ) -> None:
        self.cell = cell
        self.problem = ""
        self._sim = sim
        thought = None if cell.upstream in SILENT else "생각 thinking"
        turns = [Turn(calls=calls, reasoning=thought) for calls in KILLED_TURNS]
        self._model = _scripted(sim, cell.upstream, [*turns, Turn(text=FINAL, reasoning=thought)])
        self._driver = opened(gateway.url, KEY, f"{cell.upstream}/{self._model}", streamed=streamed)
        self._step = Step("", [])

    def go_on(self, number: int) -> None:
        """The step of this number; what goes wrong is kept, and ends this conversation only."""
        if self.problem:
            return
        try:
            if number == 0:
                self._step = self._driver.ask(PROMPT)
            else:
                given = [Result(call, "3°C") for call in self._step.calls]
                self._step = self._driver.give(given)
            self._check(number)
        except Exception as error:
            self.problem = f"step {number}: {type(error).__name__}: {error}"

    def _check(self, number: int) -> None:
        if number < len(KILLED_TURNS):
            assert _seen(self._step) == [
                (call.name, call.arguments) for call in KILLED_TURNS[number]
            ]
            return
        assert (self._step.text, self._step.calls) == (FINAL, [])
        assert self._sim.remaining(UPSTREAMS[self.cell.upstream][0], self._model) == 0
        self._driver.close()


def survive_kills(
    sim: Simulation, pair: tuple[Gateway, Gateway], openers: Mapping[str, Open]
) -> dict[Cell, str]:
    """All clients and upstreams, whole and streamed, over three steps with their reasoning.

    Between the steps the gateway is killed; first it is started again, then another replica on
    the same store takes its address.  Gives what went wrong by cell, and nothing where all is well.
    """
    first, second = pair
    conversations = [
        _Conversation(sim, second, Cell(client, upstream), openers[client], streamed=streamed)
        for client in openers
        for upstream in UPSTREAMS
        for streamed in (False, True)
    ]
    port = second.port
    for number in range(len(KILLED_TURNS) + 1):
        if number == 1:
            second.kill()
            second.start(port)
        if number == 2:
            second.kill()
            first.stop()
            first.start(port)
        for conversation in conversations:
            conversation.go_on(number)
    problems: dict[Cell, str] = {}
    for conversation in conversations:
        cell = conversation.cell
        problems[cell] = problems.get(cell, "") + conversation.problem
    return problems


HEAD = """# Which client works with which provider

Every client below ran the tool cycle through `polycall serve` against every simulated provider,
each case whole and streamed. ✓: both passed. What a client of one protocol cannot get from a
provider of another, or gets in another way, is in [limitations](limitations/translation.md); an
error result, for example, reaches OpenAI's models as text that says so.

| case | |
|---|---|
| single | one call, its result, the answer |
| three parallel | three calls at once, of two tools |
| same name twice | the same tool, with the same arguments, twice in one turn |
| no arguments | a tool without parameters |
| error result | the tool failed, and the model learns it |
| image | the question has an image |
| three steps | a call in each of three turns |
| reasoning, killed between steps | three turns with reasoning state, which the provider demands \
back unaltered; the gateway is killed after each, and the last is served by another replica |

¹ There is no reasoning state to carry: OpenAI's Chat shows none, and the compatible server has
none. The three steps over kills pass all the same.

The clients are the official SDKs as their registries have them, and curl. Chat clients send back
standard fields only.

This page is written by `python -m bench.compatibility`, and a test fails when it is not what the
tests run.
"""


def render_page(failed: Iterable[tuple[Cell, str]]) -> str:
    """The page, where all passed but these cells and cases."""
    marks = dict.fromkeys(failed, "✗")
    lines = [HEAD]
    for client in CLIENTS:
        lines.append(f"## {client}\n")
        lines.append(f"| | {' | '.join(TITLES[upstream] for upstream in UPSTREAMS)} |")
        lines.append("|---" * (len(UPSTREAMS) + 1) + "|")
        for case in (*CASES, KILLED):
            row = [
                marks.get((Cell(client, upstream), case), "✓")
                + ("¹" if case == KILLED and upstream in SILENT else "")
                for upstream in UPSTREAMS
            ]
            lines.append(f"| {case} | {' | '.join(row)} |")
        lines.append("")
    return "\n".join(lines)
