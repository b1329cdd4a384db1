"""A process of a fleet for `bench.durable`: `python -m bench.durable_worker URL FOLDER [RUN]`.

Its tools write what they do into files of FOLDER, a line at a time.  With RUN it begins that run,
or goes on with it, and ends when it has; without, it works until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from polycall import Agent, Limits, ToolContext, tool
from polycall.durable import Durable
from polycall.ir import Request, ToolCall
from polycall.testing import FunctionModel

STEP_S = 0.2
TASK_S = 0.8
LEASE_S = 2.0


class Log:
    """A file that many processes add lines to."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def add(self, *words: object) -> None:
        """One line, written at once, with the time and the process."""
        line = json.dumps([time.time(), os.getpid(), *words]) + "\n"
        os.write(self._file, line.encode())


class Tools:
    """The tools of the runs that are killed, and of those that are counted."""

    def __init__(self, folder: Path) -> None:
        self._log = Log(folder / "effects.jsonl")
        self._busy = Log(folder / "busy.jsonl")

    @tool
    async def note(self, word: str, context: ToolContext[Any]) -> str:
        """Write a word down."""
        self._log.add("begin", context.idempotency_key)
        await asyncio.sleep(STEP_S)
        self._log.add("end", context.idempotency_key)
        return f"noted {word}"

    @tool(background=True)
    async def render(self, number: int, context: ToolContext[Any]) -> str:
        """Draw a picture."""
        self._log.add("begin", context.idempotency_key)
        for tenth in range(10):
            await asyncio.sleep(TASK_S / 10)
            await context.report(tenth / 10, f"line {tenth}")
        self._log.add("end", context.idempotency_key)
        return f"picture {number}"

    @tool(background=True, concurrency=5)
    async def count(self, number: int) -> int:
        """One of very many tasks, of which five run at a time."""
        began = time.time()
        await asyncio.sleep(0.01)
        self._busy.add(number, began)
        return number

    @tool(background=True)
    async def quick(self, number: int) -> int:
        """One of very many tasks, as many at a time as there are."""
        return number

    @tool
    async def nothing(self) -> str:
        """Do nothing: what is left is the price of a step."""
        return "done"


def artist(request: Request) -> Any:
    """Six answers: four pictures are begun, four words noted, the pictures waited for."""
    said = sum(message.role == "assistant" for message in request.messages)
    match said:
        case 0:
            return [_call(f"p{n}", "render", number=n) for n in range(4)]
        case 1:
            return _call("a", "note", word="one")
        case 2:
            return [_call("b", "note", word="two"), _call("c", "note", word="three")]
        case 3:
            return _call("d", "note", word="four")
        case 4:
            return _call("w", "wait_for_tasks")
        case _:
            return "all is drawn"


def counter(tool_name: str) -> Any:
    """Begins as many tasks as the prompt says, and waits for them."""

    def answer(request: Request) -> Any:
        wanted = int(next(each for each in request.messages if each.role == "user").text)
        said = sum(message.role == "assistant" for message in request.messages)
        if said == 0:
            return [_call(f"t{n}", tool_name, number=n) for n in range(wanted)]
        return _call("w", "wait_for_tasks", deadline_s=600) if said == 1 else "counted"

    return answer


def stepper(request: Request) -> Any:
    """Half as many calls of a tool as the prompt says: each call and each answer is a step."""
    said = sum(message.role == "assistant" for message in request.messages)
    wanted = int(next(each for each in request.messages if each.role == "user").text) // 2
    return _call(f"s{said}", "nothing") if said < wanted else "stepped"


def agents(folder: Path) -> list[Agent[Any, Any]]:
    """The agents of every process of the fleet."""
    made = Tools(folder)

    def agent(name: str, answer: Any, tools: list[Any]) -> Agent[Any, Any]:
        limits = Limits(steps=100_000)
        model = FunctionModel(answer)
        return Agent("test/model", name=name, tools=tools, client=model, limits=limits)

    return [
        agent("artist", artist, [made.note, made.render]),
        agent("counter", counter("count"), [made.count]),
        agent("racer", counter("quick"), [made.quick]),
        agent("stepper", stepper, [made.nothing]),
    ]


def _call(call_id: str, name: str, **arguments: Any) -> ToolCall:
    return ToolCall(call_id, name, json.dumps(arguments))


async def main(url: str, folder: str, run_id: str = "") -> None:
    """Work until killed, or until the run is over."""
    async with Durable(
        url, agents=agents(Path(folder)), lease_s=LEASE_S, poll_s=0.05, tasks_max=20
    ) as durable:
        print("ready", flush=True)
        if run_id:
            handle = await durable.start("artist", "draw", run_id=run_id)
            await handle.result()
            print("done", flush=True)
        else:
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
