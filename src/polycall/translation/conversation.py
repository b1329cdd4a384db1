"""Conversations that come again: with each request an agent sends all that was said before.

Reading and rendering it anew costs more with each step.  A caller that knows that the beginning has
come before passes the messages as a `Conversation`; what its readers and writers found out about a
beginning is in its `known`, and they go on from there.  A plain list is read from its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from polycall.ir import JSON, Message, Warning
from polycall.translation.quirks import Quirks

if TYPE_CHECKING:
    from polycall.translation.wire import ToolName

T = TypeVar("T")


class Conversation(list[T]):
    """Messages that nobody changes, of the wire or of the middle language.

    `known` maps whoever made something of the messages to a snapshot after some of them, which is
    never changed either.  Conversations with one beginning may share snapshots of it.
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
    if not seen or messages[: len(seen)] != seen:
        return messages
    return messages[len(seen) :]


def note_seen(messages: list[Any], look: Any) -> None:
    """Remember that all these messages have nothing for `look`, where they may come again."""
    known = known_of(messages)
    if known is not None:
        known[look] = list(messages)


class Beginning(Struct, frozen=True, eq=False):
    """The first messages of a conversation, what they are on a wire, and what was noted of them.

    It ends where what comes later changes nothing of it: each writer knows where that is.
    """

    quirks: Quirks
    messages: list[Message]
    wire: list[JSON]
    warnings: list[Warning]
    aliases: dict[str, ToolName]
    wire_ids: frozenset[str]  # of its calls, where the wire wants them unlike


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
        """The one that these messages begin with, if the model goes on after it."""
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
        wire_ids: frozenset[str] = frozenset(),
    ) -> None:
        """Keep a beginning in the place of the one before."""
        if self._known is not None:
            made = Beginning(self._quirks, list(messages), wire, warnings, aliases, wire_ids)
            self._known[self._key] = made


def like(messages: list[T], before: list[T]) -> list[T]:
    """Messages made of others, with the snapshots of those.

    Some may have changed: a snapshot that is found by them is compared with them before use.
    """
    return Conversation(messages, before.known) if isinstance(before, Conversation) else messages
