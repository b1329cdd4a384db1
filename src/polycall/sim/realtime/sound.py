"""Sound of the simulation: a tone for speech, and who speaks by how loud it is."""

from __future__ import annotations

import array
import base64
import binascii
from dataclasses import dataclass
from typing import Any

_AMPLITUDE = 8000
_LOUD = 500
SILENCE_MS = 500.0


@dataclass(frozen=True)
class SoundFormat:
    """The form of sound: its kind, and samples a second."""

    kind: str = "audio/pcm"
    rate: int = 24000

    @property
    def bytes_per_ms(self) -> float:
        """Bytes of a millisecond."""
        return self.rate * (2 if self.kind == "audio/pcm" else 1) / 1000

    def tone(self, ms: float) -> bytes:
        """Something loud."""
        samples = int(self.rate * ms / 1000)
        if self.kind != "audio/pcm":
            return bytes([0x10, 0x90] * (samples // 2 + 1))[:samples]
        half = max(self.rate // 400, 1)
        wave = array.array("h", [_AMPLITUDE] * half + [-_AMPLITUDE] * half)
        return (wave.tobytes() * (samples // (2 * half) + 1))[: 2 * samples]

    def silence(self, ms: float) -> bytes:
        """Nothing to hear."""
        samples = int(self.rate * ms / 1000)
        return bytes(2 * samples) if self.kind == "audio/pcm" else b"\xff" * samples

    def is_loud(self, data: bytes) -> bool:
        """Whether it is not silence."""
        if self.kind != "audio/pcm":
            return any(byte & 0x7F < 0x5A for byte in data)
        samples = array.array("h", data[: len(data) // 2 * 2])
        return any(abs(sample) > _LOUD for sample in samples[::4])


class TurnDetector:
    """Says when speech begins, and when it has ended for half a second."""

    def __init__(self) -> None:
        self.position_ms = 0.0
        self.is_speaking = False
        self._quiet_ms = 0.0

    def feed(self, sound: SoundFormat, data: bytes) -> str:
        """ "start", "stop" or nothing."""
        ms = len(data) / sound.bytes_per_ms
        self.position_ms += ms
        if sound.is_loud(data):
            self._quiet_ms = 0.0
            if not self.is_speaking:
                self.is_speaking = True
                return "start"
        elif self.is_speaking:
            self._quiet_ms += ms
            if self._quiet_ms >= SILENCE_MS:
                self.is_speaking = False
                return "stop"
        return ""


def decoded(text: Any) -> bytes | None:
    """Sound from base64, also the kind for addresses; `None` if it is malformed."""
    if isinstance(text, str):
        text = text.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None


def encoded(data: bytes) -> str:
    """Sound as base64."""
    return base64.b64encode(data).decode("ascii")
