"""Compaction of a conversation that has become too long: a summary, and its last part whole."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import RequestError
from polycall.ir import Message, Text, ToolCall, ToolResult, Usage

# From the summary so far and the messages that go, a new summary.
Summarize: TypeAlias = Callable[[str, list[Message]], "str | Awaitable[str]"]

# English text, Korean text and JSON are all near it.
TOKENS_PER_BYTE = 0.3

_ASK = """\
Summarise this part of a conversation for the one who continues it: facts, decisions, names, \
numbers, what was promised, what is open. Leave out pleasantries.
"""


class Shortened(Struct, frozen=True):
    """The part of a conversation's beginning that is no longer sent, and its replacement."""

    gone: int = 0
    summary: str = ""
    block: Message | None = None  # the vendor's own summary, instead of `summary`

    @property
    def opening(self) -> list[Message]:
        """The messages that replace those that were dropped."""
        if self.block is not None:
            return [self.block]
        return [opening(self.gone, self.summary)] if self.gone else []


class Summarist(Protocol):
    """An agent that answers with text."""

    async def run(self, prompt: str, /) -> Any: ...


@dataclass(frozen=True)
class Compaction:
    """When a conversation is shortened, and to what.

    Beyond `tokens_max` the oldest messages are replaced by what `summarize` makes of them, so that
    about `keep` of the budget is left of the newest; without it, by a note that they are gone.
    Tokens are reckoned from bytes, and from what the provider counted for the last request.

    A model that checks what stood before its reasoning takes a summary of its own vendor's alone
    without losing the reasoning of the turns that stay.  So, without `summarize`, an agent asks
    such a vendor for one, which is a request of its own; not with `by_vendor=False`.
    """

    tokens_max: int = 100_000
    keep: float = 0.5
    summarize: Summarize | None = None
    by_vendor: bool = True

    def __post_init__(self) -> None:
        if not (self.tokens_max > 0 and 0 < self.keep < 1):
            raise RequestError("tokens_max is above 0, and keep a part of it: between 0 and 1")

    async def shorten(
        self,
        before: Shortened,
        messages: Sequence[Message],
        *,
        other_tokens: int,
        kept: Sequence[Message] = (),
        is_turn: bool = False,
        by_vendor: bool = False,
    ) -> Shortened:
        """Drop more of the beginning than `before` does; `messages` are those still sent after
        `before`.

        `other_tokens` and `kept` are sent alongside them.  With `is_turn` they are one turn that
        has become long: then only the last call and its result stay whatever they take.  With
        `by_vendor` the cut is where a vendor takes up a conversation after its own summary.
        """
        bytes_max = (self.tokens_max - other_tokens) / TOKENS_PER_BYTE
        room = bytes_max - sum(map(size_of, [*before.opening, *kept]))
        if sum(map(size_of, messages)) <= room:
            return before
        places = whole_places(messages)
        if by_vendor:
            # It takes no request that ends with the model's turn.
            places = [n for n in places if n and messages[n].role == "assistant"]
        cut = place_to_cut(messages, room * self.keep, places, is_turn=is_turn)
        if cut == 0:
            return before
        summary = await self._summary(before.summary, list(messages[:cut]))
        return Shortened(before.gone + cut, summary)

    async def _summary(self, before: str, gone: list[Message]) -> str:
        """The summary of what was summed up before and of the messages that go now."""
        if self.summarize is None:
            return ""
        made = self.summarize(before, gone)
        return await made if inspect.isawaitable(made) else made


def summary_by(agent: Summarist) -> Summarize:
    """Summaries written by an agent, which may be a cheap model's."""

    return functools.partial(_summarized, agent)


async def _summarized(agent: Summarist, before: str, gone: list[Message]) -> str:
    said = "\n".join(line for message in gone if (line := _spoken(message)))
    reported = f"The summary so far:\n{before}\n\n" if before else ""
    return (await agent.run(f"{_ASK}\n{reported}{said}")).output


def place_to_cut(
    messages: Sequence[Message], bytes_max: float, places: list[int], *, is_turn: bool = False
) -> int:
    """The number of messages to drop so that the rest fits: one of `places`, or 0 for none.

    The cut is before a user's words where one of these leaves something.
    """
    users = [place for place in places if messages[place].role == "user"]
    sizes = [size_of(message) for message in messages]
    left, fitting = sum(sizes), set[int]()
    for place in range(len(messages)):
        if left <= bytes_max:
            fitting.add(place)
        left -= sizes[place]
    for candidates in (users, places):
        found = next((place for place in candidates if place in fitting), None)
        if found is not None:
            return found
    # Not even the last turn fits, or the last step of one: it stays whole all the same.
    return ((not is_turn and users) or places or [0])[-1]


def whole_places(messages: Sequence[Message]) -> list[int]:
    """The places where a conversation can be cut without parting a call from its result."""
    waiting: set[str] = set()
    places: list[int] = []
    for place, message in enumerate(messages):
        if not waiting:
            places.append(place)
        waiting |= {part.id for part in message.parts if isinstance(part, ToolCall)}
        waiting -= {part.call_id for part in message.parts if isinstance(part, ToolResult)}
    return places


def size_of(message: Message) -> int:
    """Bytes, which tokens are reckoned from."""
    return len(jsontext.encode_bytes(message.parts))


def other_tokens(usage: Usage, sent_bytes: int, before: int) -> int:
    """The tokens that the provider counted for a request beyond those of its messages.

    Where the reckoning is too low for a language, the difference is here as well.
    """
    if not usage.is_reported:
        return before
    return max(0, usage.input_tokens - round(sent_bytes * TOKENS_PER_BYTE))


def opening(count: int, summary: str) -> Message:
    """The message that replaces those that were dropped."""
    words = f"[{count} earlier messages of this conversation are left out here"
    return Message("user", [Text(f"{words}; a summary:]\n{summary}" if summary else f"{words}]")])


def _spoken(message: Message) -> str:
    parts = [message.text] if message.text else []
    parts += [f"{call.name}({call.arguments_json})" for call in message.tool_calls]
    parts += [f"-> {part.text}" for part in message.parts if isinstance(part, ToolResult)]
    return f"{message.role}: {' '.join(parts)}" if parts else ""
