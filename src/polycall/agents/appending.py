"""What changes while a conversation continues, added at its end: its beginning stays as it was.

Some models refuse their own reasoning once `system`, the tools or an earlier message are others
than when it was made, and every vendor's cache begins anew there.  So instructions that have
changed, and what memory adds, become system messages at the end; and the results of a step name
the tools that it has opened (`ir.ToolResult.metadata["polycall"]["opened"]`), from which a dialect
makes the vendor's own way of adding tools.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.ir import Message, Part, Text, Tool, ToolResult

_MARK = "polycall"
_OPENED = "opened"
_CHANGED = "From here on, these instructions hold instead of the earlier ones:\n\n"

BEGAN = "instructions/"  # what a key of `RunState.injected` begins with that is not an agent's name


def beginnings(injected: dict[str, str]) -> dict[str, str]:
    """The instructions that conversations began with, of all that was injected."""
    return {key: words for key, words in injected.items() if key.startswith(BEGAN)}


class Appended:
    """What one run has said at the beginning of each agent's part, and has added since."""

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
        last = next((text for text in reversed(late) if text.startswith(_CHANGED)), first)
        added: list[Message] = []
        if words != last.removeprefix(_CHANGED):
            added.append(Message("system", [Text(_CHANGED + words)]))
        if memory and memory not in late:
            added.append(Message("system", [Text(memory)]))
        return added

    def kept(self, key: str, tools: list[Tool]) -> list[Tool]:
        """The tools that this part of the conversation has shown, and those that are new.

        A tool stays where it was, though it may not be called any more: another list would be
        another beginning.  One that was made anew is shown anew.
        """
        shown = self._shown.setdefault(key, {})
        for tool in tools:
            shown[tool.name] = tool
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
        if not new or messages[place].role != "tool":
            self._first_tools[key] = frozenset(names)
            return
        messages[place] = _with_opened(messages[place], new)


def opened_in(message: Message) -> list[str]:
    """The tools that the results of a message have opened."""
    if message.role != "tool":
        return []
    return [
        name
        for part in message.parts
        if isinstance(part, ToolResult)
        for name in part.metadata.get(_MARK, {}).get(_OPENED, [])
    ]


def _with_opened(message: Message, names: list[str]) -> Message:
    """The message, its last result naming these tools."""
    parts: list[Part] = list(message.parts)
    for place in range(len(parts) - 1, -1, -1):
        part: Any = parts[place]
        if isinstance(part, ToolResult) and not part.is_error:
            own = {**part.metadata.get(_MARK, {}), _OPENED: names}
            parts[place] = replace(part, metadata={**part.metadata, _MARK: own})
            return replace(message, parts=parts)
    return message
