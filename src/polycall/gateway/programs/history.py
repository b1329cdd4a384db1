"""The client's history as the model has to see it.

The client saw calls of its tools, the model wrote a program: in place of those calls and their
results stands what the model said and received.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from polycall.gateway.programs.records import Record, record_of
from polycall.ir import Message, Opaque, Part, ToolCall, Warning


def records_in(messages: Iterable[Message]) -> list[str]:
    """The records that a history names, in order."""
    found: dict[str, None] = {}
    for message in messages:
        for part in message.parts:
            if record_id := record_of(part):
                found[record_id] = None
    return list(found)


def shows_programs(messages: Iterable[Message]) -> bool:
    """Whether a history shows programs themselves, as the vendors' protocols do."""
    return any(
        isinstance(part, Opaque) and record_of(part)
        for message in messages
        for part in message.parts
    )


def as_the_model_saw(
    messages: list[Message], records: Mapping[str, Record]
) -> tuple[list[Message], list[Warning]]:
    """The history with each record in the place of what the client was shown of it.

    What comes before a record's first sign in a message belongs to it; what comes after the last
    one was said after it.  Of a record that is gone the client's calls stay, as plain ones.
    """
    seen: list[Message] = []
    reported: set[str] = set()
    gone = [name for name in records_in(messages) if name not in records]
    if gone:
        messages = [_as_plain(message, {*gone}) for message in messages]
    for message in messages:
        own: list[Part] = []
        touched = False
        for part in message.parts:
            name = record_of(part)
            if name not in records:
                own.append(part)
                continue
            touched = True
            if message.role == "assistant":
                own.clear()
            if name not in reported:
                reported.add(name)
                seen.extend(records[name].messages)
        if own or not touched:
            seen.append(message if not touched else replace(message, parts=own))
    warnings = [
        Warning(
            "dropped_state", "programs", f"{len(gone)} earlier programs are shown as plain calls"
        )
    ]
    return seen, warnings if gone else []


def _as_plain(message: Message, gone: set[str]) -> Message:
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCall) and record_of(part) in gone:
            parts.append(replace(part, caller="direct", metadata={}))
        elif not isinstance(part, Opaque) or record_of(part) not in gone:
            parts.append(part)
    return replace(message, parts=parts)
