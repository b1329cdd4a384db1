"""A person at this machine, with a sound card that is simulated: its threads, its failures."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from polycall.errors import RequestError
from polycall.realtime import Audio, Interrupted, Microphone, Talk
from polycall.realtime.played import DevicePlayed
from polycall.sim.realtime import VoiceScript, open_link
from polycall.sim.realtime.sound import SoundFormat
from polycall.sim.script import Turn
from polycall.voices.audio import PCMU
from tests.realtime.harness import OPENAI, Socket, agent_of

LONG = "This is a long answer that takes a while to be spoken. " * 3


class PortAudioError(Exception):
    """As the library's."""


class _Stream:
    """Calls back from a thread of its own, in time."""

    open: list[_Stream] = []  # noqa: RUF012 - of the card

    def __init__(self, *, callback: Any, samplerate: int, blocksize: int, **_: Any) -> None:
        self._callback = callback
        self._s = blocksize / samplerate
        self.size = 2 * blocksize
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self.open.append(self)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        if self in self.open:
            self.open.remove(self)

    def _run(self) -> None:
        while not self._is_over.wait(self._s):
            self.once()

    def once(self) -> None:
        raise NotImplementedError


class Card(ModuleType):
    """What `sounddevice` is where there is a sound card."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        card = self
        self.says: bytes | None = None
        self.played = bytearray()

        class RawInputStream(_Stream):
            def once(self) -> None:
                said = card.says or bytes(self.size)
                self._callback(said[: self.size], self.size // 2, None, None)

        class RawOutputStream(_Stream):
            def once(self) -> None:
                out = bytearray(self.size)
                self._callback(memoryview(out), self.size // 2, None, None)
                card.played += out

        self.RawInputStream: Any = RawInputStream
        self.RawOutputStream: Any = RawOutputStream


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def talk_of(script: VoiceScript, **options: Any) -> Talk:
    async def connect(url: str, headers: dict[str, str]) -> Socket:
        link, server = open_link(url, script)
        servers.append(server)
        return Socket(link, [])

    servers: list[asyncio.Task[None]] = []
    return Talk(agent_of(), voice=OPENAI, connect=connect, **options)


@pytest.mark.slow  # in real time: a busy machine is late
@pytest.mark.parametrize("headphones", [True, False])
async def test_a_person_speaks_listens_and_interrupts(card: Card, headphones: bool) -> None:
    script = VoiceScript.of([Turn(LONG), Turn("Yes?")], heard=["Hello", "Stop"])
    loud = SoundFormat().tone(20)
    cut: list[Interrupted] = []
    async with (
        talk_of(script, played=DevicePlayed()) as talk,
        Microphone(talk, headphones=headphones) as microphone,
    ):
        async with asyncio.timeout(20):
            card.says = loud
            asyncio.get_running_loop().call_later(0.5, setattr, card, "says", None)
            began = 0.0
            async for event in talk:
                match event:
                    case Audio(data):
                        microphone.play(data)
                        if not began:
                            began = time.monotonic()
                            asyncio.get_running_loop().call_later(0.7, setattr, card, "says", loud)
                            asyncio.get_running_loop().call_later(1.8, talk.hang_up)
                    case Interrupted():
                        microphone.clear()
                        cut.append(event)
                    case _:
                        pass
    assert _Stream.open == []
    assert [thread for thread in threading.enumerate() if thread.name.startswith("Thread-")] == []
    heard = bytes(card.played).strip(b"\0")
    assert heard
    # A loudspeaker is heard by the microphone: without headphones nobody can interrupt it.
    assert len(cut) == (1 if headphones else 0)
    if headphones:
        assert 400 <= cut[0].heard_ms <= 1400


async def test_a_machine_without_a_card_is_refused_with_words(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: Any) -> Any:
        raise PortAudioError("Error querying device -1")

    card.RawOutputStream = fails
    talk = talk_of(VoiceScript.of([]), played=DevicePlayed())
    with pytest.raises(RequestError, match="no microphone and loudspeaker .* device -1"):
        async with Microphone(talk):
            pass
    assert _Stream.open == []
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(RequestError, match=r"install 'polycall\[voice\]'"):
        Microphone(talk)


def test_a_talk_that_is_not_made_for_a_microphone_is_refused(card: Card) -> None:
    with pytest.raises(RequestError, match="played=DevicePlayed"):
        Microphone(talk_of(VoiceScript.of([])))
    with pytest.raises(RequestError, match="16-bit samples"):
        Microphone(talk_of(VoiceScript.of([]), played=DevicePlayed(), sound=PCMU))
