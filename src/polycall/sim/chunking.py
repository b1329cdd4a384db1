"""The cuts of answers: text into fragments, bytes into writes.  Seeded, so a run repeats."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

_FRAGMENT_LENGTH_MAX = 14


def fragments(text: str, seed: int) -> list[str]:
    """The text in short pieces of varying length; no piece for no text."""
    # Not for secrets: the same seed must give the same pieces.
    random_source = random.Random(f"{seed}:{len(text)}")  # noqa: S311
    result: list[str] = []
    position = 0
    # Long answers get long pieces, so that no stream has more than some hundred events.
    length_max = max(_FRAGMENT_LENGTH_MAX, len(text) // 40)
    while position < len(text):
        end = position + random_source.randint(1, length_max)
        result.append(text[position:end])
        position = end
    return result


def cut_frames(frames: Iterable[bytes], seed: int) -> Iterator[bytes]:
    """The frames as a network gives them: several at once, or ending in mid-character."""
    random_source = random.Random(seed)  # noqa: S311
    held = b""
    for frame in frames:
        held += frame
        wide = next((place for place, byte in enumerate(held) if byte >= 0xC0), -1)
        if wide >= 0:
            yield held[: wide + 1]
            held = held[wide + 1 :]
        elif random_source.random() < 0.7:
            place = random_source.randint(1, len(held))
            yield held[:place]
            held = held[place:]
    if held:
        yield held


def encode_sse(data: bytes, event: str = "") -> bytes:
    """One server-sent event on one line of data."""
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + data + b"\n\n"
