"""Sessions that branch, move to another database, belong to users, and lie encrypted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycall import Agent
from polycall.agents import AgentContext, Guarded, PausedRun, Run, Sessions
from polycall.errors import RequestError
from polycall.ir import Message, Request, ToolCall
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool

SECRET = "0123456789abcdef-of-a-test"


@pytest.fixture(params=["plain", "encrypted", "postgres"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    secret = None if request.param == "plain" else SECRET
    with Sessions(url, secret=secret) as made:
        yield made
        for name in made.list():
            made.delete(name)


@tool(needs_approval=True)
async def refund(order: str) -> str:
    """Refund an order."""
    return f"refunded {order}"


@tool
async def note(text: str, context: AgentContext[None]) -> str:
    """Write a note."""
    context.variables["note"] = text
    return "noted"


def echo(request: Request) -> str:
    return f"{len(request.messages)}: {request.messages[-1].text}"


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


async def test_a_branch_begins_as_the_session_was_after_that_turn(sessions: Sessions) -> None:
    script = [
        *(ToolCall("a", "note", '{"text":"first"}'), "one"),
        *(ToolCall("b", "note", '{"text":"second"}'), "two"),
        *("other", "three"),
    ]
    with ScriptedModel(script) as model:
        writer = Agent("test/m", tools=[note], client=model)
        desk = Agent("test/m", name="desk", handoffs=[writer], client=model)
        session = sessions.open("a", user="mina")
        await session.run(writer, "write")
        await session.run(writer, "write again")
        assert sessions.turns("a") == [4, 8]
        early = sessions.branch("a", "b", at=4)
        assert (await early.history()).variables == {"note": "first"}
        assert (await session.history()).variables == {"note": "second"}
        await early.run(desk, "elsewhere")
        await sessions.branch("a", "c").run(writer, "go on")
    assert texts(await early.messages())[-3:] == ["one", "elsewhere", "other"]
    assert len(await session.messages()) == 8
    assert len(await sessions.open("c").messages()) == 10
    assert sorted(sessions.list(user="mina")) == ["a", "b", "c"]
    for at in (0, 3, 9, -1):
        with pytest.raises(
            RequestError, match=f"ended after {at} messages; turns ended after 4, 8"
        ):
            sessions.branch("a", "d", at=at)
    with pytest.raises(RequestError, match="there is a session 'b' already"):
        sessions.branch("a", "b")
    with pytest.raises(RequestError, match="there is no session 'x'"):
        sessions.branch("x", "y")


async def test_what_was_allowed_after_a_branch_is_not_allowed_in_it(sessions: Sessions) -> None:
    script = [
        *("hello", ToolCall("a", "refund", '{"order":"7"}'), "done"),
        *(ToolCall("b", "refund", '{"order":"8"}'), "asked"),
    ]
    asked: list[str] = []

    def approve(request: object) -> bool:
        asked.append(repr(request))
        return False

    with ScriptedModel(script) as model:
        agent = Agent("test/m", tools=[refund], client=model)
        session = sessions.open("a")
        await session.run(agent, "hi")
        paused = (await session.run(agent, "refund", approve="pause")).paused
        assert paused is not None
        paused.allow(next(iter(paused.approvals)), always=True)
        await session.resume(agent, paused)
        assert (await session.history()).allowed
        early = sessions.branch("a", "b", at=sessions.turns("a")[0])
        await early.run(agent, "again", approve=approve)
    assert len(asked) == 1


async def test_an_exported_session_goes_on_in_another_database(
    sessions: Sessions, tmp_path: Path
) -> None:
    with ScriptedModel(
        ["hello", ToolCall("a", "refund", '{"order":"7"}'), "refunded, 안녕"]
    ) as model:
        agent = Agent("test/m", tools=[refund], client=model)
        session = sessions.open("a", user="mina")
        await session.run(agent, "hi", variables={"mood": "good"})
        paused = (await session.run(agent, "refund", approve="pause")).paused
        assert paused is not None
        text = sessions.export("a")
        with Sessions(":memory:") as others:
            moved = others.import_session(text)
            assert others.export("a") == text
            assert (await moved.history()).variables == {"mood": "good"}
            waiting = PausedRun.from_json(paused.to_json(secret=SECRET), secret=SECRET)
            waiting.allow(next(iter(waiting.approvals)))
            run = await moved.resume(agent, waiting)
            assert texts(await moved.messages())[-1] == run.text == "refunded, 안녕"
            with pytest.raises(RequestError, match="there is a session 'a' already"):
                others.import_session(text)
            other = others.import_session(text, session_id="b", user="tom")
            assert (other.id, other.user, await other.waiting()) == ("b", "tom", [])
            assert others.list(user="tom") == ["b"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '"a"', "null", b"\xff"),
        '{"format":"polycall-session-2","id":"a","user":"","messages":[],"turns":[{}]}',
        '{"format":"polycall-session-1","id":"a","user":"","messages":[],"turns":[{"count":1}]}',
        '{"format":"polycall-session-1","id":"a","user":"","messages":[],"turns":[]}',
        '{"format":"polycall-session-1","id":"","user":"","messages":[],"turns":[{}]}',
        '{"format":"polycall-session-1","id":"a","user":"","messages":[],'
        '"turns":[{"count":2},{"count":0}]}',
        '{"format":"polycall-session-1","id":"a","user":"","messages":[],"turns":[{"count":-1},{}]}',
    ],
)
def test_what_is_no_exported_session_is_refused(text: str | bytes) -> None:
    with Sessions(":memory:") as sessions:
        with pytest.raises(RequestError, match="this is not an exported session"):
            sessions.import_session(text)
        assert sessions.list() == []


async def test_a_session_of_a_user_is_no_other_users(sessions: Sessions) -> None:
    agent = Agent("test/m", client=FunctionModel(echo))
    mina = sessions.open("a", user="mina")
    await mina.run(agent, "mine")
    await sessions.open("nobody").run(agent, "free")
    await sessions.open("b", user="mina").run(agent, "mine too")
    toms = sessions.open("a", user="tom")
    for refused in (toms.run(agent, "x"), toms.messages(), toms.history(), toms.waiting()):
        with pytest.raises(RequestError, match="'a' belongs to another user, not to 'tom'"):
            await refused
    with pytest.raises(RequestError, match="another user"):
        async with toms.stream(agent, "x") as stream:
            async for _ in stream:
                pass
    with pytest.raises(RequestError, match="belongs to no user, not to 'tom'"):
        await sessions.open("nobody", user="tom").messages()
    assert len(await mina.messages()) == 2
    assert len(await sessions.open("a").messages()) == 2
    assert sessions.list(user="mina") == ["b", "a"]
    assert (sessions.list(user="tom"), sessions.delete_user("tom")) == ([], 0)
    assert sessions.delete_user("mina") == 2
    assert sessions.list() == ["nobody"]
    # A name that is free again is anybody's.
    assert (await toms.run(agent, "now mine")).text == "1: now mine"


async def test_runs_of_a_users_session_are_that_users(sessions: Sessions) -> None:
    users: list[str] = []

    @tool
    async def who(context: AgentContext[None]) -> str:
        """Who asks."""
        users.append(context.user)
        return "you"

    with ScriptedModel([ToolCall("a", "who", "{}"), "x", ToolCall("b", "who", "{}"), "y"]) as model:
        agent = Agent("test/m", tools=[who], client=model)
        session = sessions.open("a", user="mina")
        await session.run(agent, "who am I?")
        async with session.stream(agent, "and now?") as stream:
            async for _ in stream:
                pass
    assert users == ["mina", "mina"]


async def test_a_secret_hides_what_was_said_and_opens_nothing_that_was_moved(
    tmp_path: Path,
) -> None:
    path, agent = tmp_path / "chat.db", Agent("test/m", client=FunctionModel(echo))
    url = f"sqlite:///{path}"
    with Sessions(url, secret=SECRET) as sessions:
        await sessions.open("a").run(agent, "my PIN is 4711", variables={"city": "Hidden"})
        await sessions.open("b").run(agent, "something else")
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for word in (b"4711", b"PIN", b"Hidden", b"user"):
        assert word not in kept.replace(b"polycall_session_users", b"")
    with Sessions(url) as sessions, pytest.raises(RequestError, match="'a' is encrypted; write"):
        await sessions.open("a").messages()
    with (
        Sessions(url, secret=SECRET.upper()) as sessions,
        pytest.raises(RequestError, match="'a' was encrypted with another secret, or changed"),
    ):
        await sessions.open("a").messages()
    with sqlite3.connect(path) as database:
        database.execute(
            "update polycall_messages set message = (select message from polycall_messages "
            "where session = 'b' and place = 0) where session = 'a' and place = 0"
        )
    database.close()
    with Sessions(url, secret=SECRET) as sessions:
        with pytest.raises(RequestError, match="or changed"):
            await sessions.open("a").messages()
        assert len(await sessions.open("b").messages()) == 2


async def test_a_session_becomes_encrypted_by_export_and_import(tmp_path: Path) -> None:
    url, agent = f"sqlite:///{tmp_path / 'chat.db'}", Agent("test/m", client=FunctionModel(echo))
    with Sessions(url) as sessions:
        await sessions.open("a").run(agent, "hello")
        text = sessions.export("a")
    with Sessions(url, secret=SECRET.encode()) as sessions:
        with pytest.raises(RequestError, match="'a' is not encrypted: open it without"):
            await sessions.open("a").messages()
        sessions.delete("a")
        session = sessions.import_session(text)
        assert (await session.run(agent, "again")).text == "3: again"
    assert json.loads(text)["messages"][0]["role"] == "user"
    with pytest.raises(RequestError, match="16 characters or more"):
        Sessions(url, secret="short")


@pytest.mark.parametrize("pauses", [True, False])
async def test_l6_what_tools_did_is_kept_where_a_guard_refuses_the_answer(
    sessions: Sessions, pauses: bool
) -> None:
    def rude(run: Run[str]) -> str | None:
        return "rude" if "nonsense" in run.text else None

    script = [ToolCall("a", "refund", '{"order":"7"}'), "nonsense", "sorry", "nonsense"]
    with ScriptedModel(script) as model:
        agent = Guarded(Agent("test/m", tools=[refund], client=model), outputs=[rude])
        session = sessions.open("a")
        if pauses:
            paused = (await session.run(agent, "refund", approve="pause")).paused
            assert paused is not None
            paused.allow(next(iter(paused.approvals)))
            run = await session.resume(agent, paused)
        else:
            run = await session.run(agent, "refund", approve=lambda request: True)
        assert (run.reason, run.history.messages) == ("guardrail", await session.messages())
        assert [message.role for message in run.history.messages] == ["user", "assistant", "tool"]
        await session.run(agent, "what?")
        before = await session.messages()
        refused = await session.run(agent, "again")
        assert refused.reason == "guardrail"
        assert await session.messages() == before
    assert texts(before)[-2:] == ["what?", "sorry"]
