"""A run stops for a person, is written to a file, and goes on in another process."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent
from polycall.agents import ApprovalRequest, PausedRun, RunDivergenceError
from polycall.errors import RequestError
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel
from polycall.tools import tool

# Triage hands over to refunds, which gives a task to a delegate, whose tool needs approval.
SHOP = '''
from pathlib import Path
from polycall import Agent, tool
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel

def call(call_id, name, **arguments):
    import json
    return ToolCall(call_id, name, json.dumps(arguments))

def shop(effects, answers, client=None):
    def note(line):
        with Path(effects).open("a") as file:
            file.write(line + "\\n")

    @tool
    async def find_order(order_id: str) -> str:
        """Look an order up."""
        note(f"find {order_id}")
        return "a teapot for 40"

    @tool(needs_approval=True)
    async def refund(order_id: str, amount: int) -> str:
        """Pay money back."""
        note(f"refund {order_id} {amount}")
        return f"{amount} paid back"

    model = client or ScriptedModel(answers)
    clerk = Agent("test/clerk", name="clerk", tools=[refund])
    refunds = Agent("test/refunds", name="refunds", tools=[clerk, find_order])
    return Agent("test/triage", name="triage", handoffs=[refunds], client=model)

BEFORE = [
    call("c1", "transfer_to_refunds", reason="broken"),
    [call("c2", "find_order", order_id="A1"), call("c3", "clerk", task="refund A1")],
    call("c4", "refund", order_id="A1", amount=40),
]
AFTER = ["clerk: done", "It is done."]
'''

RESUME = """
import asyncio, sys
from pathlib import Path
from shop import AFTER, shop
from polycall.agents import PausedRun

async def main(file, effects, said):
    paused = PausedRun.from_json(Path(file).read_text(), secret="s3")
    for approval in paused.waiting:
        if said == "always":
            paused.allow(approval.id, always=True)
        elif said == "allow":
            paused.allow(approval.id)
        elif said.startswith("deny"):
            paused.deny(approval.id, said.partition(" ")[2])
    agent = shop(effects, AFTER)
    run = await agent.resume(paused)
    print(run.reason, "|", run.text)
    print(run.history.allowed)
    told = [m for m in agent.client.requests[0].messages if m.role == "tool"]
    print(told[-1].parts[0].text)
    print(len(agent.client.requests))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "resume.py").write_text(textwrap.dedent(RESUME))
    return tmp_path


async def pause(folder: Path, ttl_s: float | None = None) -> PausedRun:
    space: dict[str, Any] = {}
    exec(SHOP, space)
    agent = space["shop"](folder / "effects", space["BEFORE"])
    options = {} if ttl_s is None else {"approval_ttl_s": ttl_s}
    run = await agent.run("my teapot is broken", approve="pause", **options)
    agent.client.assert_done()
    assert run.reason == "paused"
    assert run.paused is not None
    (folder / "paused.json").write_text(run.paused.to_json("s3"))
    return run.paused


def resume(folder: Path, said: str) -> list[str]:
    """What another process prints that goes on with the run."""
    words = ["resume.py", "paused.json", "effects", said]
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def effects(folder: Path) -> list[str]:
    return (folder / "effects").read_text().splitlines()


async def test_allowed_once(folder: Path) -> None:
    paused = await pause(folder)
    (waiting,) = paused.waiting
    assert (waiting.tool, waiting.arguments) == ("refund", {"order_id": "A1", "amount": 40})
    assert waiting.agents == ["refunds", "clerk"]
    assert effects(folder) == ["find A1"]
    assert resume(folder, "allow") == ["finished | It is done.", "[]", "40 paid back", "2"]
    assert effects(folder) == ["find A1", "refund A1 40"]


async def test_allowed_for_always(folder: Path) -> None:
    await pause(folder)
    assert resume(folder, "always")[:2] == ["finished | It is done.", "['clerk.refund']"]


