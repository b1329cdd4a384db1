"""A request and the state that its history carries, as each provider may see it.

Works on the middle language alone; see `carrier.py`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall import ir
from polycall.gateway.state.sealed_tokens import is_token
from polycall.providers.dialects import DIALECTS
from polycall.translation.conversation import begun, keep_begun, known_of, last_turn, like
from polycall.translation.opened import with_opened

ID_HEAD = "call_pc"
_CARRIED_ID = re.compile(r"(call_pc[0-9a-f]{24})_(\d{1,4})")


def slot_of(dialect: str) -> tuple[str, ...]:
    """The field for a token on a reasoning part of a client protocol; empty where it has none."""
    known = DIALECTS.get(dialect)
    return () if known is None else known.FACTS.reasoning_slot


class Origin(Struct, frozen=True, array_like=True):
    """The origin of state, which is the only place that it may go to."""

    dialect: str
    provider: str
    model: str


class Entry(Struct, frozen=True, array_like=True):
    """One part of a kept turn: reasoning whole, text by its length, a call by its number."""

    kind: str  # reasoning, text, call
    text: str = ""
    metadata: ir.Metadata = {}
    id: str = ""
    size: int = 0


class CarriedTurn(Struct, frozen=True, array_like=True):
    """A kept turn, and the names of the tools that were offered for it."""

    origin: Origin
    entries: list[Entry]
    tools: list[str] = []


class Token(Struct, frozen=True, array_like=True):
    """The contents of a sealed token: a reasoning part, or the id of a call.

    Of a long text it has the `digest`: the client, which was shown the text, brings it back.
    """

    origin: Origin | None
    text: str = ""
    metadata: ir.Metadata = {}
    id: str = ""
    digest: str = ""


def digest_of(text: str) -> str:
    """The digest that stands for a long text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class CarriedRequest:
    """A request and what its history carries; `for_target` gives each provider its own view."""

    def __init__(
        self,
        request: ir.Request,
        tokens: dict[str, Token | None],
        turns: dict[str, CarriedTurn],
        names: dict[int, str] | None = None,
        *,
        is_empty: bool = False,
    ) -> None:
        """`names` are those of kept turns without calls, by their place.

        `is_empty` says that every provider gets the request as it is.
        """
        self.request = request
        self._tokens = tokens
        self._turns = turns
        self._names = names or {}
        self.is_empty = is_empty

    def holding(self, request: ir.Request) -> CarriedRequest:
        """The same for a request that begins with this one's history."""
        return CarriedRequest(
            request, self._tokens, self._turns, self._names, is_empty=self.is_empty
        )

    def for_target(self, provider: str, model: str) -> tuple[ir.Request, list[ir.Warning]]:
        """The request with the state that this provider and model issued, and no other."""
        if self.is_empty:
            return self.request, []
        given = self.request.messages
        known, reader = known_of(given), (CarriedRequest, provider, model)
        start, before = begun(known, given, reader)
        view = _View(self._tokens, self._turns, provider, model)
        made = self._seen(view, given, start, before, reader)
        if not _fits(view, before):
            view = _View(self._tokens, self._turns, provider, model)
            made = self._seen(view, given, 0, None, None)
        messages = like(made, given)
        return replace(self.request, messages=messages), list(view.warnings.values())

    def _seen(
        self,
        view: _View,
        given: list[ir.Message],
        start: int,
        before: _SeenBeginning | None,
        reader: Any,
    ) -> list[ir.Message]:
        """The messages as the view shows them, from `start` on where the rest is known."""
        messages: list[ir.Message] = []
        later = LaterTools(messages)
        if before is not None:
            messages += before.messages
            view.ids, view.restored = before.ids.copy(), before.restored.copy()
            view.warnings, later.known = before.warnings.copy(), before.tools
        known = known_of(given)
        end = last_turn(given, start) if known is not None and reader else start
        for place in range(start, len(given)):
            if place == end > start and _fits(view, before):
                keep_begun(known, given[:end], reader, self._begun(view, messages, later, before))
            own = view.message(given[place], self._names.get(place, ""))
            if view.tools:
                later.offered(view.tools)
            messages.append(own)
        later.offered([tool.name for tool in self.request.tools], begins=False)
        return self._mapped(view, messages, before)

    def _begun(
        self,
        view: _View,
        messages: list[ir.Message],
        later: LaterTools,
        before: _SeenBeginning | None,
    ) -> _SeenBeginning:
        mapped = self._mapped(view, messages, before)
        unmapped: set[str] = set() if before is None else before.unmapped.copy()
        for message in messages if before is None else messages[len(before.messages) - 1 :]:
            if message.role == "tool":
                unmapped.update(p.call_id for p in message.parts if isinstance(p, ir.ToolResult))
        return _SeenBeginning(
            messages.copy(),
            mapped,
            view.ids.copy(),
            view.restored.copy(),
            view.warnings.copy(),
            later.known,
            unmapped - view.ids.keys(),
        )

    def _mapped(
        self, view: _View, messages: list[ir.Message], before: _SeenBeginning | None
    ) -> list[ir.Message]:
        """The messages with the provider's own ids, which is done last: a result may stand
        anywhere."""
        count = 0 if before is None else len(before.messages)
        while before is not None and count:
            last = messages[count - 1]
            if last is before.messages[count - 1] and last.role != "system":
                break
            count -= 1  # the last ones may have been told of tools that came later
        mapped = [] if before is None else before.mapped[:count]
        return mapped + [view.with_own_ids(message) for message in messages[count:]]


