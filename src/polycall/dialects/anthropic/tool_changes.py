"""Tools that are withdrawn or added while a conversation continues, said where it happens.

Another list of tools is another beginning, which costs the cache and, on models that check their
prefix, the thinking.  The vendor takes changes as blocks of a system message after the user's turn.
They have to stand there in every later request, so the thinking of the answer notes those that were
made for it (`CHANGED`, in its metadata).

Read 2026-11-29:
https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from polycall.dialects.anthropic.binding import CHANGED
from polycall.dialects.anthropic.names import NAME
from polycall.ir import JSON, Message, Reasoning

BETA = "mid-conversation-tool-changes-2026-07-01"
_KINDS = {"removed": "tool_removal", "added": "tool_addition"}


class ToolChanges:
    """The tools withdrawn and added in the turns of one request."""

    def __init__(self, names: Callable[[], set[str]], *, appends: bool) -> None:
        """`names` gives the tools of the request, as the wire names them.

        `appends`: the model takes changes of tools after the beginning.
        """
        self.appends = appends
        self.is_said = False  # whether any block was written
        self._names = names
        self.withdrawn: set[str] = set()

    def begin(self, withdrawn: Iterable[str]) -> None:
        """These were withdrawn before the first of the messages."""
        self.withdrawn.update(withdrawn)

    def replay(self, wire: list[JSON], turn: Iterable[Message]) -> None:
        """Say again what was said before this turn of the model's."""
        if not self.appends:
            return
        noted = next(filter(None, map(_noted, turn)), None)
        if noted is not None:
            known = self._names()
            kept = {key: [n for n in noted.get(key, []) if n in known] for key in _KINDS}
            self._say(wire, kept)

    def add(self, wire: list[JSON], names: list[str]) -> None:
        """Tools that came with the user's turn that was just written."""
        self._say(wire, {"added": names})

    def withdraw(self, wire: list[JSON], withdrawn: set[str]) -> JSON:
        """Have these withdrawn for the answer that comes now, and no others; gives the note."""
        changes: JSON = {
            "removed": sorted(withdrawn - self.withdrawn),
            "added": sorted(self.withdrawn - withdrawn),
        }
        self._say(wire, changes)
        return {key: names for key, names in changes.items() if names}

    def _say(self, wire: list[JSON], changes: JSON) -> None:
        blocks: list[JSON] = [
            {"type": kind, "tool": {"type": "tool_reference", "name": name}}
            for key, kind in _KINDS.items()
            for name in changes.get(key, [])
        ]
        if not blocks or not wire or wire[-1]["role"] == "assistant":
            return
        wire.append({"role": "system", "content": blocks})
        self.is_said = True
        self.withdrawn |= set(changes.get("removed", []))
        self.withdrawn -= set(changes.get("added", []))


def _noted(message: Message) -> JSON | None:
    for part in message.parts:
        if isinstance(part, Reasoning) and (noted := part.metadata.get(NAME, {}).get(CHANGED)):
            return noted
    return None
