"""The conversation as it was heard: by items, in their order, and as messages of a history."""

from __future__ import annotations

from dataclasses import dataclass, field

from polycall.ir import Message, Part, Text, ToolCall, ToolResult

PENDING = "not finished when this was written"


@dataclass
class Entry:
    """One item: what a side said, or the calls of a reply with their results."""

    item_id: str
    role: str  # "user", "assistant", or "calls"
    text: str = ""
    is_final: bool = False
    heard: str | None = None  # what of it was heard, where that is not all
    share: float | None = None  # the same where its text comes after its sound
    timed: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    results: dict[str, ToolResult] = field(default_factory=dict[str, ToolResult])


class Transcript:
    """The items of a talk.  Their order is the vendor's where it says one."""

    def __init__(self, earlier: list[Message]) -> None:
        self._earlier = list(earlier)
        self._entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}

    def place(self, item_id: str, previous_id: str | None) -> None:
        """An item stands after another one, or where it is, or at the end."""
        previous = self._by_id.get(previous_id) if previous_id and previous_id != item_id else None
        if item_id in self._by_id:
            entry = self._by_id[item_id]
            if previous is None:
                return
            self._entries.remove(entry)
        else:
            entry = self._by_id[item_id] = Entry(item_id, "")
        if previous is None:
            self._entries.append(entry)
        else:
            self._entries.insert(self._entries.index(previous) + 1, entry)

    def heard(self, item_id: str, text: str, *, is_final: bool, is_whole: bool) -> str | None:
        """Add what the caller said; the whole text where it is final now, and was not before."""
        return self._add(item_id, "user", text, is_final=is_final, is_whole=is_whole)

    def said(
        self, item_id: str, text: str, *, is_final: bool, end_ms: float | None = None
    ) -> str | None:
        """Add what the voice said, the same way; `end_ms` says when it is played."""
        entry = self._entry(item_id, "assistant")
        if end_ms is not None:
            entry.timed.append((end_ms, text))
        return self._add(item_id, "assistant", text, is_final=is_final, is_whole=is_final)

    def cut(self, item_id: str, heard_ms: float, whole_ms: float) -> None:
        """Cut an item: only so much of all its sound was heard."""
        entry = self._by_id.get(item_id)
        if entry is None or entry.role not in ("", "assistant"):
            entry = self._entry(item_id, "assistant")
        share = heard_ms / whole_ms if whole_ms > 0 else 0.0
        if entry.text:
            entry.heard = _beginning(entry.text, share)
        else:
            entry.share = share

    def cut_at(self, item_id: str, position_ms: float) -> None:
        """Cut an item: only the part that is played before a moment was heard."""
        entry = self._by_id.get(item_id)
        if entry is not None:
            entry.heard = "".join(text for end_ms, text in entry.timed if end_ms <= position_ms)

    def call(self, reply_id: str, call: ToolCall) -> None:
        """A call runs."""
        self._entry(f"calls of {reply_id}", "calls").calls.append(call)

    def result(self, reply_id: str, result: ToolResult) -> None:
        """A call has its result."""
        self._entry(f"calls of {reply_id}", "calls").results[result.call_id] = result

    def open_texts(self) -> list[str]:
        """The items that somebody began and did not end."""
        return [
            each.item_id
            for each in self._entries
            if not each.is_final and each.role in ("user", "assistant")
        ]

    def open_words(self) -> list[tuple[str, str]]:
        """The caller's words in items that are not final, by their ids."""
        open_ = [each for each in self._entries if each.role == "user" and not each.is_final]
        return [(each.item_id, each.text.strip()) for each in open_ if each.text.strip()]

    def item_ids(self) -> frozenset[str]:
        """All items that there are so far."""
        return frozenset(self._by_id)

    def follows_new_words(self, item_id: str, known: frozenset[str]) -> bool:
        """Whether an item is new, and stands behind new words of the voice."""
        is_behind = False
        for entry in self._entries:
            if entry.item_id in known:
                continue
            if entry.item_id == item_id:
                return is_behind
            is_behind |= entry.role == "assistant"
        return False

    def role_of(self, item_id: str) -> str:
        """The role of an item; empty where it has none yet."""
        entry = self._by_id.get(item_id)
        return entry.role if entry is not None else ""

    def note(self, text: str, role: str = "user") -> None:
        """A text that nobody spoke."""
        entry = Entry(f"note_{len(self._entries)}", role, text, is_final=True)
        self._entries.append(entry)
        self._by_id[entry.item_id] = entry

    def is_unanswered(self) -> bool:
        """Whether the last that was said was the caller's."""
        spoken = [each for each in self._entries if each.role == "calls" or _heard(each)]
        return bool(spoken) and spoken[-1].role == "user"

    @property
    def last_heard(self) -> str:
        """The caller's words since the voice last spoke or acted."""
        texts: list[str] = []
        for entry in reversed(self._entries):
            if entry.role == "user" and entry.text:
                texts.append(entry.text)
            elif texts and (entry.role == "calls" or _heard(entry)):
                break
        return " ".join(reversed(texts))

    def messages(self, *, is_over: bool = False) -> list[Message]:
        """All of it as a history takes it: each call with its result right behind it.

        Calls without a result are left out, or, with `is_over`, say that they have none.
        """
        made = list(self._earlier)
        for entry in self._entries:
            if entry.role == "calls":
                made += _call_messages(entry, is_over=is_over)
            elif entry.role and (text := _heard(entry)):
                role = "assistant" if entry.role == "assistant" else "user"
                made.append(Message(role, [Text(text)]))
        return made

    def _entry(self, item_id: str, role: str) -> Entry:
        if item_id not in self._by_id:
            self.place(item_id, None)
        entry = self._by_id[item_id]
        entry.role = entry.role or role
        return entry

    def _add(
        self, item_id: str, role: str, text: str, *, is_final: bool, is_whole: bool
    ) -> str | None:
        entry = self._entry(item_id, role)
        if entry.is_final:
            return None
        if is_final and text:
            entry.text = text
        else:
            entry.text = text if is_whole and not is_final else entry.text + text
        entry.is_final = is_final
        return entry.text.strip() if is_final else None


