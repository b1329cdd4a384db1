"""Whole sessions as values: read from JSON, and cut for a branch."""

from __future__ import annotations

import itertools

import msgspec
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.agents.sessions.store import ExportedSession
from polycall.errors import RequestError


def branched(session: ExportedSession, new_id: str, at: int | None) -> ExportedSession:
    """What a branch begins with; `RequestError` where no turn ended there."""
    turns = [state for state in session.turns if at is None or state.count <= at]
    if not turns or at not in (None, turns[-1].count):
        ends = ", ".join(str(state.count) for state in session.turns)
        raise RequestError(
            f"no turn of the session {session.id!r} ended after {at!r} messages; turns ended "
            f"after {ends}"
        )
    return _named(replace(session, turns=turns), new_id, session.user)


def imported(text: str | bytes, session_id: str, user: str) -> ExportedSession:
    """An exported session, under another id or user where they are given."""
    try:
        session = msgspec.convert(jsontext.decode(text), ExportedSession)
    except (ValueError, msgspec.ValidationError) as error:
        raise RequestError(f"this is not an exported session: {error}") from None
    counts = [0, *(state.count for state in session.turns)]
    rises = all(before <= after for before, after in itertools.pairwise(counts))
    fits = rises and all(0 <= state.gone <= state.count for state in session.turns)
    if not session.id or not session.turns or not fits or counts[-1] != len(session.messages):
        raise RequestError(
            f"this is not an exported session: it has {len(session.messages)} messages, and turns "
            f"that ended after {counts[1:]}"
        )
    return _named(session, session_id or session.id, user or session.user)


def _named(session: ExportedSession, new_id: str, user: str) -> ExportedSession:
    """The session under an id; under another one it does not wait for runs of the first."""
    turns = session.turns
    if new_id != session.id:
        turns = [replace(state, paused={}) for state in turns]
    messages = session.messages[: turns[-1].count]
    return replace(session, id=new_id, user=user, turns=turns, messages=messages)
