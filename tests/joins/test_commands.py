"""`polycall run` and `polycall chat` with each feature: their rows of docs/joins.md."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polycall.cli import main
from polycall.client import Client
from polycall.ir import Request, ToolCall
from polycall.sim import Simulation

from ..agents.support import client_of
from ..mcp.support import STOCK, http_program, until_it_answers
from .forked import in_child
from .table import FEATURES, REFUSED
from .test_joins import Order, World, check_summary, pay, summing

ANSWERS = {"allow": "y\n", "deny": "n\n", "always": "a\n", "edited arguments": 'e\n{"amount": 9}\n'}


class Command:
    """A command on a terminal of its own, with an agent of somebody's."""

    def __init__(self, face: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.face = face.removeprefix("polycall ")
        self.world = World("Agent.run", folder)
        self.folder = folder
        self._patch = patch
        self._main, side = pty.openpty()
        self._stdin = open(side, encoding="utf-8", closefd=False)  # noqa: SIM115 - closed below
        self._stderr = open(side, "w", encoding="utf-8")  # noqa: SIM115
        self.out = io.StringIO()

    def run(self, *script: Any, typed: str = "", words: tuple[str, ...] = (), **more: Any) -> int:
        """The command's status; `typed` is what a person types while it runs."""
        module = ModuleType("joins_agent")
        module.clerk = self.world.agent(*script, **more)  # type: ignore[attr-defined]
        self._patch.setitem(sys.modules, "joins_agent", module)
        return self.main("--agent", "joins_agent:clerk", *words, typed=typed)

    def main(self, *words: str, typed: str = "") -> int:
        lines = typed if self.face == "run" else f"go\n{typed}/quit\n"
        os.write(self._main, lines.encode())
        prompt = ["go"] if self.face == "run" else []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", self._stdin)
            patch.setattr("sys.stderr", self._stderr)
            patch.setattr("sys.stdout", self.out)
            return main([self.face, *words, *prompt])

    def close(self) -> None:
        self._stdin.close()
        self._stderr.close()
        os.close(self._main)
        self.world.sessions.close()


@pytest.fixture
def command(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYCALL_LOG", str(tmp_path / "log.db"))
    made = Command(request.param, tmp_path, monkeypatch)
    yield made
    made.close()


def approvals(command: Command, name: str) -> None:
    script = [pay(1), pay(2), "done"] if name == "always" else [pay(), "done"]
    assert command.run(*script, typed=ANSWERS[name]) == 0
    expected = {"deny": [], "always": [900, 900], "edited arguments": [9]}
    assert command.world.paid == expected.get(name, [900])


def streaming(command: Command, _: str) -> None:
    assert command.run("in pieces") == 0
    assert command.world.model.requests[0].stream
    assert "in pieces" in command.out.getvalue()


def limits(command: Command, _: str) -> None:
    status = command.run(pay(), "done", typed="y\n", words=("--max-steps", "1"))
    assert status == (1 if command.face == "run" else 0)
    assert command.world.paid == [900]
    assert len(command.world.model.requests) == 1


def typed(command: Command, _: str) -> None:
    words = ("--json",) if command.face == "run" else ()
    assert command.run("no", '{"item": "tea"}', words=words, output=Order) == 0
    out = command.out.getvalue()
    if command.face == "run":
        assert json.loads(out)["output"] == {"item": "tea"}
    assert "tea" in out
    assert len(command.world.model.requests) == 2


def hooks(command: Command, _: str) -> None:
    assert command.run(pay(), "done", typed="y\n") == 0
    assert {"CallEnd", "RunEnd"} <= set(command.world.heard)
    command.world.model.assert_done()


def background(command: Command, _: str) -> None:
    assert command.run(ToolCall("l", "later", "{}"), "it goes on", "it is done") == 0
    assert command.world.ended == ["later"]
    assert "worked" in str(command.world.model.requests[-1].messages)


def cancelled(command: Command, _: str) -> None:
    # A process that runs tests beside others ignores Ctrl-C; a command line does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        status = command.run(ToolCall("s", "slow", "{}"), "done")
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert (status, command.world.ended) == (130 if command.face == "run" else 0, ["slow"])
    if command.face == "chat":
        assert "stopped; the conversation continues" in command.out.getvalue()


def leaves(command: Command, _: str) -> None:
    status = command.run(ToolCall("x", "fail", "{}"), "done")
    assert status == (1 if command.face == "run" else 0)


def another_loop(command: Command, _: str) -> None:
    for number in (1, 2):
        assert command.run(pay(), "done", typed="y\n") == 0
        assert command.world.paid == [900] * number


def forks(command: Command, _: str) -> None:
    def child() -> bool:
        return command.run(pay(), "done", typed="y\n") == 0 and command.world.paid == [900]

    assert in_child(child)


def kept(command: Command, _: str) -> None:
    assert command.run("one done") == 0
    assert command.run("two done", words=("-c",)) == 0
    sent = [m.text for m in command.world.model.requests[-1].messages if m.role != "system"]
    assert sent == ["go", "one done", "go"]


def summed_up(command: Command, _: str) -> None:
    with Simulation(seed=6) as simulation, client_of(simulation) as client:
        module = ModuleType("joins_summing")
        module.clerk = summing(simulation, client)  # type: ignore[attr-defined]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "joins_summing", module)
            assert command.main("--agent", "joins_summing:clerk") == 0
        check_summary(simulation)


WAYS: dict[str, Callable[[Command, str], None]] = {
    **dict.fromkeys(ANSWERS, approvals),
    "streaming": streaming,
    "limits": limits,
    "typed output": typed,
    "hooks": hooks,
    "client": hooks,
    "background": background,
    "cancel": cancelled,
    "exception": leaves,
    "another loop": another_loop,
    "fork": forks,
    "session kept": kept,
    "vendor's summary": summed_up,
}
FACES = ("polycall run", "polycall chat")


@pytest.mark.parametrize("command", FACES, indirect=True)
@pytest.mark.parametrize("feature", WAYS)
def test_a_command_has_each_feature(command: Command, feature: str) -> None:
    WAYS[feature](command, feature)


@pytest.fixture(scope="module")
def mcp_url() -> Iterator[str]:
    with http_program(str(STOCK), "http") as (_, url):
        asyncio.run(until_it_answers(url))
        yield url


@pytest.mark.parametrize("command", FACES, indirect=True)
def test_a_command_calls_a_server_of_mcp(
    command: Command, mcp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = command.world
    world.agent(ToolCall("m", "stock_add", '{"a": 2, "b": 3}'), "done")

    class Scripted(Client):
        def stream_request(self, request: Request) -> Any:
            return world.model.stream_request(request)

    monkeypatch.setattr(f"polycall.cli.{command.face}.Client", Scripted)
    servers = {"mcpServers": {"stock": {"url": mcp_url}}}
    Path("mcp.json").write_text(json.dumps(servers))
    assert command.main("-m", "openai/m", "--mcp", "mcp.json") == 0
    assert "text='5" in str(world.model.requests[-1].messages)


def test_no_feature_is_left_out() -> None:
    refused = {feature for face, feature in REFUSED if face in FACES}
    assert {*WAYS, *refused, "MCP"} == set(FEATURES)
