"""State belongs to the key, the provider and the model that issued it; a client's edits win."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.gateway.state.carried import CarriedTurn, Entry, Origin
from polycall.gateway.state.carrier import Carrier
from polycall.gateway.store import open_store
from polycall.ir import (
    Message,
    Metadata,
    Part,
    Reasoning,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from polycall.translation import conversation
from polycall.translation.opened import opened_in

HOME = Origin("gemini", "google", "m1")
STATE: Metadata = {"gemini": {"thoughtSignature": "signed by m1"}}
ENTRIES = [
    Entry("reasoning", "why", STATE),
    Entry("text", size=2),
    Entry("call", '{"a": 1}', STATE, id="own-1"),
]


@pytest.fixture
async def carrier(tmp_path: Path) -> AsyncIterator[Carrier]:
    store = open_store("sqlite:///store.db", tmp_path)
    yield Carrier(store)
    await store.close()


def history(base: str, arguments: str = '{"a": 1}', text: str = "ok") -> Request:
    call_id = f"{base}_0"
    return Request(
        model="any",
        messages=[
            Message("user", [Text("go")]),
            Message("assistant", [Text(text), ToolCall(call_id, "t", arguments)]),
            Message("tool", [ToolResult(call_id, [Text("done")])]),
        ],
    )


async def kept(carrier: Carrier, owner: str = "me") -> str:
    base = carrier.new_base()
    await carrier.keep(owner, base, CarriedTurn(HOME, ENTRIES))
    return base


async def seen_by(
    carrier: Carrier, request: Request, provider: str, model: str, owner: str = "me"
) -> tuple[list[Part], list[str]]:
    """The assistant's parts as a target gets them, and the warnings' details."""
    carried = await carrier.extract(request, owner)
    view, warnings = carried.for_target(provider, model)
    return view.messages[1].parts, [warning.detail for warning in warnings]


async def test_the_model_that_issued_state_gets_the_turn_back_as_it_was(carrier: Carrier) -> None:
    request = history(await kept(carrier))
    parts, warnings = await seen_by(carrier, request, "google", "m1")
    own = ToolCall("own-1", "t", '{"a": 1}', metadata=STATE)
    assert (parts, warnings) == ([Reasoning("why", STATE), Text("ok"), own], [])
    view, _ = (await carrier.extract(request, "me")).for_target("google", "m1")
    assert view.messages[2].parts == [ToolResult("own-1", [Text("done")])]


@pytest.mark.parametrize(("provider", "model"), [("google", "m2"), ("vertex", "m1")])
async def test_no_other_model_and_no_other_provider_sees_the_state(
    carrier: Carrier, provider: str, model: str
) -> None:
    request = history(await kept(carrier))
    parts, warnings = await seen_by(carrier, request, provider, model)
    assert parts == request.messages[1].parts
    assert warnings == [f"state of google/m1 cannot go to {provider}/{model}"]


@pytest.mark.parametrize(("provider", "model"), [("google", "m2"), ("vertex", "m1")])
async def test_no_other_model_opens_a_sealed_token(
    carrier: Carrier, provider: str, model: str
) -> None:
    token = carrier.seal_reasoning(Reasoning("why", STATE), HOME, "me", "anthropic")
    request = Request("any", [Message("user", []), Message("assistant", [Reasoning("a", token)])])
    assert await seen_by(carrier, request, "google", "m1") == ([Reasoning("why", STATE)], [])
    parts, warnings = await seen_by(carrier, request, provider, model)
    assert (parts, warnings) == (
        [Reasoning("a")],
        [f"state of google/m1 cannot go to {provider}/{model}"],
    )


async def test_another_owner_gets_neither_turn_nor_token(carrier: Carrier) -> None:
    request = history(await kept(carrier))
    parts, warnings = await seen_by(carrier, request, "google", "m1", owner="you")
    assert parts == request.messages[1].parts
    assert warnings == ["state of an unknown source cannot go to google/m1"]
    token = carrier.seal_reasoning(Reasoning("why", STATE), HOME, "me", "anthropic")
    request = Request("any", [Message("user", []), Message("assistant", [Reasoning("a", token)])])
    assert (await seen_by(carrier, request, "google", "m1", owner="you"))[0] == [Reasoning("a")]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ('{ "a":1 }', '{"a": 1}'),  # the same value: the provider's own text
        ('{"a": 2}', '{"a": 2}'),  # the client changed it
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'),
        ("{}", "{}"),
        ("[1", "[1"),
    ],
)
async def test_arguments_that_the_client_edited_stay_edited(
    carrier: Carrier, sent: str, expected: str
) -> None:
    parts, _ = await seen_by(carrier, history(await kept(carrier), sent), "google", "m1")
    (call,) = [part for part in parts if isinstance(part, ToolCall)]
    assert call.arguments_json == expected


@pytest.mark.parametrize(
    ("offered", "new"),
    [(["t"], []), (["t", "u"], ["u"]), (["v", "t", "u"], ["v", "u"]), (["u"], ["u"])],
)
async def test_tools_that_came_after_a_turn_are_named_where_they_came(
    carrier: Carrier, offered: list[str], new: list[str]
) -> None:
    base = carrier.new_base()
    await carrier.keep("me", base, CarriedTurn(HOME, ENTRIES, ["t"]))
    request = replace(history(base), tools=[Tool(name) for name in offered])
    view, _ = (await carrier.extract(request, "me")).for_target("google", "m1")
    assert [opened_in(message) for message in view.messages] == [[], [], new]


async def test_texts_that_the_client_edited_stay_edited(carrier: Carrier) -> None:
    request = history(await kept(carrier), text="other")
    parts, _ = await seen_by(carrier, request, "google", "m1")
    assert [part.text for part in parts if isinstance(part, Text)] == ["other"]


async def test_a_token_is_opened_in_either_alphabet_and_in_no_other(carrier: Carrier) -> None:
    sealer = carrier.sealer
    token = sealer.seal("me", bytes(range(256)))
    assert sealer.open("me", token) == bytes(range(256))
    assert sealer.open("me", token.rstrip("=")) == bytes(range(256))
    url = token.replace("+", "-").replace("/", "_")
    assert url != token
    assert sealer.open("me", url) == bytes(range(256))
    for strange in ("!", "\n", " ", "한"):
        assert sealer.open("me", token[:20] + strange + token[20:]) is None
    assert sealer.open("you", token) is None


TURNS = [[ToolCall("x", "t", '{"a": 1}')], [Reasoning("hm"), ToolCall("x", "late", "{}")], []]


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_remembered_of_a_history_changes_nothing(
    carrier: Carrier, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "TAIL", 2)
    random = Random(seed)
    messages = [Message("user", [Text("go")])]
    known: dict[Any, Any] = {}
    for number in range(14):
        base = await kept(carrier) if random.random() < 0.6 else f"call_pc{number:024x}"
        call_id = f"{base}_0" if random.random() < 0.8 else f"plain{number}"
        parts: list[Part] = [Text("ok")]
        for part in random.choice(TURNS):
            parts.append(replace(part, id=call_id) if isinstance(part, ToolCall) else part)
        result = Message("tool", [ToolResult(call_id, [Text("done")])])
        answer = Message("assistant", parts)
        late = [result, answer] if random.random() < 0.1 else [answer, result]
        messages = [*messages, *(late if parts[-1] != Text("ok") else [answer])]
        if random.random() < 0.3:
            messages = [*messages, Message(random.choice(["user", "system"]), [Text("more")])]
        remembered = conversation.Conversation(messages, dict(known))
        for owner in ("me", "you"):
            held = Request("any", messages, tools=[Tool("t"), Tool("late")])
            plain = await carrier.extract(held, owner, keeps_texts=True)
            carried = await carrier.extract(
                replace(held, messages=remembered if owner == "me" else messages),
                owner,
                keeps_texts=True,
            )
            for model in ("m1", "m2"):
                assert carried.for_target("google", model) == plain.for_target("google", model)
        known = remembered.known


async def test_what_was_made_of_a_beginning_is_not_made_again(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "TAIL", 2)
    messages = [Message("user", [Text("go")])]
    known: dict[Any, Any] = {}
    results: list[list[Message]] = []  # of tools, as the provider got them
    for _ in range(8):
        base = await kept(carrier)
        turn = history(base).messages[1:]
        messages = [*messages, *turn]
        remembered = conversation.Conversation(messages, dict(known))
        carried = await carrier.extract(Request("any", remembered, tools=[Tool("t")]), "me")
        view, _ = carried.for_target("google", "m1")
        results.append([each for each in view.messages if each.role == "tool"])
        known = remembered.known
    ids = [part.call_id for each in results[-1] for part in each.parts if type(part) is ToolResult]
    assert ids == ["own-1"] * 8
    # All but the latest turns are the very messages that the request before was given.
    same = [sum(a is b for a, b in zip(*two, strict=False)) for two in pairwise(results)]
    assert same == [0, 0, 1, 2, 3, 4, 5]
