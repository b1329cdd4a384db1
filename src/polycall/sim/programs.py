"""Programs that simulated vendors run: begun by a turn, stopped at calls, replayed with results.

There is no interpreter here.  A program is an async function by the author of the script, and the
code that the wire shows is only shown.  It gets the results that the client sends, and nothing
else decides what it prints: that is how a test sees that results reach the program.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from polycall.sim import signing
from polycall.sim.script import Call, Container, Outcome, Program, Prompt, Ran, Turn

_PROGRAMS_MAX = 1_000
# A program that makes no step in so many rounds of the event loop waits for its calls.
_QUIET_ROUNDS = 20


class ProgramRunner:
    """A vendor's programs and containers.

    `wait_s` is how long a call of a program waits for its result, `idle_s` how long a container
    lives after its last use.
    """

    def __init__(self) -> None:
        self.wait_s = 270.0
        self.idle_s = 300.0
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._containers: OrderedDict[str, Container] = OrderedDict()

    def knows(self, program_id: str) -> bool:
        """Whether a program of this id was begun here."""
        return program_id in self._programs

    def container(self, container_id: str) -> Container | None:
        """The container, if it is there still."""
        found = self._containers.get(container_id)
        return found if found is not None and found.expires_at > time.time() else None

    def used(self, container_id: str, nonce: str, *, waits: bool) -> Container:
        """The container of an answer: the one that was named, or a new one."""
        now = time.time()
        found = self.container(container_id) or Container(f"container_{nonce}", 0.0)
        found.expires_at = now + self.idle_s
        found.waits_since = now if waits else 0.0
        self._containers[found.id] = found
        _bound(self._containers)
        return found

    async def begin(self, prompt: Prompt, turn: Turn, nonce: str, number: int) -> Ran:
        """Run a program that the model wrote, up to its first calls or its end."""
        assert turn.program is not None
        assert prompt.programs is not None
        # An answer may hold several programs, and each has a nonce of its own.
        own = signing.digest("program", nonce, str(number)).hex()[:12]
        scope = prompt.programs.scope if turn.reasoning is not None else "program"
        program_id = f"{prompt.programs.program_prefix}_{signing.mark(scope, own, 0)}"
        self._programs[program_id] = turn.program
        _bound(self._programs)
        calls, outcome = list[Call](), None
        if not turn.calls:
            calls, outcome = await self._replay(program_id, turn.program, prompt, {})
        return Ran(program_id, turn.program.code, turn, own, calls, outcome)

    async def go_on(self, prompt: Prompt) -> Ran:
        """Run the program that waits, with the results that the request has."""
        assert prompt.programs is not None
        program_id = prompt.programs.pending
        program = self._programs[program_id]
        results: dict[str, str | None] = {**prompt.programs.results}
        container = self.container(prompt.programs.container)
        if container is not None and time.time() > container.waits_since + self.wait_s:
            # Too late: what came with this request meets a program that waits no longer.
            results.update(dict.fromkeys(prompt.programs.answered_now))
        calls, outcome = await self._replay(program_id, program, prompt, results)
        return Ran(program_id, program.code, None, "", calls, outcome)

    async def _replay(
        self,
        program_id: str,
        program: Program,
        prompt: Prompt,
        results: Mapping[str, str | None],
    ) -> tuple[list[Call], Outcome | None]:
        """The calls that wait for results, or how the program ended."""
        assert prompt.programs is not None
        run = _Run(program_id, prompt, results, self.wait_s)
        task = asyncio.ensure_future(program.run(run.call, run.show))
        try:
            while True:
                await run.settle(task)
                if task.done():
                    error = task.exception()
                    stderr = "" if error is None else f"{type(error).__name__}: {error}"
                    return [], Outcome(run.output.getvalue().strip(), stderr)
                if not run.answer():
                    return [call for call, _ in run.waiting.values()], None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Run:
    """One pass through a program.  Results come in rounds, as they did when it first ran."""

    def __init__(
        self,
        program_id: str,
        prompt: Prompt,
        results: Mapping[str, str | None],
        wait_s: float,
    ) -> None:
        assert prompt.programs is not None
        self.output = io.StringIO()
        self.waiting: dict[str, tuple[Call, asyncio.Future[str]]] = {}
        self._program_id = program_id
        self._offer = prompt.programs
        self._results = results
        self._wait_s = wait_s
        self._made = 0

    async def call(self, name: str, /, **arguments: Any) -> str:
        """The function that a program awaits to call a tool; its result is the client's text."""
        if name not in self._offer.names:
            raise NameError(f"name {name!r} is not defined")
        nonce = signing.digest("call", self._program_id).hex()[:12]
        body = signing.mark("program-call", nonce, self._made)
        call = Call(name, arguments, id=f"{self._offer.call_prefix}_{body}")
        self._made += 1
        future = asyncio.get_running_loop().create_future()
        self.waiting[call.id] = (call, future)
        return await future

    def show(self, *values: object, end: str = "\n") -> None:
        """Print, as a program does."""
        print(*values, end=end, file=self.output)

    async def settle(self, task: asyncio.Future[None]) -> None:
        """Let the program run until it is done or waits."""
        quiet, seen = 0, -1
        while not task.done() and quiet < _QUIET_ROUNDS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._made == seen else 0
            seen = self._made

    def answer(self) -> bool:
        """Give the results that are known; false where none is."""
        known = [call_id for call_id in self.waiting if call_id in self._results]
        for call_id in known:
            call, future = self.waiting.pop(call_id)
            result = self._results[call_id]
            if result is None:
                future.set_exception(
                    TimeoutError(
                        f"Calling tool ['{call.name}'] timed out "
                        f"(no response after {self._wait_s:g}s)."
                    )
                )
            else:
                future.set_result(result)
        return bool(known)


def _bound(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > _PROGRAMS_MAX:
        kept.popitem(last=False)