async def test_denied(folder: Path) -> None:
    await pause(folder)
    assert resume(folder, "deny not on Sundays") == [
        "finished | It is done.",
        "[]",
        "the call of 'refund' was not approved: not on Sundays; nothing was run",
        "2",
    ]
    assert effects(folder) == ["find A1"]


async def test_expired(folder: Path) -> None:
    paused = await pause(folder, ttl_s=0.05)
    time.sleep(0.06)
    with pytest.raises(RequestError, match="has expired"):
        paused.allow(paused.waiting[0].id)
    assert resume(folder, "nothing")[2] == (
        "the call of 'refund' was not approved: nobody answered in time; nothing was run"
    )
    assert effects(folder) == ["find A1"]


async def test_undecided_it_pauses_again_as_it_was(folder: Path) -> None:
    paused = await pause(folder, ttl_s=60)
    space: dict[str, Any] = {}
    exec(SHOP, space)
    run = await space["shop"](folder / "effects", []).resume(paused)
    assert run.paused is not None
    assert run.paused.to_json() == paused.to_json()
    assert effects(folder) == ["find A1"]


async def test_a_changed_file_is_refused(folder: Path) -> None:
    await pause(folder)
    text = (folder / "paused.json").read_text()
    assert PausedRun.from_json(text, "s3").waiting[0].arguments["amount"] == 40
    for changed, secret in [
        (text.replace("40", "90"), "s3"),
        (text, "another"),
        (json.dumps({**json.loads(text), "signature": None}), "s3"),
    ]:
        with pytest.raises(RequestError, match="was changed"):
            PausedRun.from_json(changed, secret)
    for garbage in ("{}", "[1]", "no", '{"polycall_paused": 1, "run": "{}"}'):
        with pytest.raises(RequestError, match="not a paused run"):
            PausedRun.from_json(garbage)


async def test_for_always_holds_in_the_run_and_in_the_next_one() -> None:
    paid: list[str] = []
    asked: list[ApprovalRequest] = []

    @tool(needs_approval=True)
    async def pay(order_id: str) -> str:
        """Pay."""
        paid.append(order_id)
        return "paid"

    def approve(request: ApprovalRequest) -> bool:
        asked.append(request)
        request.allow(always=True)
        return True

    script = [
        ToolCall("a", "pay", '{"order_id":"1"}'),
        ToolCall("b", "pay", '{"order_id":"2"}'),
        "done",
        ToolCall("c", "pay", '{"order_id":"3"}'),
        "done",
    ]
    with ScriptedModel(script) as model:
        agent = Agent("test/m", tools=[pay], client=model)
        first = await agent.run("go", approve=approve)
        await agent.run("again", history=first.history.to_json(), approve=approve)
    assert paid == ["1", "2", "3"]
    assert len(asked) == 1


async def test_calls_beside_it_go_on_and_are_not_repeated() -> None:
    done: list[str] = []

    @tool(needs_approval=True)
    async def pay(order_id: str) -> str:
        """Pay."""
        done.append(f"pay {order_id}")
        return "paid"

    @tool
    async def look(order_id: str) -> str:
        """Look."""
        done.append(f"look {order_id}")
        return "seen"

    calls = [
        ToolCall("a", "pay", '{"order_id":"1"}'),
        ToolCall("b", "look", '{"order_id":"2"}'),
        ToolCall("c", "pay", '{"order_id":"3"}'),
    ]
    with ScriptedModel([calls, "done"]) as model:
        agent = Agent("test/m", tools=[pay, look], client=model)
        run = await agent.run("go", approve="pause")
        assert run.paused is not None
        assert done == ["look 2"]
        assert [each.arguments["order_id"] for each in run.paused.waiting] == ["1", "3"]
        run.paused.allow(run.paused.waiting[1].id)
        run = await agent.resume(run.paused)
        assert run.paused is not None
        run.paused.deny(run.paused.waiting[0].id)
        run = await agent.resume(PausedRun.from_json(run.paused.to_json()))
    assert done == ["look 2", "pay 3"]
    assert run.text == "done"
    texts = [result.text for result in run.steps[0].results]
    assert texts[1:] == ["seen", "paid"]


