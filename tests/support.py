"""What several test modules share: the recorded corpus, random cuts, decoding a whole stream."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import os
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.ir import Event
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.sim import Simulation
from polycall.translation.wire import Decoder

SHARED = Path(os.environ.get("POLYCALL_SHARED", Path(__file__).parents[1] / ".." / "shared"))

# A PNG of one pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhg"
    "GAWjR9awAAAABJRU5ErkJggg=="
)

CORPUS_FILES = {
    "openai-chat": "openai_chat.jsonl.gz",
    "openai-responses": "openai_responses.jsonl.gz",
    "anthropic": "anthropic_messages.jsonl.gz",
    "gemini": "gemini.jsonl.gz",
    "bedrock-converse": "bedrock_converse.jsonl",
    "gemini-interactions": "gemini_interactions.jsonl",
    "ollama-chat": "ollama_chat.jsonl",
}


@functools.cache
def corpus(dialect: str) -> list[dict[str, Any]]:
    """All recorded interactions of a dialect; skips the test where the data is absent."""
    path = SHARED / "corpus" / CORPUS_FILES[dialect]
    if not path.exists():
        pytest.skip(f"no recorded data at {path}; set POLYCALL_SHARED to where it is")
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def wire_examples(dialect: str) -> Iterator[tuple[str, Path]]:
    """The folders of hand-made wire examples of a dialect."""
    root = SHARED / "wire_examples" / dialect.replace("-", "_")
    if not root.exists():
        pytest.skip(f"no wire examples at {root}; set POLYCALL_SHARED to where they are")
    for folder in sorted(root.iterdir()):
        yield folder.name, folder


def cut(data: bytes, *, seed: int, pieces: int = 12) -> list[bytes]:
    """The bytes in pieces, cut at random places, the same for the same seed."""
    places = sorted(random.Random(seed).choices(range(len(data) + 1), k=pieces))
    edges = [0, *places, len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def decode(decoder: Decoder, pieces: list[bytes]) -> list[Event]:
    """All events of a stream; raises what the decoder's `close` raises."""
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.close()]


def simulated(simulation: Simulation, vendor: str, **more: Any) -> Provider:
    """The provider that asks a simulated vendor, as the catalogue describes that."""
    row = CATALOGUE.get(vendor, CATALOGUE["arouter"])
    return replace(row, name=vendor, base_url=simulation.base_url(vendor), **more)


def peak(work: Callable[[], object]) -> int:
    """The most bytes that the work held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
