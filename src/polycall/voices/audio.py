"""Formats of sound, without any library: lengths, μ-law by table, loudness, WAV files."""

from __future__ import annotations

import array
import functools
import importlib
import sys
import wave
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from polycall.errors import RequestError

Encoding: TypeAlias = Literal["pcm16", "pcmu", "pcma"]

# A sample beyond this is speech and no noise of the line: -36 dB below full scale.
LOUD = 500
_BIAS = 0x84
_CLIP = 32635


class AudioFormat(Struct, frozen=True):
    """One channel of sound: 16-bit little-endian samples, or a byte each by G.711."""

    encoding: Encoding = "pcm16"
    rate_hz: int = 24000

    @property
    def bytes_per_ms(self) -> float:
        """The number of bytes in a millisecond."""
        return self.rate_hz * (2 if self.encoding == "pcm16" else 1) / 1000

    def ms(self, size_bytes: int) -> float:
        """The duration of so many bytes, in milliseconds."""
        return size_bytes / self.bytes_per_ms

    def silence(self, ms: float) -> bytes:
        """So many milliseconds in which nothing is heard."""
        samples = round(self.rate_hz * ms / 1000)
        match self.encoding:
            case "pcm16":
                return bytes(2 * samples)
            case "pcmu":
                return b"\xff" * samples
            case "pcma":
                return b"\xd5" * samples

    def is_loud(self, data: bytes) -> bool:
        """Whether somebody seems to speak; every eighth sample is looked at."""
        match self.encoding:
            case "pcm16":
                samples = _samples(data[: len(data) // 2 * 2])[::8]
                return bool(samples) and (max(samples) > LOUD or min(samples) < -LOUD)
            case "pcmu":
                return any(byte & 0x7F < 0x5A for byte in data[::8])
            case "pcma":
                return any((byte ^ 0x55) & 0x7F > 0x20 for byte in data[::8])


PCM24 = AudioFormat("pcm16", 24000)
PCM16 = AudioFormat("pcm16", 16000)
PCMU = AudioFormat("pcmu", 8000)
PCMA = AudioFormat("pcma", 8000)


def decode_mulaw(data: bytes) -> bytes:
    """μ-law as 16-bit samples."""
    low, high = _mulaw_tables()
    out = bytearray(2 * len(data))
    out[0::2] = data.translate(low)
    out[1::2] = data.translate(high)
    return bytes(out)


def encode_mulaw(data: bytes) -> bytes:
    """16-bit samples as μ-law."""
    table = _mulaw_codes()
    return bytes([table[sample + 32768] for sample in _samples(data[: len(data) // 2 * 2])])


class Resampler:
    """Sound of one rate as sound of another, as it comes; `flush` gives what is held back.

    Needs `polycall[voice]` where the rates differ.  The quality settings hold the least sound
    back that still keeps noise out: 12 ms downwards, below 1 ms upwards.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._source = source
        self._target = target
        self._stream: Any = None
        self._numpy: Any = None
        if source.rate_hz != target.rate_hz:
            try:
                self._numpy = importlib.import_module("numpy")
                soxr: Any = importlib.import_module("soxr")
            except ModuleNotFoundError as error:
                raise RequestError(
                    f"sound of {source.rate_hz} Hz must be made into {target.rate_hz} Hz, which "
                    f"needs {error.name!r}; install 'polycall[voice]'"
                ) from None
            quality = "QQ" if target.rate_hz > source.rate_hz else "LQ"
            self._stream = soxr.ResampleStream(
                source.rate_hz, target.rate_hz, 1, dtype="int16", quality=quality
            )

    def feed(self, data: bytes) -> bytes:
        """The sound in the other format, as far as it is known."""
        return self._made(data, last=False)

    def flush(self) -> bytes:
        """Return the bytes that were held back."""
        return self._made(b"", last=True)

    def _made(self, data: bytes, *, last: bool) -> bytes:
        if self._source == self._target:
            return data
        pcm = decode_mulaw(data) if self._source.encoding == "pcmu" else data
        if self._stream is not None:
            samples = self._numpy.frombuffer(pcm, dtype="<i2")
            pcm = self._stream.resample_chunk(samples, last=last).astype("<i2").tobytes()
        return encode_mulaw(pcm) if self._target.encoding == "pcmu" else pcm


def read_wav(path: Path) -> tuple[bytes, AudioFormat]:
    """The samples of a WAV file, the first channel of them, and their format.

    Raises `RequestError` where the file is no WAV of 16-bit samples.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise RequestError(f"{path} cannot be read as WAV: {error}") from None
    if width != 2:
        raise RequestError(f"{path} has samples of {8 * width} bits; 16 bits are read")
    samples = _samples(data)
    return _bytes(samples[::channels]), AudioFormat("pcm16", rate)


def write_wav(path: Path, data: bytes, sound: AudioFormat) -> None:
    """Write 16-bit samples, or μ-law as such, to a WAV file."""
    pcm = decode_mulaw(data) if sound.encoding == "pcmu" else data
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate_hz)
        file.writeframes(pcm)


def _samples(data: bytes) -> array.array[int]:
    samples = array.array("h")
    samples.frombytes(data)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _bytes(samples: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        samples = array.array("h", samples)
        samples.byteswap()
    return samples.tobytes()


def _mulaw_sample(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS) << ((code & 0x70) >> 4)
    return _BIAS - magnitude if code & 0x80 else magnitude - _BIAS


@functools.cache
def _mulaw_tables() -> tuple[bytes, bytes]:
    words = [_mulaw_sample(code) & 0xFFFF for code in range(256)]
    return bytes(word & 0xFF for word in words), bytes(word >> 8 for word in words)


@functools.cache
def _mulaw_codes() -> bytes:
    """The μ-law code of every 16-bit sample, from -32768 up (G.711)."""
    codes = bytearray(65536)
    for sample in range(-32768, 32768):
        sign = 0x80 if sample < 0 else 0
        magnitude = min(abs(sample), _CLIP) + _BIAS
        exponent = max(magnitude.bit_length() - 8, 0)
        mantissa = (magnitude >> (exponent + 3)) & 0x0F
        codes[sample + 32768] = ~(sign | (exponent << 4) | mantissa) & 0xFF
    return bytes(codes)