class LaterTools:
    """Tools that a client added in the course of a conversation, named where they came.

    Another list of tools at the beginning would be another beginning; the vendor takes tools that
    come later, where a result refers to them.
    """

    def __init__(self, messages: list[ir.Message]) -> None:
        """`messages` grows while turns are told of."""
        self._messages = messages
        self.known: dict[str, None] | None = None  # the names that were offered so far

    def offered(self, names: list[str], *, begins: bool = True) -> None:
        """These were offered for the turn that comes now; the first such turn `begins`."""
        if self.known is None:
            self.known = dict.fromkeys(names) if begins else None
            return
        new = [name for name in names if name not in self.known]
        place = len(self._messages) - 1
        while place > 0 and self._messages[place].role == "system":
            place -= 1
        if new and place >= 0 and self._messages[place].role in ("tool", "user"):
            self._messages[place] = with_opened(self._messages[place], new)
            self.known = {**self.known, **dict.fromkeys(new)}


class _SeenBeginning(Struct, frozen=True, eq=False):
    """The first messages as one provider may see them, and what was noted of them."""

    messages: list[ir.Message]
    mapped: list[ir.Message]  # with the provider's own ids
    ids: dict[str, str]
    restored: set[str]
    warnings: dict[str, ir.Warning]
    tools: dict[str, None] | None
    unmapped: set[str]  # ids of results that stay as they are


def _fits(view: _View, before: _SeenBeginning | None) -> bool:
    """Whether no result of the beginning stands before its call."""
    return before is None or view.ids.keys().isdisjoint(before.unmapped)


@dataclass(eq=False, repr=False)
class _View:
    """The history as one provider may see it."""

    tokens: dict[str, Token | None]
    turns: dict[str, CarriedTurn]
    provider: str
    model: str

    def __post_init__(self) -> None:
        self.ids: dict[str, str] = {}  # the provider's own, by those that the client sees
        self.restored: set[str] = set()
        self.tools: list[str] = []  # that were offered for the last message that was seen
        self.warnings: dict[str, ir.Warning] = {}

    def message(self, message: ir.Message, name: str) -> ir.Message:
        self.tools = []
        if message.role != "assistant":
            return message
        calls = [part for part in message.parts if isinstance(part, ir.ToolCall)]
        known = {base for call in calls if (base := base_of(call, self.tokens))}
        if name:
            known.add(name)
        turns = {base: self.turns[base] for base in sorted(known & self.turns.keys())}
        parts = message.parts
        if len(turns) < len(known):
            self._warn(None)
        for base, turn in turns.items():
            if self._is_home(turn.origin):
                self.tools = turn.tools or self.tools
                parts = self._restore_turn(parts, base, turn)
            elif any(entry.metadata for entry in turn.entries):
                self._warn(turn.origin)
        parts = [own for part in parts if (own := self._part(part)) is not None]
        return message if parts == message.parts else replace(message, parts=parts)

    def with_own_ids(self, message: ir.Message) -> ir.Message:
        if not self.ids or message.role != "tool":
            return message
        parts: list[ir.Part] = [
            replace(part, call_id=self.ids[part.call_id])
            if isinstance(part, ir.ToolResult) and part.call_id in self.ids
            else part
            for part in message.parts
        ]
        return replace(message, parts=parts)

    def _is_home(self, origin: Origin) -> bool:
        return origin.provider == self.provider and origin.model == self.model

    def _warn(self, origin: Origin | None) -> None:
        source = f"{origin.provider}/{origin.model}" if origin else "an unknown source"
        self.warnings[source] = ir.Warning(
            "dropped_state",
            "reasoning",
            f"state of {source} cannot go to {self.provider}/{self.model}",
        )

    def _part(self, part: ir.Part) -> ir.Part | None:
        """The part without tokens; state that may travel on is put back."""
        text = token_of(part)
        if not text:
            return part
        token = self.tokens.get(text)
        bare = _without_slot(part)
        if isinstance(part, ir.ToolCall):
            return bare
        if token is None or token.origin is None:
            self._warn(None)
            return bare
        if not self._is_home(token.origin):
            self._warn(token.origin)
            return bare
        text = bare.text if token.digest and isinstance(bare, ir.Reasoning) else token.text
        if token.digest and digest_of(text) != token.digest:
            self._warn(token.origin)
            return bare
        return ir.Reasoning(text, token.metadata)

    def _restore_turn(self, parts: list[ir.Part], base: str, turn: CarriedTurn) -> list[ir.Part]:
        """The parts as the provider sent them, as far as the client sent them back."""
        calls: dict[str, ir.ToolCall] = {}
        for part in parts:
            if isinstance(part, ir.ToolCall) and base_of(part, self.tokens) == base:
                calls[_number_of(part, self.tokens)] = part
        texts = _match_texts(parts, turn.entries)
        restored: list[ir.Part] = []
        is_first = base not in self.restored
        self.restored.add(base)
        number = 0
        for entry in turn.entries:
            if entry.kind == "reasoning":
                if is_first:
                    restored.append(ir.Reasoning(entry.text, entry.metadata))
            elif entry.kind == "text":
                if is_first:
                    restored.extend(texts.matched(entry))
            else:
                call = calls.get(str(number))
                number += 1
                if call is not None:
                    restored.append(self._own_call(call, entry))
        own: dict[str, list[ir.ToolCall]] = {}
        for call in calls.values():
            own.setdefault(call.id, []).append(call)
        others = [
            part
            for part in parts
            if not isinstance(part, ir.Reasoning | ir.Text)
            and not (isinstance(part, ir.ToolCall) and part in own.get(part.id, ()))
        ]
        return [*texts.unmatched, *restored, *others]

    def _own_call(self, call: ir.ToolCall, entry: Entry) -> ir.ToolCall:
        self.ids[call.id] = entry.id
        own = replace(call, id=entry.id, metadata=entry.metadata)
        if entry.text and entry.text != call.arguments_json:
            same = ir.ToolCall("", "", entry.text).arguments
            if same is not None and same == call.arguments:
                # The provider's own text, byte for byte: caches and signatures depend on it.
                own = replace(own, arguments_json=entry.text)
        return own


