"""The gateway's MCP door: a person sees all of a call, and no key takes another's places."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from polycall.errors import InvalidRequestError, RateLimitError
from polycall.gateway.mcp import code, endpoint
from polycall.gateway.mcp.asking import SHOWN_CHARS_MAX, Parked, Running, approval_question
from polycall.gateway.mcp.code import PendingApproval
from polycall.gateway.mcp.endpoint import OpenSessions
from polycall.gateway.store import open_store
from polycall.mcp.asking import Elicitation, ElicitationAnswer

LONG = json.dumps({"note": "x" * 5_000, "amount": 90_000})


@pytest.mark.parametrize(
    ("arguments_json", "shown"),
    [
        (LONG, LONG),
        ('{"to":"safe\u202egro.live\u200b"}', '{"to":"safe\\u202egro.live\\u200b"}'),
        ('{"a":"\U000e0041\u2028"}', '{"a":"\\udb40\\udc41\\u2028"}'),
    ],
)
def test_a21_an_mcp_client_is_shown_all_of_a_call(arguments_json: str, shown: str) -> None:
    question = approval_question("pay\nno\x1b[2K", "shop", arguments_json)
    assert question.message == f"Run pay\\nno\\u001b[2K with {shown}?"


def test_a21_what_cannot_be_shown_whole_is_not_asked() -> None:
    with pytest.raises(InvalidRequestError, match="can be shown; nothing was run"):
        approval_question("pay", "shop", json.dumps({"note": "x" * SHOWN_CHARS_MAX}))


class Person:
    def __init__(self) -> None:
        self.questions: list[str] = []

    async def ask(self, question: Elicitation) -> ElicitationAnswer:
        self.questions.append(question.message)
        return ElicitationAnswer("accept", {"approve": True})


@pytest.mark.parametrize("size", [10, 3_000, SHOWN_CHARS_MAX // 2])
async def test_a21_each_call_of_a_program_is_shown_before_it_may_run(size: int) -> None:
    pending = [PendingApproval("pay", json.dumps({"n": n, "note": "x" * size})) for n in range(12)]
    scope: Any = Person()
    left = list(pending)
    while left:
        answers = await code._answers(left, scope)
        assert answers
        for each in answers:
            assert json.dumps(f"pay with {each.arguments_json}")[1:-1] in scope.questions[-1]
            left.remove(each)
    assert all(len(question) < SHOWN_CHARS_MAX + 100 for question in scope.questions)


async def test_a21_a_call_of_a_program_that_cannot_be_shown_is_refused() -> None:
    large = PendingApproval("pay", json.dumps({"note": "x" * SHOWN_CHARS_MAX}))
    scope: Any = Person()
    answers = await code._answers([large, PendingApproval("pay", "{}")], scope)
    assert list(answers) == [large]
    assert "can be shown" in answers[large]
    assert scope.questions == []


async def test_calls_that_wait_push_out_none_of_another_key(tmp_path: Any) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}", tmp_path)
    parked = Parked(store)

    async def wait(running: Running[Any]) -> None:
        await asyncio.sleep(60)

    mine = [parked.park("mine", f"c{n}", Running(wait)) for n in range(3)]
    for n in range(2_000):
        parked.park("other", f"c{n}", Running(wait))
    assert len(parked._calls) < 100
    for n in range(600):
        parked.park(f"key {n % 30}", f"c{n}", Running(wait))
    assert len(parked._calls) <= 500
    found = [parked.take("mine", f"c{n}", token) for n, token in enumerate(mine)]
    assert None not in found
    for running in found:
        assert running is not None
        running.cancel()
    await parked.close()
    await store.close()


def test_sessions_of_one_key_leave_places_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = OpenSessions()
    for n in range(200):
        sessions.check("mine")
        sessions.heard("mine", f"s{n}")
    with pytest.raises(RateLimitError, match="200 MCP sessions"):
        sessions.check("mine")
    sessions.check("other")
    sessions.ended("other", "s0")  # another's is not its to end
    with pytest.raises(RateLimitError):
        sessions.check("mine")
    sessions.ended("mine", "s0")
    sessions.check("mine")
    sessions.heard("mine", "s0")
    monkeypatch.setattr(endpoint, "_IDLE_S", 0.0)
    sessions.check("mine")