def last_of(messages: list[Message], count_max: int, bytes_max: int) -> list[Message]:
    """The last messages, of which so many have so much text."""
    kept: list[Message] = []
    left = bytes_max
    for message in reversed(messages):
        left -= len(message.text.encode("utf-8", "surrogatepass"))
        if left < 0 or len(kept) == count_max:
            break
        kept.append(message)
    return kept[::-1]


def _heard(entry: Entry) -> str:
    if entry.heard is not None:
        return entry.heard.strip()
    if entry.share is not None:
        return _beginning(entry.text, entry.share).strip()
    return entry.text.strip()


def _beginning(text: str, share: float) -> str:
    """The words of the text that lie within its first part."""
    if share >= 1:
        return text
    end = int(len(text) * max(share, 0.0))
    if end < len(text) and not text[end].isspace():
        # A word that was not finished was not heard; a script without spaces is cut where it is.
        space = text.rfind(" ", 0, end)
        end = space if " " in text else end
    return text[: max(end, 0)]


def _call_messages(entry: Entry, *, is_over: bool) -> list[Message]:
    results = dict(entry.results)
    if is_over:
        for call in entry.calls:
            missing = ToolResult(call.id, [Text(PENDING)], is_error=True, name=call.name)
            results.setdefault(call.id, missing)
    calls: list[Part] = [call for call in entry.calls if call.id in results]
    if not calls:
        return []
    ordered: list[Part] = [results[call.id] for call in entry.calls if call.id in results]
    return [Message("assistant", calls), Message("tool", ordered)]
