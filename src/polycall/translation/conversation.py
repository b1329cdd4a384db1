"""Conversations that come again: with each request an agent sends all that was said before.

Reading and rendering it anew costs more with each step.  A caller that knows that the beginning has
come before passes the messages as a `Conversation`; what its readers and writers found out about a
beginning is in its `known`, and they go on from there.  A plain list is read from its start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

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


def like(messages: list[T], before: list[T]) -> list[T]:
    """Messages made of others, with the snapshots of those.

    Some may have changed: a snapshot that is found by them is compared with them before use.
    """
    return Conversation(messages, before.known) if isinstance(before, Conversation) else messages
