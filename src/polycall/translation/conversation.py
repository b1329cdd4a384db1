"""Conversations that come again: with each request an agent sends all that was said before.

Reading and rendering it anew costs more with each step.  A caller that knows that the beginning has
come before passes the messages as a `Conversation`; what its readers and writers found out about a
beginning is in its `known`, and they continue from there.  A plain list is read from its start.

Clients write the last messages otherwise when they send them again: a mark for the cache moves on,
a reminder goes.  So a beginning ends `TAIL` messages before the end, and those are read each time;
`STEADY_TAIL` of a client that only adds (`note_steady`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from polycall.ir import JSON, Message, ToolCall, ToolResult, Warning
from polycall.translation.quirks import Quirks

if TYPE_CHECKING:
    from polycall.translation.wire import ToolName

T = TypeVar("T")

TAIL, STEADY_TAIL = 8, 2
VIEWS_MAX = 8  # snapshots of one kind, by target: clients name models


class Conversation(list[T]):
    """Messages that nobody changes, of the wire or of the middle language.

    `known` maps each owner that made something of the messages to a snapshot after some of them,
    which is never changed either.  Conversations with one beginning may share snapshots of it.
    """

    __slots__ = ("known",)

    def __init__(self, items: Iterable[T], known: dict[Any, Any]) -> None:
        super().__init__(items)
        self.known = known


def known_of(messages: list[Any]) -> dict[Any, Any] | None:
    """The snapshots of these messages; `None` where they are a plain list."""
    return messages.known if isinstance(messages, Conversation) else None  # pyright: ignore[reportUnknownMemberType]


def unseen(messages: list[T], look: Any) -> list[T]:
    """The messages after those of which `note_seen` has said that there is nothing for `look`."""
    known = known_of(messages)
    seen: list[T] | None = None if known is None else known.get(look)
    return messages if not seen else messages[_shared(messages, seen) :]


def keep(known: dict[Any, Any], key: Any, made: Any) -> None:
    """Keep a snapshot in the place of the oldest of its kind, where there are many.

    A key is a kind, or a tuple that begins with it.
    """
    if key not in known and len(known) >= VIEWS_MAX:
        same = [each for each in list(known) if _kind_of(each) == _kind_of(key)]
        if len(same) >= VIEWS_MAX:
            known.pop(same[0], None)  # another thread may have done so
    known[key] = made


def _kind_of(key: Any) -> Any:
    return key[0] if isinstance(key, tuple) else key  # pyright: ignore[reportUnknownVariableType]


def note_seen(messages: list[Any], look: Any) -> None:
    """Remember that all these messages have nothing for `look`, where they may come again."""
    known = known_of(messages)
    if known is not None:
        keep(known, look, list(messages))


def _shared(messages: list[Any], before: list[Any]) -> int:
    """With how many of those before the messages begin."""
    low, high = 0, min(len(messages), len(before))
    if not high:
        return 0
    if messages[:high] == before[:high]:
        return high
    while low < high - 1:
        middle = (low + high) // 2
        if messages[low:middle] == before[low:middle]:
            low = middle
        else:
            high = middle
    return low


def begun(known: dict[Any, Any] | None, messages: Sequence[Any], reader: Any) -> tuple[int, Any]:
    """The number of messages given to `keep_begun`, and the result made of them: 0 where others
    came.
    """
    found: tuple[list[Any], Any] | None = None if known is None else known.get(reader)
    if found is None or messages[: len(found[0])] != found[0]:
        return 0, None
    return len(found[0]), found[1]


def keep_begun(
    known: dict[Any, Any] | None, messages: Sequence[Any], reader: Any, made: Any
) -> None:
    """Keep what was made of the first messages, where they may come again."""
    if known is not None:
        keep(known, reader, ([*messages], made))


def selected(messages: list[T], fits: Callable[[T], bool]) -> list[T]:
    """The messages that fit, each by itself; of a conversation only the new ones are looked at."""
    known, end = known_of(messages), end_of_beginning(messages)
    start, before = begun(known, messages, fits)
    found: list[T] = [] if before is None else before
    if end > start and known is not None:
        found = [*found, *filter(fits, messages[start:end])]
        keep_begun(known, messages[:end], fits, found)
        start = end
    return [*found, *filter(fits, messages[start:])]


def is_system(message: Message) -> bool:
    """Whether nobody in the conversation said it."""
    return message.role == "system"


def note_steady(known: dict[Any, Any], *, is_steady: bool) -> None:
    """Remember whether the client sends what it has said again as it was, to the last message."""
    known.pop(note_steady, None)
    if is_steady:
        known[note_steady] = True


def end_of_beginning(messages: Sequence[Any], known: dict[Any, Any] | None = None) -> int:
    """The number of messages that will probably come again unchanged; `known` is of them."""
    if known is None and isinstance(messages, Conversation):
        known = messages.known  # pyright: ignore[reportUnknownMemberType]
    tail = STEADY_TAIL if known is not None and note_steady in known else TAIL
    return max(0, len(messages) - tail)


def last_turn(messages: Sequence[Message], start: int, known: dict[Any, Any] | None = None) -> int:
    """The place of the last model's turn that will probably come again; `start` without one."""
    for place in range(min(end_of_beginning(messages, known), len(messages) - 1), start, -1):
        if messages[place].role == "assistant" and messages[place - 1].role != "assistant":
            return place
    return start


