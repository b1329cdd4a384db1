"""Notes that stand among the user's messages but come from nobody: ends of background tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from polycall.sim.script import Entry, Returned, Said

_HEAD = re.compile(r"\s*[\[<]task[ :]+(\S+)[ ]*\(?([\w.-]*)\)?[^\]>]*[\]>]")
_ENTRIES: TypeAlias = "Iterable[Entry]"


def without_notes(entries: _ENTRIES) -> list[Entry]:
    """The entries, each note of a task's end as a result: nobody asked for anything with it."""
    result: list[Entry] = []
    note: Returned | None = None
    for entry in entries:
        is_users = isinstance(entry, Said) and entry.role == "user"
        head = _HEAD.match(entry.text) if isinstance(entry, Said) and is_users else None
        if isinstance(entry, Said) and head is not None:
            note = Returned(head[1], head[2] or "task", entry.text[head.end() :].strip())
            result.append(note)
        elif isinstance(entry, Said) and is_users and note is not None:
            # The rest of the same message: a wire may give each of its texts apart.
            text = f"{note.text}\n{entry.text}".strip()
            note = Returned(note.call_id, note.name, text)
            result[-1] = note
        else:
            note = None
            result.append(entry)
    return result
