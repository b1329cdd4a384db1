"""What takes long is done away from the loop, whichever way it comes: seen by threads, not time."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bench import answer_doors
from bench.answer_doors import AnswerDoor
from bench.door_upstream import Upstream

from polycall._support.json_weight import LONG_BYTES
from polycall.exchange import AnswerDecoder
from polycall.gateway.app import Gateway
from polycall.gateway.passthrough import mended_stream
from polycall.gateway.passthrough.stream import Observer
from polycall.gateway.processes.heavy_work import HeavyWork
from tests.edge.test_doors import serving

EVENT_BYTES = 3 * LONG_BYTES
STREAMED = {
    "chat": ("0.id", "0.choices.0.delta.content", "3.usage.other"),
    "anthropic": ("0.message.id", "0.message.usage.other", "2.delta.text", "11.usage.other"),
    "responses": ("0.response.instructions", "2.delta", "10.response.instructions"),
    "gemini": ("0.responseId", "0.candidates.0.content.parts.0.text"),
    "ollama": ("0.message.content", "3.other"),
    "interactions": ("2.delta.text", "11.interaction.other"),
}
REFUSED = {"0.id", "0.message.id", "0.responseId"}  # no id is so long
DIALECTS = {
    "chat": "openai-chat",
    "anthropic": "anthropic",
    "responses": "openai-responses",
    "gemini": "gemini",
    "ollama": "ollama-chat",
    "interactions": "gemini-interactions",
}
CASES = [
    f"{wire} stream, {field}: a long text, {kind}"
    for wire, fields in STREAMED.items()
    for field in fields
    for kind in ("passed", "translated")
]


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> dict[str, AnswerDoor]:
    monkeypatch.setattr(answer_doors, "EVENT_BYTES", EVENT_BYTES)
    return {each.name: each for each in answer_doors.answer_doors()}


class Reads(NamedTuple):
    """How many bytes of an event were read at once, by the loop's own thread and by others."""

    on_loop: list[int]
    elsewhere: list[int]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    found = Reads([], [])
    loop = threading.current_thread()

    def note(owner: type, name: str, held: str) -> None:
        inner = vars(owner)[name]

        def feed(self: Any, chunk: bytes) -> Any:
            is_on_loop = threading.current_thread() is loop
            place = found.on_loop if is_on_loop else found.elsewhere
            place.append(getattr(self, held) + len(chunk))
            return inner(self, chunk)

        monkeypatch.setattr(owner, name, feed)

    note(Observer, "_look_at", "held_bytes")
    note(Observer, "feed", "held_bytes")
    note(mended_stream._Translation, "feed", "held_bytes")  # pyright: ignore[reportPrivateUsage]
    note(AnswerDecoder, "feed", "held_bytes")
    return found


async def stream(served: Gateway, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """The status, and all that is sent for a request, whatever it is."""
    sent: list[Any] = []
    is_read = False

    async def receive() -> dict[str, Any]:
        nonlocal is_read
        if is_read:
            await asyncio.sleep(60)
        is_read = True
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    where, _, query = path.partition("?")
    scope = {"type": "http", "method": "POST", "path": where, "query_string": query.encode()}
    await served({**scope, "headers": []}, receive, send)
    return sent[0]["status"], b"".join(each["body"] for each in sent[1:])


@pytest.mark.parametrize("case", CASES)
async def test_a20_a_long_event_is_read_in_a_thread(
    tmp_path: Path,
    case: str,
    upstream: Upstream,
    doors: dict[str, AnswerDoor],
    reads: Reads,
) -> None:
    door, wire = doors[case], case.split()[0]
    answer = door.answer()
    upstream.answers["m"] = lambda: answer
    root = upstream.url.removesuffix("/v1") if wire == "anthropic" else upstream.url
    config = (
        f'[server]\nattempts = 1\n[providers.p]\ndialect = "{DIALECTS[wire]}"\n'
        f'base_url = "{root}"\napi_key = "sk-aaaaaaaa"\n'
    )
    body = {name: "p/m" if value == "{}" else value for name, value in door.body.items()}
    async with serving(tmp_path, config) as served:
        status, data = await stream(served, door.path.format("p/m"), body)
    field = case.split()[2].removesuffix(":")
    assert status == (502 if field in REFUSED else 200), data[:300]
    if "delta" in case:
        assert len(data) > EVENT_BYTES
    assert max(reads.elsewhere, default=0) >= EVENT_BYTES
    assert max(reads.on_loop, default=0) <= LONG_BYTES


async def test_a20_work_of_a_client_who_left_ends_before_its_next_begins() -> None:
    heavy = HeavyWork()
    under_way, most = 0, 0
    begun = threading.Event()

    def work() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        begun.set()
        time.sleep(0.1)
        under_way -= 1

    first = asyncio.create_task(heavy.run("a", LONG_BYTES, work))
    await asyncio.to_thread(begun.wait)
    first.cancel()
    await asyncio.sleep(0)
    first.cancel()  # once more, by a deadline
    await asyncio.wait([first])
    assert under_way == 0
    await heavy.run("a", LONG_BYTES, work)
    assert most == 1
    assert first.cancelled()
    heavy.close()
