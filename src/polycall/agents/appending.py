"""Changes to a conversation's beginning, appended at its end: the beginning stays as it was.

Some models refuse their own reasoning once `system`, the tools or an earlier message are others
than when it was made, and every vendor's cache begins anew there.  So instructions that have
changed, and what memory adds, become system messages at the end; and the results of a step name
the tools that it has opened (`ir.ToolResult.metadata["polycall"]["opened"]`), from which a dialect
makes the vendor's own way of adding tools.
"""

from __future__ import annotations

import re

from polycall.ir import Message, Text, Tool
from polycall.translation.opened import opened_in, with_opened

_CHANGED = "From here on, these instructions hold instead of the earlier ones:\n\n"
_BACK = "From here on, the instructions at the beginning of this conversation hold again."

# What keys of `RunState.injected` begin with that are not an agent's name: the instructions that a
# conversation began with, and the names of the tools that it has shown.
BEGAN = "instructions/"
SHOWN = "tools/"


def beginnings(injected: dict[str, str]) -> dict[str, str]:
    """The beginnings of conversations, out of all that was injected."""
    return {key: words for key, words in injected.items() if key.startswith((BEGAN, SHOWN))}


# In a message's metadata: the whole instructions that hold from it on.
_STANDS = "instructions"
_PART = re.compile(r"(?<=[.!?\n])\s+")
_LONG = 600  # characters; below, a change is said by the whole text
_SHARE = 0.4  # of the text; a greater change is said by the whole text


def _stands_for(message: Message) -> str:
    """The instructions that this message says to hold from here on; empty for another."""
    if message.role != "system":
        return ""
    known: str = message.metadata.get("polycall", {}).get(_STANDS, "")
    if known:
        return known
    return message.text.removeprefix(_CHANGED) if message.text.startswith(_CHANGED) else ""


def _change(old: str, new: str) -> str:
    """A note on changed instructions: with the changed part alone, where that is small."""
    before, after = _PART.split(old), _PART.split(new)
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    most = min(len(before), len(after)) - head
    while tail < most and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    gone = " ".join(before[head : len(before) - tail])
    came = " ".join(after[head : len(after) - tail])
    is_small = len(gone) + len(came) < _SHARE * len(new)
    if len(new) < _LONG or not is_small or not gone or old.count(gone) != 1:
        return _CHANGED + new
    said = f"now reads:\n\n{came}" if came else "does not hold any more."
    return f"From here on, this part of your instructions:\n\n{gone}\n\n{said}"


class Appended:
    """The beginning of each agent's part of one run, and all that was appended since."""

    def __init__(self) -> None:
        self._first_tools: dict[str, frozenset[str]] = {}
        self._shown: dict[str, dict[str, Tool]] = {}

    def instructions(
        self, first: str, words: str, memory: str, messages: list[Message]
    ) -> list[Message]:
        """The messages to add before the next answer, so that these instructions hold.

        `first` are those at the beginning, `messages` what was said since then.
        """
        late = [each.text for each in messages if each.role == "system"]
        last = next((said for each in reversed(messages) if (said := _stands_for(each))), first)
        added: list[Message] = []
        if words != last:
            text = _BACK if words == first else _change(last, words)
            own = {"polycall": {_STANDS: words}}
            added.append(Message("system", [Text(text)], metadata=own))
        if memory and memory not in late:
            added.append(Message("system", [Text(memory)]))
        return added

    def kept(
        self, key: str, tools: list[Tool], others: list[Tool], injected: dict[str, str]
    ) -> list[Tool]:
        """The tools that this part of the conversation has shown, and those that are new.

        A tool stays where it was, though it may not be called any more: another list would be
        another beginning.  One that was made anew is shown anew.  What an earlier run has shown is
        known from `injected`, by name; `others` are tools that this step does not offer.
        """
        shown = self._shown.get(key)
        if shown is None:
            names = injected.get(SHOWN + key, "").split()
            known = {tool.name: tool for tool in [*others, *tools]}
            shown = self._shown[key] = {name: known[name] for name in names if name in known}
            if names:
                self._first_tools[key] = frozenset(names)
        for tool in tools:
            shown[tool.name] = tool
        injected[SHOWN + key] = " ".join(shown)
        return list(shown.values())

    def tools(self, key: str, tools: list[Tool], messages: list[Message]) -> None:
        """Note tools that are new in the results that opened them; changes the last message."""
        opened = {name for message in messages for name in opened_in(message)}
        names = [tool.name for tool in tools if tool.name not in opened]
        first = self._first_tools.get(key)
        new = [] if first is None else [name for name in names if name not in first]
        place = len(messages) - 1
        while place > 0 and messages[place].role == "system":
            place -= 1
        if not new or messages[place].role not in ("tool", "user"):
            self._first_tools[key] = frozenset(names)
            return
        messages[place] = with_opened(messages[place], new)