class _Texts:
    """The client's texts, divided as the provider sent them."""

    def __init__(self, unmatched: list[ir.Part], slices: list[str]) -> None:
        self.unmatched = unmatched
        self._slices = iter(slices)

    def matched(self, entry: Entry) -> list[ir.Part]:
        return [ir.Text(text, entry.metadata) for text in islice(self._slices, 1)]


def _match_texts(parts: list[ir.Part], entries: list[Entry]) -> _Texts:
    texts: list[ir.Part] = [part for part in parts if isinstance(part, ir.Text) and part.text]
    whole = "".join(part.text for part in texts if isinstance(part, ir.Text))
    sizes = [entry.size for entry in entries if entry.kind == "text"]
    if len(whole) != sum(sizes):
        return _Texts(texts, [])
    slices: list[str] = []
    place = 0
    for size in sizes:
        slices.append(whole[place : place + size])
        place += size
    return _Texts([], slices)


_TOKENED = (ir.Reasoning, ir.ToolCall, ir.Text)


def token_of(part: ir.Part) -> str:
    """The token in any client's slot of this part; empty where there is none."""
    if not part.metadata or not isinstance(part, _TOKENED):
        return ""
    for dialect, state in part.metadata.items():
        slot = slot_of(dialect)
        if not slot:
            continue
        value: Any = state
        for key in slot:
            value = value.get(key) if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        for found in (value, state.get("redacted_data")):  # pyright: ignore[reportUnknownVariableType]
            if isinstance(found, str) and is_token(found):
                return found
    return ""


def _without_slot(part: ir.Part) -> ir.Part:
    match part:
        case ir.Reasoning():
            return ir.Reasoning(part.text)
        case ir.ToolCall() | ir.Text():
            metadata = {key: value for key, value in part.metadata.items() if not slot_of(key)}
            return replace(part, metadata=metadata)
        case _:
            return part


def _shown_id(call: ir.ToolCall, tokens: dict[str, Token | None]) -> str:
    if _CARRIED_ID.fullmatch(call.id):
        return call.id
    token = tokens.get(token_of(call))
    return token.id if token is not None else ""


def base_of(call: ir.ToolCall, tokens: dict[str, Token | None]) -> str:
    found = _CARRIED_ID.fullmatch(_shown_id(call, tokens))
    return found.group(1) if found else ""


def _number_of(call: ir.ToolCall, tokens: dict[str, Token | None]) -> str:
    found = _CARRIED_ID.fullmatch(_shown_id(call, tokens))
    return found.group(2) if found else ""