def is_closed(messages: Sequence[Message]) -> bool:
    """Whether each call has its result in these messages, and each result its call before it."""
    waiting: set[str] = set()
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                if part.id in waiting:
                    return False
                waiting.add(part.id)
            elif isinstance(part, ToolResult):
                if part.call_id not in waiting:
                    return False
                waiting.remove(part.call_id)
    return not waiting


def mapped(messages: list[T], mapping: Any, convert: Callable[[T], T]) -> list[T]:
    """Each message converted, by what depends on it and on `mapping` alone; the list itself where
    nothing changes."""
    known = known_of(messages)
    if known is None:
        made = [convert(message) for message in messages]
    else:
        before: tuple[list[T], list[T]] = known.get(mapping, ([], []))
        count = _shared(messages, before[0])
        made = [*before[1][:count], *(convert(message) for message in messages[count:])]
        keep(known, mapping, (messages[:], made))
    return messages if all(map(is_, made, messages)) else like(made, messages)


class Beginning(Struct, frozen=True, eq=False):
    """The first messages of a conversation, what they are on a wire, and what was noted of them.

    It ends where what comes later changes nothing of it: each writer knows where that is.
    """

    quirks: Quirks
    messages: list[Message]
    wire: list[JSON]
    warnings: list[Warning]
    aliases: dict[str, ToolName]
    state: Any  # what its writer continues from


class Beginnings:
    """The beginnings of one conversation on one wire."""

    def __init__(
        self, known: dict[Any, Any] | None, dialect: str, quirks: Quirks, *, is_lossy: bool
    ) -> None:
        self._known = known
        self._key = (Beginning, dialect, id(quirks), is_lossy)
        self._quirks = quirks

    @property
    def are_kept(self) -> bool:
        """Whether the conversation may come again."""
        return self._known is not None

    def of(self, messages: Sequence[Message]) -> Beginning | None:
        """The one that these messages begin with, if the model continues after it."""
        found: Beginning | None = None if self._known is None else self._known.get(self._key)
        if found is None or found.quirks is not self._quirks:
            return None
        size = len(found.messages)
        if size >= len(messages) or messages[size].role != "assistant":
            return None
        return found if messages[:size] == found.messages else None

    def keep(
        self,
        messages: Sequence[Message],
        wire: list[JSON],
        warnings: list[Warning],
        aliases: dict[str, ToolName],
        state: Any = None,
    ) -> None:
        """Keep a beginning in the place of the one before."""
        if self._known is not None:
            made = Beginning(self._quirks, list(messages), wire, warnings, aliases, state)
            keep(self._known, self._key, made)


def like(messages: list[T], before: list[T]) -> list[T]:
    """Messages made of others, with the snapshots of those.

    Some may have changed: a snapshot that is found by them is compared with them before use.
    """
    return Conversation(messages, before.known) if isinstance(before, Conversation) else messages
