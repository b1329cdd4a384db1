"""What a client sends back to programs, and what it makes up.

A call is taken only where its id and its program are ones that this gateway gave to this key.
"""

from __future__ import annotations

import time

from polycall.errors import InvalidRequestError, MalformedRequestError
from polycall.gateway.programs.records import Record, read_id
from polycall.ir import Message, ToolResult


def check_calls(messages: list[Message], found: dict[str, Record]) -> None:
    """Raise for calls and callers that were made up, are another key's, or have expired."""
    answered = answered_now(messages)
    for message in messages:
        for call in message.tool_calls:
            own = read_id(call.id)
            is_now = call.id in answered
            if own is not None and is_now:
                _check_alive(found.get(own[0]), call.id)
            if call.caller == "direct":
                continue
            program = read_id(call.caller)
            is_foreign = own is None and program is None and not is_now
            if not is_foreign and (own is None or program is None or own[0] != program[0]):
                raise MalformedRequestError(
                    f"the call {call.id!r} was not made by a program {call.caller!r}",
                    path="messages",
                )


def answers_to(messages: list[Message], name: str, record: Record) -> dict[str, ToolResult]:
    """The results for the calls that a record waits for, by the calls' own ids.

    Empty where all that came was given before: then the client did not get our answer to it.
    """
    results: dict[int, ToolResult] = {}
    for message in messages:
        for part in message.parts:
            own = read_id(part.call_id) if isinstance(part, ToolResult) else None
            if own is not None and own[0] == name and own[1] is not None:
                assert isinstance(part, ToolResult)
                if own[1] in results:
                    raise InvalidRequestError(f"there are two results for {part.call_id!r}")
                results[own[1]] = part
    last = max(wait.number for wait in record.waits)
    unknown = [number for number in results if not 1 <= number <= last]
    if unknown:
        raise InvalidRequestError(f"the program made no call number {unknown[0]}")
    given = {wait.call_id: results[wait.number] for wait in record.waits if wait.number in results}
    missing = [wait.number for wait in record.waits if wait.number not in results]
    is_repeated = bool(results) and not given
    if missing and not is_repeated:
        raise InvalidRequestError(
            f"{len(missing)} calls of the program have no result, the first of them is number "
            f"{missing[0]}; give all results in one request"
        )
    return given


def _check_alive(record: Record | None, shown: str) -> None:
    if record is None:
        raise InvalidRequestError(
            f"no program waits for {shown!r}: the id is not one that this gateway gave to this key"
        )
    if record.waits and record.expires < time.time():
        raise InvalidRequestError(
            f"the program that waited for {shown!r} has expired; ask again from before its call"
        )


def answered_now(messages: list[Message]) -> set[str]:
    """The ids of the calls whose results came with this request: those after the last answer."""
    found: set[str] = set()
    for message in reversed(messages):
        if message.role == "assistant":
            break
        found |= {part.call_id for part in message.parts if isinstance(part, ToolResult)}
    return found
