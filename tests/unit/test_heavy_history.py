"""What a client sends again costs about its bytes, however many pieces it is in."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from polycall.gateway.state.carried import CarriedRequest, CarriedTurn, Entry, Origin
from polycall.ir import Media, Message, Part, Reasoning, Request, Text, ToolCall
from polycall.translation.conversation import Conversation
from polycall.translation.media_bytes import mended
from polycall.transport.proxies import Proxies

BASE = "call_pc" + "0" * 24
HOME = Origin("anthropic", "up", "m")


def restored(parts: list[Part], entries: list[Entry]) -> list[Part]:
    messages = [Message("user", [Text("x")]), Message("assistant", parts)]
    turns = {BASE: CarriedTurn(HOME, entries)}
    carried = CarriedRequest(Request("m", messages), {}, turns)
    return carried.for_target("up", "m")[0].messages[1].parts


def test_s16_a_kept_turn_is_put_back_in_one_pass() -> None:
    call = ToolCall(f"{BASE}_0", "f")
    words = [f"{n:06}" + "x" * 200 for n in range(20_000)]
    entries = [Entry("reasoning", "r", {"anthropic": {"signature": "s"}})]
    entries += [Entry("text", size=len(each)) for each in words]
    began = time.process_time()
    parts = restored([Text("".join(words)), call], [*entries, Entry("call", id="t1")])
    assert parts[0] == Reasoning("r", {"anthropic": {"signature": "s"}})
    assert parts[1:-1] == [Text(each) for each in words]
    calls = [ToolCall(f"{BASE}_{n}", "f") for n in range(9_999)]
    own = restored([*calls, *calls[:2]], [Entry("call", id=f"t{n}") for n in range(9_999)])
    assert [part.id for part in own if isinstance(part, ToolCall)] == [
        f"t{n}" for n in range(9_999)
    ]
    assert time.process_time() - began < 1.5


def test_s16_few_views_of_a_conversation_are_remembered() -> None:
    messages = Conversation[Message]([Message("user", [Text("x")])], {})
    for n in range(20):
        messages += [
            Message("assistant", [ToolCall(f"{BASE}_{n}", "f")]),
            Message("user", [Text("y")]),
        ]
    carried = CarriedRequest(
        Request("m", messages), {}, {BASE: CarriedTurn(HOME, [Entry("call", id="t")])}
    )
    for n in range(100):
        carried.for_target("up", f"m{n}")
    assert 1 <= len(messages.known) <= 8


def test_s16_base64_in_many_pieces_takes_no_more_room() -> None:
    media = Media("image", "image/png", data="aa " * 300_000)
    tracemalloc.start()
    assert mended(media)[1]
    held_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held_bytes < 4_000_000


def test_s16_hosts_that_clients_name_are_not_remembered_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    proxies = Proxies()
    for n in range(2_500):
        assert proxies.of("https", f"h{n}.test") == "http://127.0.0.1:9"
    assert len(proxies._known) <= 1_000  # pyright: ignore[reportPrivateUsage]
