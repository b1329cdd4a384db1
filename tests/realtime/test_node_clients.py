"""Stock Node clients against simulated voices, and OpenAI's telephone beside ours."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import Agent, Client, tool
from polycall.providers.catalogue import CATALOGUE
from polycall.realtime import Telephone
from polycall.realtime.telephone.server import TelephoneServer
from polycall.sim.realtime import SoundFormat, VoiceScript, VoiceSimulation
from polycall.sim.realtime.link import Link
from polycall.sim.realtime.record import Frame
from polycall.sim.script import Call, Turn
from polycall.sim.telephone import Caller, WebLine
from polycall.sim.telephone.caller import PhoneRecord
from tests.packages import from_npm

pytestmark = pytest.mark.slow

PACKAGES = ["@openai/agents-realtime", "@openai/agents-extensions", "@openai/agents"]
PACKAGES += ["@google/genai@3", "ws", "zod"]
SCRIPT = Path(__file__).with_name("node") / "voices.mjs"
LONG = "This is a long answer that takes a while to be spoken to its very end. " * 3
MULAW = SoundFormat("audio/pcmu", 8000)
PUBLIC = "https://bell.example.com"


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Path:
    """A folder with the packages, kept between runs; the tests skip where there is no npm."""
    folder = from_npm(request, "node-voices", *PACKAGES, has="@openai/agents-extensions")
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    return folder


@contextmanager
def running(node: Path, kind: str, url: str) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["node", SCRIPT.name, kind, url], cwd=node, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    output, _ = process.communicate(timeout=60)
    return [json.loads(line) for line in output.splitlines()]


def turns() -> list[Turn]:
    return [Turn("One moment.", calls=[Call("weather")]), Turn(LONG), Turn("Yes?")]


def test_openai_agents_realtime_talks_in_node(node: Path) -> None:
    with VoiceSimulation() as sim:
        script = sim.talk("gpt-realtime-2.1", turns(), heard=["Hello", "Stop"])
        url = f"ws{sim.base_url('openai').removeprefix('http')}/realtime?model=gpt-realtime-2.1"
        with running(node, "agents", url) as process:
            events = [line["event"] for line in lines(process)]
    assert [event for event in events if event != "error"] == ["call", "interrupted"]
    assert script.record.answers


def test_google_genai_talks_in_node(node: Path) -> None:
    with VoiceSimulation() as sim:
        script = sim.talk("", turns(), heard=["Hello", "Stop"])
        with running(node, "genai", sim.base_url("google")) as process:
            events = [line["event"] for line in lines(process)]
    assert events == ["call", "interrupted"]
    assert script.record.answers
    assert script.record.refusals == []


class _KeptLink:
    """A link that keeps what came."""

    def __init__(self, inner: Link, came: list[Frame]) -> None:
        self._inner = inner
        self._came = came

    async def send(self, frame: Frame) -> None:
        await self._inner.send(frame)

    async def receive(self) -> Frame:
        self._came.append(await self._inner.receive())
        return self._came[-1]

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._inner.close(code, reason)


class _KeptLine(WebLine):
    def __init__(self, at: str) -> None:
        super().__init__(at)
        self.came: list[Frame] = []

    async def connect(self, url: str, headers: dict[str, str]) -> Link:
        return _KeptLink(await super().connect(url, headers), self.came)


@tool
async def hours(day: str = "") -> str:
    """The opening hours."""
    return "from 12 to 23"


def story(sim: VoiceSimulation) -> VoiceScript:
    told = [Turn("Let me see.", calls=[Call("hours")]), Turn("From 12 to 23."), Turn(LONG)]
    return sim.talk("gpt-realtime-2.1", told, heard=["When?", "Tell me.", "Stop."])


async def called(port: int) -> tuple[PhoneRecord, list[Any]]:
    """The same call to each: a question, and a story that is interrupted."""
    line = _KeptLine(f"127.0.0.1:{port}")
    caller = Caller(line, voice_url=f"{PUBLIC}/voice", auth_token="12345")
    caller.pause(1).say(MULAW.tone(800)).pause(5).say(MULAW.tone(600))
    caller.wait_for_speech(1500).say(MULAW.tone(600)).pause(2).hang_up()
    record = await caller.call()
    await line.close()
    return record, [json.loads(frame) for frame in line.came]


def shapes(frames: list[Any]) -> set[str]:
    """Each kind of message, with the names and types of its fields."""

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            fields: dict[str, Any] = value
            return {key: shape(each) for key, each in sorted(fields.items())}
        return type(value).__name__

    return {f"{frame['event']}: {shape(frame)}" for frame in frames}


def sizes(frames: list[Any]) -> list[int]:
    """The sizes of sound that are most frequent, in bytes."""
    media = [frame["media"]["payload"] for frame in frames if frame["event"] == "media"]
    counted = Counter(len(base64.b64decode(payload)) for payload in media)
    return [size for size, _ in counted.most_common(1)]


def error_ms(record: PhoneRecord, script: VoiceScript) -> float:
    """How far what the voice is told was heard is from what was, of the item that was cut off."""
    item_id, told_ms = script.record.truncations[-1]
    lengths = script.record.lengths
    before_ms = sum(lengths[each] for each in list(lengths)[: list(lengths).index(item_id)])
    return abs(record.cleared[-1][1] - before_ms - told_ms)


async def test_ours_differs_from_openais_telephone_in_nothing_but_care(node: Path) -> None:
    """The same kinds of messages to Twilio, in the same shapes and sizes."""
    with VoiceSimulation() as sim:
        script = story(sim)
        url = f"ws{sim.base_url('openai').removeprefix('http')}/realtime?model=gpt-realtime-2.1"
        with running(node, "twilio", url) as process:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            record, theirs = await called(port)
        their_error_ms = error_ms(record, script)
        assert record.wrong_frames == []
        script = story(sim)
        provider = replace(CATALOGUE["openai"], base_url=sim.base_url("openai"))
        async with Client(providers=[provider], keys={"openai": "any"}) as client:
            agent = Agent("openai/gpt-5.4", instructions="Be brief.", tools=[hours], client=client)
            phone = Telephone(
                agent, voice="openai/gpt-realtime-2.1", public_url=PUBLIC, auth_token="12345"
            )
            async with TelephoneServer(phone, port=0) as server:
                record, ours = await called(server.port)
                await phone.drain(2.0)
        assert record.wrong_frames == []
    assert shapes(ours) == shapes(theirs)
    assert sizes(ours) == sizes(theirs)
    our_error_ms = error_ms(record, script)
    print(f"told and heard differ by {our_error_ms:.0f} ms, theirs by {their_error_ms:.0f} ms")
    assert our_error_ms <= 60
