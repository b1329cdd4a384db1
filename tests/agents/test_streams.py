"""Streams for people: text alone, deltas that say their kind, and the synchronous faces."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, AgentContext, Client, tool
from polycall._support import jsontext
from polycall.agents import ApprovalRequest, Guarded, Sessions, event_json, event_of
from polycall.errors import RequestError, TruncatedError
from polycall.fold import unfold
from polycall.ir import Message, PartDelta, Reasoning, Refusal, Response, Text, ToolCall
from polycall.loop import CallEnd, ModelEvent, emit
from polycall.streams import Stream
from polycall.testing import FunctionModel, ScriptedModel

THOUGHT = Message("assistant", [Reasoning("hm, "), Text("Let me look. "), ToolCall("c1", "look")])
ANSWER = Message("assistant", [Reasoning("so"), Text("It "), Text("snows.")])


async def look() -> str:
    """Look out of the window."""
    return "snow"


def looking(**options: Any) -> tuple[Agent[Any, str], ScriptedModel]:
    model = ScriptedModel([THOUGHT, ANSWER])
    return Agent("any/model", tools=[look], client=model, **options), model


async def test_n1_text_of_an_agents_stream_is_the_visible_text_alone() -> None:
    agent, _ = looking()
    async with agent.stream("?") as stream:
        pieces = [piece async for piece in stream.text()]
    assert pieces == ["Let me look. ", "It ", "snows."]
    assert stream.run.text == "It snows."


@pytest.mark.parametrize(
    ("part", "kind", "said"),
    [
        (Text("x"), "text", ["x"]),
        (Reasoning("x"), "reasoning", []),
        (Refusal("x"), "refusal", []),
        (ToolCall("1", "f", '{"a":1}'), "arguments", []),
    ],
)
async def test_n1_each_delta_of_a_clients_stream_says_its_kind(
    part: Any, kind: str, said: list[str]
) -> None:
    whole = Response("r", "m", Message("assistant", [part]), "stop")
    deltas = [event async for event in Stream.of(whole) if isinstance(event, PartDelta)]
    assert [event.kind for event in deltas] == [kind]
    assert [piece async for piece in Stream.of(whole).text()] == said


async def test_n1_deltas_that_came_in_pieces_say_their_kind_too() -> None:
    whole = Response("r", "m", ANSWER, "stop")
    stream = Stream(_cut(whole), [])
    deltas = [event async for event in stream if isinstance(event, PartDelta)]
    assert {event.kind for event in deltas} == {"text", "reasoning"}
    assert "".join(event.text for event in deltas if event.kind == "text") == "It snows."


async def _cut(whole: Response) -> AsyncGenerator[Any]:
    """Events as a decoder gives them: a letter a delta, and no kind."""
    for event in unfold(whole):
        if isinstance(event, PartDelta):
            for letter in event.text:
                yield PartDelta(event.index, letter)
        else:
            yield event


async def test_n1_a_pattern_by_kind_prints_neither_reasoning_nor_arguments() -> None:
    agent, _ = looking()
    said = ""
    async with agent.stream("?") as stream:
        async for event in stream:
            match event:
                case ModelEvent(event=PartDelta(kind="text", text=text)):
                    said += text
                case _:
                    pass
    assert said == "Let me look. It snows."


async def test_n1_whoever_reads_text_alone_cannot_approve_and_the_call_is_refused() -> None:
    ran: list[str] = []

    @tool(needs_approval=True)
    async def pay() -> str:
        """Pay."""
        ran.append("paid")
        return "paid"

    model = ScriptedModel([ToolCall("1", "pay"), "Not paid."])
    agent = Agent("any/model", tools=[pay], client=model)
    async with agent.stream("?") as stream:
        assert [piece async for piece in stream.text()] == ["Not paid."]
    assert not ran
    assert "nobody could be asked" in stream.run.steps[0].results[0].text


def test_n9_stream_sync_of_a_client_is_a_context_manager_with_a_response() -> None:
    client = _Scripted(Response("r", "m", ANSWER, "stop"))
    with client.stream_sync("any/model", "?") as stream:
        with pytest.raises(TruncatedError):
            _ = stream.response
        assert "".join(stream.text()) == "It snows."
    assert stream.response.text == "It snows."
    for event in (again := client.stream_sync("any/model", "?")):
        assert event is not None
    assert again.response.finish_reason == "stop"
    with client.stream_sync("any/model", "?") as left:
        next(left)
    with pytest.raises(StopIteration):
        next(left)
    client.close_sync()


class _Scripted(Client):
    """A client whose answers are known."""

    def __init__(self, response: Response) -> None:
        super().__init__(keys={})
        self._known = response

    def stream(self, *_: Any, **__: Any) -> Stream:
        return Stream.of(self._known)


def test_n9_an_agent_streams_without_an_event_loop() -> None:
    agent, _ = looking()
    with agent.stream_sync("?") as stream:
        with pytest.raises(RequestError, match="not over"):
            _ = stream.run
        events = list(stream)
    assert any(isinstance(event, CallEnd) for event in events)
    assert stream.run.text == "It snows."


def test_n9_text_without_an_event_loop() -> None:
    agent, _ = looking()
    with agent.stream_sync("?") as stream:
        assert list(stream.text()) == ["Let me look. ", "It ", "snows."]


def test_n9_approvals_of_a_synchronous_stream_are_answered_between_its_events() -> None:
    @tool(needs_approval=True)
    async def pay() -> str:
        """Pay."""
        return "paid"

    model = ScriptedModel([ToolCall("1", "pay"), "Done."])
    with Agent("any/model", tools=[pay], client=model).stream_sync("?") as stream:
        for event in stream:
            if isinstance(event, ApprovalRequest):
                event.allow()
    assert stream.run.steps[0].results[0].text == "paid"


async def test_n9_a_synchronous_call_inside_an_event_loop_is_refused_with_what_to_write() -> None:
    agent = Agent("any/model", client=FunctionModel(lambda _: "hi"))
    with pytest.raises(RequestError, match=r"await agent\.run"):
        agent.run_sync("?")
    with pytest.raises(RequestError, match="event loop"), agent.stream_sync("?") as stream:
        list(stream)
    client = _Scripted(Response("r", "m", ANSWER, "stop"))
    with pytest.raises(RequestError, match="event loop"), client.stream_sync("m", "?") as said:
        list(said)
    await asyncio.to_thread(client.close_sync)


async def test_n9_in_a_thread_of_its_own_a_synchronous_call_is_silent() -> None:
    agent = Agent("any/model", client=FunctionModel(lambda _: "hi"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = await asyncio.to_thread(agent.run_sync, "?")
    assert run.text == "hi"


async def test_n8_a_session_streams_and_keeps_what_was_said(tmp_path: Path) -> None:
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        session = sessions.open("s")
        agent, model = looking()
        async with session.stream(agent, "Weather?") as stream:
            assert "".join([piece async for piece in stream.text()]) == "Let me look. It snows."
        assert stream.run.text == "It snows."
        assert [each.role for each in await session.messages()] == [
            *("user", "assistant", "tool", "assistant"),
        ]
        model._left.append("Still.")
        async with session.stream(agent, "And now?") as stream:
            await _read(stream)
        assert model.requests[-1].messages[0].text == "Weather?"


async def test_n8_a_session_stream_that_is_left_keeps_nothing(tmp_path: Path) -> None:
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        session = sessions.open("s")
        agent, _ = looking()
        async with session.stream(agent, "Weather?") as stream:
            await anext(stream)
        assert await session.messages() == []
        with pytest.raises(RequestError, match="not over"):
            _ = stream.run


async def test_n8_a_guarded_agent_streams_between_its_checks(tmp_path: Path) -> None:
    def no_snow(run: Any) -> str | None:
        return "snow" if "snow" in run.text else None

    def polite(messages: list[Message]) -> str | None:
        return None if "please" in messages[-1].text else "impolite"

    agent, _ = looking()
    guarded = Guarded(agent, inputs=[polite], outputs=[no_snow])
    async with guarded.stream("?") as stream:
        assert await _read(stream) == []
    assert stream.run.stopped is not None
    assert stream.run.stopped.stage == "input"
    with Sessions(f"sqlite:///{tmp_path / 's.db'}") as sessions:
        async with sessions.open("s").stream(guarded, "please") as stream:
            assert await _read(stream)
    assert stream.run.reason == "guardrail"


async def _read(stream: Any) -> list[Any]:
    return [event async for event in stream]


async def test_n1_each_event_is_typed_json_and_comes_back() -> None:
    inner = Agent("any/model", name="inner", client=ScriptedModel(["in"]))

    @tool(needs_approval=True)
    async def pay(context: AgentContext[Any]) -> str:
        """Pay."""
        await context.report(0.5, "half")
        await emit({"own": 1})
        return "paid"

    model = ScriptedModel([[ToolCall("1", "pay"), ToolCall("2", "inner", '{"task":"x"}')], ANSWER])
    agent = Agent("any/model", tools=[pay, inner], client=model)
    kinds: set[str] = set()
    async with agent.stream("?") as stream:
        async for event in stream:
            data = jsontext.decode(jsontext.encode(event_json(event, with_messages=True)))
            kinds |= {data["type"], data.get("event", {}).get("type", "")}
            if isinstance(event, ApprovalRequest):
                event.allow()
                assert event_of(data).tool == "pay"
            else:
                assert event_of(data) == event
            assert "messages" not in event_json(event)
    assert kinds >= {
        *("model", "call_start", "call_end", "tool", "step_end", "run_end", "approval"),
        *("progress", "custom", "part_delta"),
    }


@pytest.mark.parametrize(
    "data", [{}, {"type": "model"}, {"type": "nothing"}, {"type": "tool", "step": 1, "call": 3}]
)
def test_n1_json_that_is_no_event_is_refused(data: Any) -> None:
    with pytest.raises(RequestError, match="not an event of a run"):
        event_of(data)
