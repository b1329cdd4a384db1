"""A person at this machine: the microphone is listened to, the loudspeaker says what is said.

Needs `polycall[voice]` and a sound card.  A loudspeaker is heard by the microphone, so this is half
duplex unless the person wears headphones.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import Any

from polycall.errors import RequestError
from polycall.realtime.played import DevicePlayed
from polycall.realtime.talk import Talk
from polycall.voices.audio import AudioFormat

_PIECE_MS = 20
_QUEUED_MS_MAX = 600_000.0


class Microphone:
    """Sound of a talk at this machine, while the `async with` lasts.

    Give `Audio` events to `play` and `Interrupted` ones to `clear`.  The talk is to be made with
    `played=DevicePlayed()`, so that it knows what the loudspeaker has played.  Without
    `headphones` nothing is listened to while the loudspeaker plays.
    """

    def __init__(self, talk: Talk, *, headphones: bool = False) -> None:
        played = talk.played if talk.is_timed else None
        if not isinstance(played, DevicePlayed):
            raise RequestError("make a talk for a microphone with played=DevicePlayed()")
        if {talk.sound_in.encoding, talk.sound_out.encoding} != {"pcm16"}:
            raise RequestError("a microphone has 16-bit samples; make the talk without sound=")
        try:
            self._device: Any = importlib.import_module("sounddevice")
        except (ImportError, OSError) as error:
            raise RequestError(
                f"the microphone cannot be used ({error}); install 'polycall[voice]' and PortAudio"
            ) from None
        self._talk = talk
        self._played = played
        self._headphones = headphones
        self._queue = bytearray()
        self._lock = threading.Lock()  # the loudspeaker has a thread of its own
        self._streams: list[Any] = []

    async def __aenter__(self) -> Microphone:
        loop = asyncio.get_running_loop()

        def options(sound: AudioFormat) -> dict[str, Any]:
            size = sound.rate_hz * _PIECE_MS // 1000
            shape = {"samplerate": sound.rate_hz, "blocksize": size}
            return {**shape, "channels": 1, "dtype": "int16"}

        def heard(data: Any, *_: Any) -> None:
            loop.call_soon_threadsafe(self._heard, bytes(data))

        def wanted(out: Any, *_: Any) -> None:
            out[:] = self._next(len(out))

        self._loop = loop
        makers = [
            (self._device.RawInputStream, heard, self._talk.sound_in),
            (self._device.RawOutputStream, wanted, self._talk.sound_out),
        ]
        try:
            for make, callback, sound in makers:
                self._streams.append(make(callback=callback, **options(sound)))
            for stream in self._streams:
                stream.start()
        except self._device.PortAudioError as error:
            self._close()
            raise RequestError(f"no microphone and loudspeaker can be used: {error}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        while self._streams:
            stream = self._streams.pop()
            stream.stop()
            stream.close()

    def play(self, data: bytes) -> None:
        """Play sound after what is queued."""
        with self._lock:
            if self._talk.sound_out.ms(len(self._queue)) < _QUEUED_MS_MAX:
                self._queue += data

    def clear(self) -> None:
        """Forget what is queued."""
        with self._lock:
            self._queue.clear()

    def _heard(self, data: bytes) -> None:
        is_open = self._headphones or not self._queue
        self._talk.listen(data if is_open else self._talk.sound_in.silence(_PIECE_MS))

    def _next(self, size: int) -> bytes:
        """The next sound for the loudspeaker, filled up with silence; called by its thread."""
        with self._lock:
            out = bytes(self._queue[:size])
            del self._queue[:size]
        if out:
            ms = self._talk.sound_out.ms(len(out))
            self._loop.call_soon_threadsafe(self._played.played, ms)
        return out + bytes(size - len(out))
