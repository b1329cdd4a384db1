"""Thinking that is bound to what stood before it, for models that check that.

The vendor binds a thinking block to `system`, to the tools that were loaded, to all earlier
messages, and to the thinking block before it; blocks may be missing from the front alone.  Every
block that is read is noted with a digest of the same (`BOUND`, in its metadata), so that blocks
which do not fit any more are left out here, with a warning, and never cost a refusal.

A summary that the vendor wrote and signed stands for the messages that it sums up: thinking of the
turns after it still fits.  It is noted with what stood before (`SUMMED`).

Read 2026-11-29: https://platform.claude.com/docs/en/build-with-claude/preserved-thinking, and
https://platform.claude.com/docs/en/build-with-claude/compaction-thinking-blocks.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.dialects.anthropic.names import NAME
from polycall.ir import JSON, Message, Metadata, Opaque
from polycall.translation.conversation import begun, end_of_beginning, keep_begun

BOUND = "bound"
CHANGED = "tools_changed"  # of tool_changes.py
NOTES = frozenset({BOUND, CHANGED})  # in the metadata of thinking, and never sent
SUMMED = "summed"  # in the metadata of a summary
COMPACTION = "compaction"
_KINDS = ("thinking", "redacted_thinking")
_DIGEST = 24


class SummedUp(Struct, frozen=True, omit_defaults=True):
    """The conversation behind a summary: a digest of what was said, the last role, and
    the names of the tools that came later than the beginning.  `said` is empty where it is unknown.
    """

    said: str = ""
    role: str = ""
    opened: list[str] = []
    withdrawn: list[str] = []


def summed_up(messages: list[Message]) -> SummedUp | None:
    """The conversation behind the summary that these messages begin with; `None` without one."""
    first = messages[0].parts[0] if messages and messages[0].parts else None
    if not isinstance(first, Opaque) or (first.dialect, first.kind) != (NAME, COMPACTION):
        return None
    return msgspec.convert(first.metadata.get(NAME, {}).get(SUMMED, {}), SummedUp)


def summary_note(body: JSON, summed: SummedUp | None, withdrawn: set[str]) -> Metadata:
    """The note for the summary of this request's messages."""
    before = _Before(body, summed)
    for message in body["messages"]:
        before.add(message)
    return {NAME: {SUMMED: msgspec.to_builtins(before.summed(withdrawn))}}


def binding(body: JSON, summed: SummedUp | None = None, known: dict[Any, Any] | None = None) -> str:
    """The digest that the thinking of this request's answer is bound to.

    `known` has what was made of a beginning.
    """
    messages: list[JSON] = body["messages"]
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1  # an answer that is continued is one turn
    before = _Before(body, summed)
    start, seen = begun(known, messages[:end], binding)
    if seen is not None:
        before.resume(seen)
    place_kept = end_of_beginning(messages, known)
    for place in range(start, end):
        if place == place_kept > start:
            keep_begun(known, messages[:place], binding, before.state())
        before.add(messages[place])
    return before.digest(last_thinking(messages, known))


def without_unfitting(
    body: JSON,
    bound: dict[int, str],
    summed: SummedUp | None = None,
    known: dict[Any, Any] | None = None,
) -> int:
    """Leave out the blocks that do not fit any more; gives how many.

    `bound` has what blocks were bound to, by the identity of their objects.  A block of which
    nothing is known stays.  `known` has what was made of a beginning.
    """
    if not bound or (summed is not None and not summed.said):
        return 0  # or nobody knows what stood before
    messages: list[JSON] = body["messages"]
    start, seen = begun(known, messages, without_unfitting)
    before, last, turn, is_first, count = _Before(body, summed), "", "", True, 0
    if seen is not None and seen[0] == before.loaded:
        _, state, last, turn, is_first, count = seen
        before.resume(state)
    else:
        start = 0
    end = end_of_beginning(messages, known)
    keep_from = 0  # of the blocks in order
    places: list[tuple[JSON, JSON]] = []
    for place in range(start, len(messages)):
        message = messages[place]
        if place == end > start and not keep_from:
            made = (before.loaded, before.state(), last, turn, is_first, count + len(places))
            keep_begun(known, messages[:end], without_unfitting, made)
        is_models = message["role"] == "assistant"
        if is_models and not turn:
            turn, is_first = before.digest("")[:_DIGEST], True
        for block in _blocks(message) if is_models else []:
            if block.get("type") not in _KINDS:
                continue
            told = bound.get(id(block), "")
            if told and told[:_DIGEST] != turn:
                keep_from = count + len(places) + 1
            elif told and is_first and last and told[_DIGEST:] != last:
                keep_from = count + len(places)  # one before it is missing
            last, is_first = _identity(block), False
            places.append((message, block))
        if is_models:
            before.hold(message)
        else:
            turn = ""
            before.add(message)
    if keep_from and start:
        return without_unfitting(body, bound, summed)
    if keep_from:
        gone = {id(block) for _, block in places[:keep_from]}
        body["messages"] = [each for each in map(_Without(gone), messages) if each["content"] != []]
    return keep_from


