"""Calls to agents of text models: Twilio hears and speaks, and sends words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from polycall import Agent, tool
from polycall.ir import ToolCall
from polycall.realtime.telephone import RelayCall, RelayTelephone
from polycall.realtime.telephone.server import TelephoneServer
from polycall.sim.realtime import run_fast
from polycall.sim.telephone import RelayCaller, RelayRecord, WebLine
from polycall.testing import FunctionModel
from tests.realtime.telephone.harness import PUBLIC, TOKEN, MemoryLine

LONG = "This is a long story of many words, and it goes on and on until somebody stops it."


@tool
async def hours(day: str) -> str:
    """The opening hours."""
    await asyncio.sleep(0.5)
    return "from 12 to 23"


charged: list[int] = []


@tool(needs_approval=True)
async def charge(amount: int) -> str:
    """Charge a card."""
    charged.append(amount)
    return f"{amount} charged"


def brain(request: Any) -> Any:
    last = str(request.messages[-1])
    answers = {
        "from 12": "We are open from 12 to 23.",
        "charged": "It is charged.",
        "refused": "Then not.",
        "When": [ToolCall("hours_1", "hours", '{"day": "Friday"}')],
        "Charge": [ToolCall("charge_1", "charge", '{"amount": 20}')],
        "story": LONG,
        "Boom": "",
        "pressed 5": "You pressed five.",
    }
    return next((answer for words, answer in answers.items() if words in last), "Yes?")


def phone_of(
    model: Callable[[Any], Any] = brain, **options: Any
) -> tuple[RelayTelephone, list[RelayCall]]:
    calls: list[RelayCall] = []

    def saw(call: RelayCall, event: object) -> None:
        if call not in calls:
            calls.append(call)

    agent = Agent(
        "any/model", instructions="Be brief.", tools=[hours, charge], client=FunctionModel(model)
    )
    options.setdefault("on_event", saw)
    return RelayTelephone(agent, public_url=PUBLIC, auth_token=TOKEN, **options), calls


def called(
    phone: RelayTelephone, *scripts: Callable[[RelayCaller], RelayCaller]
) -> list[RelayRecord]:
    """The calls at once; nothing is left of them."""

    async def run() -> list[RelayRecord]:
        line = MemoryLine(phone)
        before = len(asyncio.all_tasks())
        made = [RelayCaller(line, voice_url=f"{PUBLIC}/voice", auth_token=TOKEN) for _ in scripts]
        async with asyncio.timeout(4000):
            records = await asyncio.gather(
                *(script(caller).relay() for script, caller in zip(scripts, made, strict=True))
            )
            await line.close()
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == before
        return records

    records = run_fast(run())
    assert [record.wrong_messages for record in records] == [[] for _ in records]
    assert phone.calls_count == 0
    return records


def texts(call: RelayCall) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in call.history.messages if message.text]


def test_an_agent_of_a_text_model_answers_a_call() -> None:
    phone, calls = phone_of(greeting="Good day.")
    (record,) = called(
        phone, lambda c: c.tell("When are you open?").wait(4).key("5").wait(3).leave()
    )
    assert record.heard == ["We are open from 12 to 23.", "You pressed five."]
    assert texts(calls[0])[0] == ("user", "When are you open?")
    assert texts(calls[0])[-1] == ("assistant", "You pressed five.")
    assert calls[0].ended_by == "stop"


def test_what_was_not_heard_was_not_said() -> None:
    phone, calls = phone_of()
    script = lambda c: c.tell("Tell a story.").wait(2.5).tell("Stop.").wait(3).leave()  # noqa: E731
    (record,) = called(phone, script)
    (heard,) = record.interrupts
    assert 30 <= len(heard) < len(LONG)
    assert record.heard == [heard, "Yes?"]
    assert texts(calls[0]) == [
        ("user", "Tell a story."),
        ("assistant", heard),
        ("user", "Stop."),
        ("assistant", "Yes?"),
    ]


@pytest.mark.parametrize(
    ("answer", "amounts", "said"), [("Yes.", [20], "It is charged."), ("No.", [], "Then not.")]
)
def test_the_caller_agrees_by_voice(answer: str, amounts: list[int], said: str) -> None:
    charged.clear()
    phone, calls = phone_of()
    (record,) = called(phone, lambda c: c.tell("Charge it.").wait(9).tell(answer).wait(4).leave())
    assert charged == amounts
    assert "may charge be done" in record.heard[0]
    assert record.heard[-1] == said
    assert calls[0].turns == 1


def test_a_model_that_fails_says_so_and_the_call_goes_on() -> None:
    from polycall.errors import OverloadedError

    def model(request: Any) -> Any:
        if "Boom" in str(request.messages[-1]):
            raise OverloadedError("busy")
        return "Yes?"

    phone, _ = phone_of(model)
    records = called(
        phone,
        lambda c: c.tell("Boom").wait(3).tell("Hello?").wait(3).leave(),
        lambda c: c.tell("Hello?").wait(5).leave(),
    )
    assert records[0].heard == ["I am sorry, that did not work.", "Yes?"]
    assert records[1].heard == ["Yes?"]


def test_bounds_end_a_call() -> None:
    phone, calls = phone_of(call_s_max=20)
    (record,) = called(phone, lambda c: c.tell("Hello?").wait(100))
    assert record.was_ended
    assert calls[0].ended_by == "time"

    def flood(caller: RelayCaller) -> RelayCaller:
        for _ in range(300):
            caller.key("1")
        return caller.wait(100)

    phone, calls = phone_of()
    (record,) = called(phone, flood)
    assert record.was_ended
    assert calls[0].ended_by == "flood"


def test_a_call_that_ends_within_a_turn_leaves_nothing() -> None:
    @tool
    async def forever() -> str:
        """Never ends."""
        await asyncio.sleep(10_000)
        return ""

    model = FunctionModel(lambda request: [ToolCall("f", "forever", "{}")])
    agent = Agent("any/model", tools=[forever], client=model)
    phone = RelayTelephone(agent, public_url=PUBLIC, auth_token=TOKEN, call_s_max=20)
    leaving, staying = called(
        phone,
        lambda c: c.tell("Hello?").wait(3).leave(),
        lambda c: c.tell("Hello?").wait(100),
    )
    assert not leaving.was_ended
    assert staying.was_ended


def test_nothing_begins_without_a_signed_request_and_its_token() -> None:
    phone, calls = phone_of()
    asked: list[Any] = []

    async def run() -> None:
        line = MemoryLine(phone)
        caller = RelayCaller(line, voice_url=f"{PUBLIC}/voice", auth_token="wrong")
        assert (await caller.relay()).status == 403
        link = await RelayCaller(line, voice_url=f"{PUBLIC}/voice", auth_token=TOKEN).open(
            f"{PUBLIC.replace('http', 'ws', 1)}/media"
        )
        await link.send('{"type": "setup", "callSid": "CA1", "customParameters": {"token": "x"}}')
        asked.append(await asyncio.gather(link.receive(), return_exceptions=True))
        await line.close()

    run_fast(run())
    assert "closed" in str(asked)
    assert calls == []


async def test_a_call_by_http_and_websocket() -> None:
    phone, calls = phone_of(greeting="Good day.", attributes={"language": "de-DE"})
    async with TelephoneServer(phone, port=0) as server:
        line = WebLine(f"127.0.0.1:{server.port}")
        caller = RelayCaller(line, voice_url=f"{PUBLIC}/voice", auth_token=TOKEN)
        _, twiml = await caller.post()
        assert 'language="de-DE"' in twiml
        assert 'welcomeGreeting="Good day."' in twiml
        record = await caller.tell("When?").wait(1.5).leave().relay()
        await line.close()
        await phone.drain(2.0)
    assert record.heard == ["We are open from 12 to 23."]
    assert record.wrong_messages == []
    assert calls[0].ended_by == "stop"


class _Priced(FunctionModel):
    """A model whose answers cost what is said, or nobody knows what."""

    def __init__(self, price: Decimal | None) -> None:
        super().__init__(brain)
        self.price = price

    def cost(self, model: str, usage: Any) -> Decimal | None:
        return self.price


@pytest.mark.parametrize(
    ("price", "ended_by"), [(None, "cost"), (Decimal("0.4"), "cost"), (Decimal("0.1"), "stop")]
)
def test_a_bound_of_cost_counts_what_is_unknown_as_too_much(
    price: Decimal | None, ended_by: str
) -> None:
    phone, calls = phone_of(cost_max=0.5)
    phone.agent.client = _Priced(price)
    script = lambda c: c.tell("Hello?").wait(2).tell("Hello?").wait(2).leave()  # noqa: E731
    called(phone, script)
    assert calls[0].ended_by == ended_by
    assert calls[0].turns == (1 if price is None else 2)


def test_a_turn_that_was_stopped_is_paid_for_as_well() -> None:
    phone, calls = phone_of()
    phone.agent.client = _Priced(Decimal("0.25"))
    script = lambda c: (  # noqa: E731
        c.tell("When?").wait(4).tell("Tell a story.").wait(2.5).tell("Stop.").wait(3).leave()
    )
    called(phone, script)
    # Two answers for the first turn, one for the story, one for the end.
    assert calls[0].cost == Decimal("1.00")
