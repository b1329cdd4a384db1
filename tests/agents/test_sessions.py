"""Sessions: kept, shortened without parting a call from its result, gone on with elsewhere."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall import Agent, Client
from polycall.agents import (
    Compaction,
    Guarded,
    Memory,
    PausedRun,
    Router,
    Run,
    SessionConflictError,
    Sessions,
    summary_by,
)
from polycall.agents.compaction import place_to_cut, size_of, whole_places
from polycall.agents.database import open_database
from polycall.agents.output import OutputError
from polycall.errors import RequestError
from polycall.ir import Message, Request, Text, ToolCall, ToolResult, Usage
from polycall.sim import Call, Simulation, Turn
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool

from ..servers import postgres
from .support import play


@pytest.fixture(params=["sqlite", "postgres"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    with Sessions(url) as made:
        for name in made.list():
            made.delete(name)
        yield made


@tool
async def weight_of(thing: str) -> str:
    """How much something weighs."""
    return f"{thing} weighs " + "much, " * 20


def whole(messages: list[Message]) -> bool:
    """Whether each result follows its call, and each call has its result."""
    waiting: set[str] = set()
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolResult):
                if part.call_id not in waiting:
                    return False
                waiting.remove(part.call_id)
        if waiting:
            return False
        waiting |= {call.id for call in message.tool_calls}
    return not waiting


async def test_a_conversation_is_kept(sessions: Sessions) -> None:
    script = [
        "Hello, Mina.",
        ToolCall("a", "weight_of", '{"thing":"tea"}'),
        "It is light.",
        "Mina.",
    ]
    with ScriptedModel(script) as model:
        agent = Agent("test/m", tools=[weight_of], client=model)
        session = sessions.open("mina")
        await session.run(agent, "I am Mina.")
        await session.run(agent, "How heavy is tea?", variables={"mood": "good"})
        run = await sessions.open("mina").run(agent, "Who am I?")
    assert run.text == "Mina."
    assert [message.role for message in model.requests[-1].messages] == [
        "user",
        "assistant",
        *("user", "assistant", "tool", "assistant"),
        "user",
    ]
    assert await session.messages() == run.messages
    assert (await session.history()).variables == {"mood": "good"}
    assert sessions.list() == ["mina"]
    assert sessions.delete("mina")
    assert not sessions.delete("mina")
    assert (sessions.list(), await session.messages()) == ([], [])


async def test_of_two_runs_at_once_the_second_waits_and_knows_what_the_first_said(
    sessions: Sessions,
) -> None:
    seen: list[list[str]] = []

    async def slowly(run: Run[str]) -> None:
        await asyncio.sleep(0.1)

    def answer(request: Request) -> str:
        seen.append([message.text for message in request.messages])
        return "yes"

    agent = Guarded(Agent("test/m", client=FunctionModel(answer)), outputs=[slowly])
    runs = [sessions.open("both").run(agent, words) for words in ("one", "two", "three")]
    await asyncio.gather(*runs)
    assert sorted(map(len, seen)) == [1, 3, 5]
    said = [message.text for message in await sessions.open("both").messages()]
    assert sorted(said[::2]) == ["one", "three", "two"]
    assert said[1::2] == ["yes"] * 3


async def test_a_run_inside_itself_or_one_that_waits_too_long_is_refused_before_it_runs(
    sessions: Sessions,
) -> None:
    agent = Agent("test/m", client=FunctionModel(lambda request: "yes"))

    async def intrude(run: Run[str]) -> None:
        await sessions.open("both").run(agent, "me first")

    with pytest.raises(SessionConflictError, match="'both' is being run by the code that calls"):
        await sessions.open("both").run(Guarded(agent, outputs=[intrude]), "one")
    sessions.wait_s = 0.05
    assert sessions.store.take("both", "another process", 30)
    with pytest.raises(SessionConflictError, match="not free within"):
        await sessions.open("both").run(agent, "two")
    # One that died holds it until its lease is over.
    sessions.store.give_back("both", "another process")
    assert sessions.store.take("both", "a dead process", -1)
    await sessions.open("both").run(agent, "three")


async def test_a_run_whose_lease_was_lost_is_refused_at_its_end_and_the_error_holds_it(
    sessions: Sessions,
) -> None:
    agent = Agent("test/m", client=FunctionModel(lambda request: "yes"))
    session = sessions.open("both")

    async def intrude(run: Run[str]) -> None:
        version, state, _ = sessions.store.load("both")
        new = [Message("user", [Text("me first")])]
        count = state.count + len(new)
        sessions.store.save("both", version, msgspec.structs.replace(state, count=count), new)

    with pytest.raises(SessionConflictError, match="'both' has changed") as caught:
        await session.run(Guarded(agent, outputs=[intrude]), "one")
    assert caught.value.run.text == "yes"
    assert [message.text for message in await session.messages()] == ["me first"]


# ---------------------------------------------------------------------------------------------
# L6: a session's run that pauses


class Shop:
    """Refunds, each asked for by a model that does what it is told."""

    def __init__(self) -> None:
        self.refunded: list[str] = []

        @tool(needs_approval=True)
        async def refund(order: str) -> str:
            """Pay back."""
            self.refunded.append(order)
            return f"refunded {order}"

        def answer(request: Request) -> str | ToolCall:
            last = request.messages[-1]
            if last.role == "tool":
                return f"Done: {last.parts[0].text}"  # type: ignore[union-attr]
            word, _, order = last.text.partition(" ")
            if word != "refund":
                return f"{len(request.messages)} messages"
            return ToolCall(f"r{len(request.messages)}", "refund", json.dumps({"order": order}))

        self.agent = Agent("test/m", name="shop", tools=[refund], client=FunctionModel(answer))


@pytest.mark.parametrize("around", ["agent", "guarded", "router"])
@pytest.mark.parametrize("verdict", ["allow", "deny", "always"])
async def test_l6_a_session_keeps_the_turn_of_a_paused_run_that_it_resumes(
    sessions: Sessions, verdict: str, around: str
) -> None:
    shop = Shop()
    agent: Any = shop.agent
    if around == "guarded":
        agent = Guarded(agent)
    elif around == "router":
        agent = Router([agent], lambda words: "shop")
    session = sessions.open("mina")
    await session.run(agent, "hello")
    run = await session.run(agent, "refund A1", approve="pause")
    assert run.paused is not None
    assert len(await session.messages()) == 2
    paused = PausedRun.from_json(run.paused.to_json("secret"), "secret")
    [waiting] = paused.waiting
    if verdict == "deny":
        paused.deny(waiting.id, "too late")
    else:
        paused.allow(waiting.id, always=verdict == "always")
    run = await sessions.open("mina").resume(agent, paused)
    assert run.paused is None
    assert shop.refunded == ([] if verdict == "deny" else ["A1"])
    assert [message.role for message in await session.messages()] == [
        *("user", "assistant"),
        *("user", "assistant", "tool", "assistant"),
    ]
    assert (await session.run(agent, "again")).text == "7 messages"
    assert (await session.history()).allowed == (["shop.refund"] if verdict == "always" else [])


async def test_l6_a_paused_run_of_a_session_is_resumed_once_and_by_its_session_alone(
    sessions: Sessions,
) -> None:
    shop = Shop()
    session, agent = sessions.open("mina"), shop.agent
    paused = (await session.run(agent, "refund A1", approve="pause")).paused
    assert paused is not None
    paused.allow(paused.waiting[0].id)
    for resume in (agent.resume, Guarded(agent).resume, Router([agent], lambda _: "shop").resume):
        with pytest.raises(
            RequestError, match=r"sessions\.open\('mina'\)\.resume\(agent, paused\)"
        ):
            await resume(PausedRun.from_json(paused.to_json()))
    with pytest.raises(RequestError, match="belongs to the session 'mina', and this is 'other'"):
        await sessions.open("other").resume(agent, paused)
    alone = (await agent.run("refund B2", approve="pause")).paused
    assert alone is not None
    with pytest.raises(RequestError, match="has no session, and this is 'mina'"):
        await session.resume(agent, alone)
    assert shop.refunded == []
    both = await asyncio.gather(
        *(session.resume(agent, paused) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in both) == ["RequestError", "Run"]
    assert shop.refunded == ["A1"]


async def test_l6_what_was_said_while_a_run_waited_stays_before_its_turn(
    sessions: Sessions,
) -> None:
    shop = Shop()
    session, agent = sessions.open("mina"), shop.agent
    await session.run(agent, "hello")
    first = (await session.run(agent, "refund A1", approve="pause")).paused
    second = (await session.run(agent, "refund B2", approve="pause")).paused
    await session.run(agent, "hello again", variables={"mood": "good"})
    assert first is not None
    assert second is not None
    for paused in (second, first):
        paused.allow(paused.waiting[0].id)
        await session.resume(agent, paused)
    assert shop.refunded == ["B2", "A1"]
    messages = await session.messages()
    assert whole(messages)
    assert [each.text for each in messages if each.role == "user"] == [
        *("hello", "hello again"),
        *("refund B2", "refund A1"),
    ]
    assert (await session.history()).variables == {"mood": "good"}


async def test_l6_a_run_that_pauses_twice_is_one_turn(sessions: Sessions) -> None:
    done: list[str] = []

    @tool(needs_approval=True)
    async def step(name: str) -> str:
        """Do a step."""
        done.append(name)
        return name

    script = [ToolCall("1", "step", '{"name":"a"}'), ToolCall("2", "step", '{"name":"b"}'), "Done."]
    with ScriptedModel(script) as model:
        agent = Agent("test/m", tools=[step], client=model)
        session = sessions.open("mina")
        run = await session.run(agent, "both", approve="pause")
        for _ in range(2):
            assert run.paused is not None
            run.paused.allow(run.paused.waiting[0].id)
            run = await session.resume(agent, PausedRun.from_json(run.paused.to_json()))
    assert done == ["a", "b"]
    assert len(await session.messages()) == 6


async def test_l6_a_resumed_run_that_raises_is_kept_or_waits_on_as_it_was(
    sessions: Sessions,
) -> None:
    shop = Shop()
    session, agent = sessions.open("mina"), shop.agent
    paused = (await session.run(agent, "refund A1", approve="pause")).paused
    assert paused is not None
    paused.allow(paused.waiting[0].id)
    # Nothing was done: it waits on.
    agent.instructions = lambda context: 1 // 0
    with pytest.raises(ZeroDivisionError):
        await session.resume(agent, paused)
    agent.instructions = ""
    assert await session.messages() == []
    # The refund was made: that is kept, and cannot be made again.
    agent.client = ScriptedModel([])
    with pytest.raises(AssertionError, match="script is over"):
        await session.resume(agent, paused)
    assert [each.role for each in await session.messages()] == ["user", "assistant", "tool"]
    with pytest.raises(RequestError, match="resumed already"):
        await session.resume(agent, paused)
    assert shop.refunded == ["A1"]


def test_l6_the_synchronous_face_pauses_and_resumes(tmp_path: Path) -> None:
    shop = Shop()
    with Sessions(f"sqlite:///{tmp_path / 'chat.db'}") as sessions:
        session = sessions.open("mina")
        paused = session.run_sync(shop.agent, "refund A1", approve="pause").paused
        assert paused is not None
        paused.allow(paused.waiting[0].id)
        assert session.resume_sync(shop.agent, paused).text == "Done: refunded A1"


@pytest.mark.slow
async def test_500_turns_stay_in_their_budget_and_go_on_with_another_provider(
    tmp_path: Path, simulation: Simulation, client: Client
) -> None:
    budget = 6_000
    asked: list[Request] = []

    def answer(request: Request) -> Any:
        asked.append(request)
        text = request.messages[-1].text
        if request.messages[-1].role == "user" and not text.endswith("0"):
            names = itertools.count(len(asked) * 10)
            return [
                ToolCall(f"call_{next(names)}", "weight_of", json.dumps({"thing": text}))
                for _ in range(2)
            ]
        return f"That was {text or 'weighed'}."

    def summarize(before: str, gone: list[Message]) -> str:
        assert whole(gone)
        return f"{sum(message.role == 'user' for message in gone)} turns more; {before}"[:200]

    compaction = Compaction(tokens_max=budget, summarize=summarize)
    with Sessions(f"sqlite:///{tmp_path / 'chat.db'}", compaction=compaction) as sessions:
        session = sessions.open("long")
        agent = Agent("test/m", tools=[weight_of], client=FunctionModel(answer))
        for number in range(500):
            await session.run(agent, f"thing number {number}")
        assert len(await session.messages()) == 500 * 4 - 50 * 2
        for request in asked:
            assert whole(request.messages) or request.messages[-1].role == "tool"
            assert sum(map(size_of, request.messages)) * 0.3 < budget * 1.05
        shortened = [request for request in asked if "left out here" in request.messages[0].text]
        assert len(shortened) > 800
        # Shortened by half each time: the prefix that providers cache changes seldom.
        openings = {request.messages[0].text for request in shortened}
        assert 5 < len(openings) < 60

        turns = [Turn(calls=[Call("weight_of", {"thing": "one more"})]), Turn(text="Still here.")]
        other = play(simulation, "anthropic", *turns, model="elsewhere")
        run = await session.run(Agent(other, tools=[weight_of], client=client), "one more")
        assert run.text == "Still here."
        assert not run.warnings


async def test_an_agent_may_write_the_summary(tmp_path: Path) -> None:
    script = ["a" * 300, "b", "c"]
    with ScriptedModel(["Mina likes tea."]) as writer, ScriptedModel(script) as model:
        made = Compaction(tokens_max=100, summarize=summary_by(Agent("test/s", client=writer)))
        with Sessions(str(tmp_path / "chat.db"), compaction=made) as sessions:
            session = sessions.open("s")
            for words in ("I like tea", "And you?", "So?"):
                await session.run(Agent("test/m", client=model), words)
    assert "user: I like tea\nassistant: aaa" in writer.requests[0].messages[0].text
    # The last turn stays whole, whatever it takes.
    assert len(model.requests[1].messages) == 3
    head, *rest = model.requests[2].messages
    assert head.text == (
        "[2 earlier messages of this conversation are left out here; a summary:]\nMina likes tea."
    )
    assert [message.text for message in rest] == ["And you?", "b", "So?"]


messages = st.lists(st.integers(0, 3), max_size=12).map(
    lambda calls: [
        part
        for place, count in enumerate(calls)
        for part in [
            Message("user", [Text(f"turn {place}")]),
            Message(
                "assistant", [ToolCall(f"{place}_{n}", "t") for n in range(count)] or [Text("a")]
            ),
            *(
                [Message("tool", [ToolResult(f"{place}_{n}") for n in range(count)])]
                if count
                else []
            ),
        ]
    ]
)


@given(messages, st.integers(0, 2_000))
def test_a_cut_never_parts_a_call_from_its_result(said: list[Message], bytes_max: int) -> None:
    place = place_to_cut(said, bytes_max, whole_places(said))
    assert whole(said[:place])
    assert whole(said[place:])
    assert all(whole(said[:each]) for each in whole_places(said))
    users = [each for each in whole_places(said) if said[each].role == "user"]
    if said and place:
        fits = [each for each in users if sum(map(size_of, said[each:])) <= bytes_max]
        assert place == (fits[0] if fits else users[-1]) or not fits


async def test_guardrails_stop_a_run_with_a_reason() -> None:
    def no_cards(new: list[Message]) -> str | None:
        return "a card number" if "4111" in new[-1].text else None

    async def no_promises(run: Run[str]) -> str | None:
        return "promises a discount" if "discount" in run.text else None

    with ScriptedModel(["Here is a discount.", "Hello."]) as model:
        agent = Guarded(Agent("test/m", client=model), inputs=[no_cards], outputs=[no_promises])
        first = await agent.run("my card is 4111")
        second = await agent.run("make it cheaper")
        third = await agent.run("hello", history=second.history)
    assert (first.reason, first.stopped) == (
        "guardrail",
        type(first.stopped)("input", "no_cards", "a card number"),  # type: ignore[misc]
    )
    assert second.stopped is not None
    assert (second.stopped.stage, second.stopped.guard) == ("output", "no_promises")
    with pytest.raises(OutputError, match="stopped by 'no_promises': promises a discount"):
        _ = second.output
    # Neither what was refused nor what led to it is sent again; what it cost is told.
    assert [message.text for message in model.requests[1].messages] == ["hello"]
    assert second.usage != Usage()
    assert third.output == "Hello."


async def test_what_comes_of_a_paused_run_is_checked_too() -> None:
    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    def too_much(run: Run[str]) -> str | None:
        return "too much" if "9" in run.text else None

    pay_call = ToolCall("p", "pay", '{"amount": 9}')
    with ScriptedModel(["hello", pay_call, "9 were paid"]) as model:
        agent = Guarded(Agent("test/m", tools=[pay], client=model), outputs=[too_much])
        first = await agent.run("hi")
        run = await agent.run("pay", history=first.history, approve="pause")
        assert run.paused is not None
        paused = PausedRun.from_json(run.paused.to_json())
        paused.allow(paused.waiting[0].id)
        run = await agent.resume(paused)
    assert run.stopped is not None
    assert (run.stopped.guard, run.stopped.reason) == ("too_much", "too much")
    # The payment was made; the answer that was refused is gone.
    assert run.history.messages[:2] == first.history.messages
    assert [each.role for each in run.history.messages[2:]] == ["user", "assistant", "tool"]


async def test_a_database_that_was_away_is_reached_again() -> None:
    with postgres() as server, ScriptedModel(["hello", "again"]) as model:
        url = server.database()
        agent = Agent("test/m", client=model)
        with Sessions(url) as sessions:
            memory = Memory(url)
            await sessions.open("s").run(agent, "hi")
            memory.add("likes tea")
            server.stop()
            for reach in (sessions.list, lambda: memory.search("tea")):
                with pytest.raises(RequestError, match="cannot be reached: "):
                    reach()
            server.start()
            await sessions.open("s").run(agent, "and now?")
            assert [each.text for each in memory.search("tea")] == ["likes tea"]
            assert len(await sessions.open("s").messages()) == 4
            memory.close()


def test_mistakes(tmp_path: Path) -> None:
    for tokens_max, keep in ((0, 0.5), (10, 0), (10, 1)):
        with pytest.raises(RequestError, match="tokens_max"):
            Compaction(tokens_max=tokens_max, keep=keep)
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(bytes(range(256)) * 16)
    for url, told in (
        (f"sqlite:///{garbage}", "file is not a database"),
        (f"sqlite:///{garbage}/no/way.db", "cannot be kept in"),
        ("mysql://127.0.0.1/chat", "not at 'mysql"),
        ("postgresql://127.0.0.1:1/chat", "cannot be reached: .*refused"),
    ):
        with pytest.raises(RequestError, match=told):
            Sessions(url)
    assert garbage.read_bytes() == bytes(range(256)) * 16


def test_a_database_that_nobody_closes_is_closed_with_its_owner(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a.db", "create table if not exists a (b)", "things")
    connection = database._connection
    del database
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("select 1")