async def test_in_a_program_and_what_it_did_before_is_not_repeated() -> None:
    done: list[str] = []

    @tool(allowed_callers=["code"])
    async def look(order_id: str) -> dict[str, int]:
        """Look an order up."""
        done.append(f"look {order_id}")
        return {"price": 40}

    @tool(allowed_callers=["code"], needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay back."""
        done.append(f"pay {amount}")
        return "paid"

    code = "found = await look('A1')\nprint(await pay(found['price']))"
    script = [ToolCall("p", "run_code", json.dumps({"code": code})), "done"]
    with ScriptedModel(script) as model:
        agent = Agent("test/m", tools=[look, pay], client=model, calling="code")
        run = await agent.run("pay A1 back", approve="pause")
        assert (run.reason, done) == ("paused", ["look A1"])
        assert run.paused is not None
        paused = PausedRun.from_json(run.paused.to_json())
        (waiting,) = paused.waiting
        assert (waiting.tool, waiting.arguments) == ("pay", {"amount": 40})
        paused.allow(waiting.id)
        run = await agent.resume(paused)
    assert (run.text, done) == ("done", ["look A1", "pay 40"])
    assert run.steps[0].results[0].text.strip() == "paid"


async def test_streamed_with_a_task_that_ends_before_the_run_is_put_away() -> None:
    done: list[str] = []

    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        done.append(f"pay {amount}")
        return "paid"

    @tool(background=True)
    async def pack(what: str) -> str:
        """Pack."""
        await asyncio.sleep(0.05)
        done.append(f"pack {what}")
        return f"{what} is packed"

    calls = [ToolCall("a", "pack", '{"what":"tea"}'), ToolCall("b", "pay", '{"amount":4}')]
    with ScriptedModel([calls, "done"]) as model:
        agent = Agent("test/m", tools=[pay, pack], client=model)
        async with agent.stream("go", approve="pause", variables={"seen": [1]}) as stream:
            async for _ in stream:
                pass
        assert done == ["pack tea"]
        assert stream.run.paused is not None
        assert stream.run.usage == stream.run.steps[0].response.usage
        paused = PausedRun.from_json(stream.run.paused.to_json())
        paused.allow("call/1/b")
        run = await agent.resume(paused)
    assert (run.text, done) == ("done", ["pack tea", "pay 4"])
    assert run.history.variables == {"seen": [1]}
    late = model.requests[1].messages[-1].text
    assert "(pack): finished]" in late
    assert re.search(r"<output (\w+)>tea is packed</output \1>$", late)


async def test_agents_that_changed_meanwhile_are_noticed() -> None:
    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        return "paid"

    calls = [ToolCall("h", "transfer_to_cash", '{"reason":"r"}')]
    pays = ToolCall("b", "pay", '{"amount":4}')
    with ScriptedModel([calls, pays]) as model:
        cash = Agent("test/m", name="cash", tools=[pay])
        run = await Agent("test/m", name="desk", handoffs=[cash], client=model).run(
            "go", approve="pause"
        )
    assert run.paused is not None
    run.paused.entries["model/2"] = run.paused.entries["model/1"]
    desk = Agent("test/m", name="desk", handoffs=[cash], client=ScriptedModel([]))
    with pytest.raises(RunDivergenceError, match="'desk' at 'model/2', where 'cash' is asked for"):
        await desk.resume(run.paused)
    with pytest.raises(RequestError, match="the run is of the agent 'desk', and this is 'cash'"):
        await cash.resume(run.paused)
    with pytest.raises(RequestError, match="is not plain JSON"):
        await desk.run("go", approve="pause", variables={"file": object()})
