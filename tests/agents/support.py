"""What the tests of agents share: simulated providers, scripts, and histories as bare values."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from polycall import Client
from polycall.ir import Message, Reasoning, Text, ToolCall, ToolResult
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import VENDORS, Simulation, Turn

PROVIDERS = VENDORS
# The compatible server knows JSON, and no schemas for it.
_COMPATIBLE = replace(CATALOGUE["arouter"].quirks, response_formats=frozenset({"json"}))


def client_of(simulation: Simulation) -> Client:
    """A client whose providers are all simulated."""
    other = replace(CATALOGUE["arouter"], name="compatible", quirks=_COMPATIBLE)
    rows = [
        replace(CATALOGUE.get(name, other), base_url=simulation.base_url(name))
        for name in PROVIDERS
    ]
    return Client(providers=rows, keys=dict.fromkeys(PROVIDERS, "any-key"))


def play(simulation: Simulation, vendor: str, *turns: Turn, model: str = "scripted") -> str:
    """A scripted model; its name as requests say it."""
    simulation.script(vendor, model, list(turns))
    return f"{vendor}/{model}"


def bare(messages: list[Message]) -> list[Message]:
    """The messages without what a provider adds: metadata, reasoning, and ids of its own."""
    ids: dict[str, str] = {}
    bared: list[Message] = []
    for message in messages:
        parts = []
        for part in message.parts:
            match part:
                case ToolCall():
                    ids.setdefault(part.id, f"call_{len(ids) + 1}")
                    parts.append(
                        ToolCall(ids[part.id], part.name, part.arguments_json.replace('": ', '":'))
                    )
                case ToolResult():
                    texts = [Text(part.text)]
                    parts.append(
                        ToolResult(ids[part.call_id], texts, part.is_error, name=part.name)
                    )
                case Reasoning():
                    pass
                case Text():
                    parts.append(Text(part.text))
                case _:
                    parts.append(part)
        bared.append(Message(message.role, parts))
    return bared


def said(role: str, *parts: str | ToolCall | ToolResult) -> Message:
    """A message, written shortly."""
    made = [Text(part) if isinstance(part, str) else part for part in parts]
    return Message(role, made)


def _threads() -> set[threading.Thread]:
    # An event loop keeps threads of its own, to look names of hosts up.
    return {each for each in threading.enumerate() if not each.name.startswith("asyncio_")}


@contextmanager
def nothing_left() -> Iterator[None]:
    """Checks that the block leaves no task and no thread behind."""
    tasks, threads = asyncio.all_tasks(), _threads()
    yield
    assert [task for task in asyncio.all_tasks() - tasks if not task.done()] == []
    for thread in _threads() - threads:
        thread.join(2)
    assert _threads() <= threads