class _Without:
    """Messages without some blocks; they themselves stay as they are."""

    def __init__(self, gone: set[int]) -> None:
        self._gone = gone

    def __call__(self, message: JSON) -> JSON:
        content: str | list[JSON] = message["content"]
        if isinstance(content, str) or not any(id(block) in self._gone for block in content):
            return message
        return {**message, "content": [each for each in content if id(each) not in self._gone]}


class _Before:
    """A digest of what stands before a turn, made as the messages come."""

    def __init__(self, body: JSON, summed: SummedUp | None = None) -> None:
        self._system = _hash([block.get("text", "") for block in _as_blocks(body.get("system"))])
        tools: list[JSON] = body.get("tools") or []
        self._tools = [
            (
                _hash({name: value for name, value in tool.items() if name != "cache_control"}),
                bool(tool.get("defer_loading")),
                str(tool.get("name")),
            )
            for tool in tools
        ]
        self._summed = summed or SummedUp()
        self._referred = set(self._summed.opened)
        self._said = self._summed.said
        self._role = self._summed.role
        self._held: list[JSON] = []

    @property
    def loaded(self) -> Any:
        """The parts before all messages."""
        return self._system, self._tools

    def state(self) -> Any:
        """The state so far, for `resume`."""
        return self._said, self._role, {*self._referred}, [*self._held]

    def resume(self, state: Any) -> None:
        """Continue from there."""
        self._said, self._role, referred, held = state
        self._referred, self._held = {*referred}, [*held]

    def hold(self, message: JSON) -> None:
        """A part of the model's turn, which is over with the next other message."""
        self._held.append(message)

    def add(self, message: JSON) -> None:
        """The next message, and the model's turn before it."""
        held, self._held = self._held, []
        for each in (*held, message):
            self._add(each)

    def _add(self, message: JSON) -> None:
        blocks = _blocks(message)
        if self._summed.said and [each.get("type") for each in blocks] == [COMPACTION]:
            return  # what it stands for is known
        if message["role"] != self._role:
            self._role = message["role"]
            self._say(b"\x1e" + self._role.encode())
        for block in blocks:
            if block.get("type") not in _KINDS:
                self._refer(block)
                self._say(_bytes(_essence(block)))

    def _say(self, words: bytes) -> None:
        # A chain, so that it can begin where a summary ends.
        self._said = hashlib.sha256(self._said.encode() + words).hexdigest()

    def _refer(self, block: JSON) -> None:
        if block.get("type") == "tool_addition":
            self._referred.add(str(block["tool"].get("name")))
            return
        inner: Any = block.get("content")
        if isinstance(inner, dict):
            inner = inner.get("tool_references")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        for part in [block, *(inner if isinstance(inner, list) else [])]:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(part, dict) and part.get("type") == "tool_reference":  # pyright: ignore[reportUnknownMemberType]
                self._referred.add(str(part.get("tool_name")))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    def digest(self, last: str) -> str:
        """A digest of all that came so far; `last` names the thinking block before."""
        tools = sorted(
            digest
            for digest, is_deferred, name in self._tools
            if not is_deferred or name in self._referred
        )
        loaded = [{"system": self._system, "tools": tools}, self._said]
        return _hash(loaded)[:_DIGEST] + last

    def summed(self, withdrawn: set[str]) -> SummedUp:
        """All that came so far, as a summary stands for it."""
        return SummedUp(self._said, self._role, sorted(self._referred), sorted(withdrawn))


def _essence(block: JSON) -> Any:
    """A block without what may change: marks, and ways to write the same."""
    plain = {name: value for name, value in block.items() if name != "cache_control"}
    match block.get("type"):
        case "text":
            return block.get("text")
        case "tool_result":
            content = [_essence(each) for each in _as_blocks(block.get("content"))]
            plain["content"] = content
            if not plain.get("is_error"):
                plain.pop("is_error", None)
            return plain
        case _:
            return plain


def last_thinking(messages: list[JSON], known: dict[Any, Any] | None = None) -> str:
    """A digest of the last thinking block; empty where there is none."""
    start, _ = begun(known, messages, last_thinking)  # of messages without any
    for message in reversed(messages[start:]):
        if message["role"] == "assistant":
            for block in reversed(_blocks(message)):
                if block.get("type") in _KINDS:
                    return _identity(block)
    keep_begun(known, messages[: end_of_beginning(messages, known)], last_thinking, None)
    return ""


def _identity(block: JSON) -> str:
    token = str(block.get("signature") or block.get("data") or "")
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]


def _blocks(message: JSON) -> list[JSON]:
    return _as_blocks(message.get("content"))


def _as_blocks(content: Any) -> list[JSON]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content or []


def _hash(value: Any) -> str:
    return hashlib.sha256(_bytes(value)).hexdigest()


def _bytes(value: Any) -> bytes:
    return jsontext.encode_bytes(_sorted(value)) + b"\x1f"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        items: list[tuple[str, Any]] = sorted(value.items())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        return {name: _sorted(each) for name, each in items}
    return [_sorted(each) for each in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]
