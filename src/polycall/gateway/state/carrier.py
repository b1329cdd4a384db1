"""Carries what one provider needs echoed through a client whose protocol has no place for it.

Works on the middle language alone: on a request after the client's dialect has parsed it, on an
answer before the client's dialect renders it.  No dialect knows of this.

Two ways, which agree:

* A reasoning part that a client shows and sends back carries its state as a sealed token in the
  client's own slot (an Anthropic signature, encrypted content, a thought signature).
* The state of a whole turn with tool calls is kept in the store, and the ids of its calls, as the
  client sees them, name the entry.  This serves clients without any slot, and clients that drop
  what they do not understand.  Where a model checks that none of its turns was left out, turns
  without calls are kept too, by what was said (`plain_turns.py`).

State is bound to the client's key and to the provider and model it came from.  On its way to any
other it is left out, with a warning.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polycall.errors import StoreError
from polycall.gateway.state.plain_turns import turn_names
from polycall.gateway.state.sealed_tokens import Sealer, is_token
from polycall.gateway.store import Store
from polycall.ir import (
    Message,
    Metadata,
    Part,
    Reasoning,
    Request,
    Text,
    ToolCall,
    ToolResult,
    Warning,
)
from polycall.providers.dialects import DIALECTS
from polycall.translation.conversation import like, note_seen, unseen
from polycall.translation.opened import with_opened

logger = logging.getLogger("polycall.carrier")


def slot_of(dialect: str) -> tuple[str, ...]:
    """Where a client protocol has room for a token on a reasoning part; empty where it has none."""
    known = DIALECTS.get(dialect)
    return () if known is None else known.FACTS.reasoning_slot


_ID_HEAD = "call_pc"
_CARRIED_ID = re.compile(r"(call_pc[0-9a-f]{24})_(\d{1,4})")


class Origin(Struct, frozen=True, array_like=True):
    """Where state came from, which is the only place it may go."""

    dialect: str
    provider: str
    model: str


class Entry(Struct, frozen=True, array_like=True):
    """One part of a kept turn: reasoning whole, text by its length, a call by its number."""

    kind: str  # reasoning, text, call
    text: str = ""
    metadata: Metadata = {}
    id: str = ""
    size: int = 0


class CarriedTurn(Struct, frozen=True, array_like=True):
    """A kept turn, and the names of the tools that were offered for it."""

    origin: Origin
    entries: list[Entry]
    tools: list[str] = []


class _Token(Struct, frozen=True, array_like=True):
    """What a sealed token holds: a reasoning part, or the id of a call."""

    origin: Origin | None
    text: str = ""
    metadata: Metadata = {}
    id: str = ""


_encoder = msgspec.msgpack.Encoder()
_turn_decoder = msgspec.msgpack.Decoder(CarriedTurn)
_token_decoder = msgspec.msgpack.Decoder(_Token)


class Carrier:
    """Embeds in answers, extracts from requests.  One for the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sealer = Sealer(store.secret)
        # Unique among processes; it need not be secret, since entries belong to their owner.
        self._base_head = _ID_HEAD + secrets.token_hex(8)
        self._bases = 0

    def new_base(self) -> str:
        """A name for a kept turn that no other turn has."""
        self._bases += 1
        return f"{self._base_head}{self._bases:08x}"

    # Requests

    async def extract(
        self, request: Request, owner: str, *, keeps_texts: bool = False
    ) -> CarriedRequest:
        """What the history of `request` carries for this owner.

        `keeps_texts`: turns without calls may have been kept as well.
        """
        tokens: dict[str, _Token | None] = {}
        bases: set[str] = set()
        for message in unseen(request.messages, Carrier):
            if message.role != "assistant":
                continue
            for part in message.parts:
                token = _token_of(part)
                if token and token not in tokens:
                    tokens[token] = self._open(owner, token)
                if isinstance(part, ToolCall) and (base := _base_of(part, tokens)):
                    bases.add(base)
        names = turn_names(request.messages) if keeps_texts else {}
        if not tokens and not bases:
            note_seen(request.messages, Carrier)
        if not tokens and not bases and not names:
            return CarriedRequest(request, {}, {}, is_empty=True)
        turns: dict[str, CarriedTurn] = {}
        wanted = sorted(bases.union(names.values()))
        found = await self._store.load_states(owner, wanted) if wanted else {}
        for base, value in found.items():
            turns[base] = _turn_decoder.decode(value)
        names = {place: name for place, name in names.items() if name in turns}
        return CarriedRequest(request, tokens, turns, names)

    def _open(self, owner: str, token: str) -> _Token | None:
        payload = self.sealer.open(owner, token)
        return None if payload is None else _token_decoder.decode(payload)

    # Answers

    def seal_reasoning(self, part: Reasoning, origin: Origin, owner: str, client: str) -> Metadata:
        """The metadata that shows a token for this part to `client`."""
        slot = slot_of(client)
        state = part.metadata.get(origin.dialect)
        if not slot or not state:
            return {}
        payload = _Token(origin, part.text, {origin.dialect: state})
        return _in_slot(client, slot, self.sealer.seal(owner, _encoder.encode(payload)))

    def seal_id(self, call_id: str, owner: str, client: str) -> Metadata:
        """For clients that may lose a call's id but keep what stands beside it."""
        if client != "gemini":
            return {}
        token = self.sealer.seal(owner, _encoder.encode(_Token(None, id=call_id)))
        return _in_slot(client, slot_of(client), token)

    async def keep(self, owner: str, base: str, turn: CarriedTurn) -> None:
        """Keep a turn; it is committed when this returns."""
        value = _encoder.encode(turn)
        try:
            await self._store.save_state(owner, base, value)
        except StoreError:
            # The client has its answer; the next step tells of the loss.
            logger.exception("the state of a turn was not kept")


class CarriedRequest:
    """A request and what its history carries; `for_target` gives each provider its own view."""

    def __init__(
        self,
        request: Request,
        tokens: dict[str, _Token | None],
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

    def holding(self, request: Request) -> CarriedRequest:
        """The same for a request that begins with this one's history."""
        return CarriedRequest(
            request, self._tokens, self._turns, self._names, is_empty=self.is_empty
        )

    def for_target(self, provider: str, model: str) -> tuple[Request, list[Warning]]:
        """The request with the state that this provider and model issued, and no other."""
        if self.is_empty:
            return self.request, []
        view = _View(self._tokens, self._turns, provider, model)
        messages: list[Message] = []
        later = LaterTools(messages)
        for place, message in enumerate(self.request.messages):
            own = view.message(message, self._names.get(place, ""))
            if view.tools:
                later.offered(view.tools)
            messages.append(own)
        later.offered([tool.name for tool in self.request.tools], begins=False)
        # Ids are mapped last: a result may stand anywhere.
        messages = like([view.with_own_ids(message) for message in messages], self.request.messages)
        return replace(self.request, messages=messages), list(view.warnings.values())


class LaterTools:
    """Tools that a client added in the course of a conversation, named where they came.

    Another list of tools at the beginning would be another beginning; the vendor takes tools that
    come later, where a result refers to them.
    """

    def __init__(self, messages: list[Message]) -> None:
        """`messages` grows while turns are told of."""
        self._messages = messages
        self._known: dict[str, None] | None = None

    def offered(self, names: list[str], *, begins: bool = True) -> None:
        """These were offered for the turn that comes now; the first such turn `begins`."""
        if self._known is None:
            self._known = dict.fromkeys(names) if begins else None
            return
        new = [name for name in names if name not in self._known]
        place = len(self._messages) - 1
        while place > 0 and self._messages[place].role == "system":
            place -= 1
        if new and place >= 0 and self._messages[place].role in ("tool", "user"):
            self._messages[place] = with_opened(self._messages[place], new)
            self._known.update(dict.fromkeys(new))


class _View:
    """The history as one provider may see it."""

    def __init__(
        self,
        tokens: dict[str, _Token | None],
        turns: dict[str, CarriedTurn],
        provider: str,
        model: str,
    ) -> None:
        self._tokens = tokens
        self._turns = turns
        self._provider = provider
        self._model = model
        self._ids: dict[str, str] = {}
        self._restored: set[str] = set()
        self.tools: list[str] = []  # that were offered for the last message that was seen
        self.warnings: dict[str, Warning] = {}

    def message(self, message: Message, name: str) -> Message:
        self.tools = []
        if message.role != "assistant":
            return message
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        known = {base for call in calls if (base := _base_of(call, self._tokens))}
        if name:
            known.add(name)
        turns = {base: self._turns[base] for base in sorted(known & self._turns.keys())}
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

    def with_own_ids(self, message: Message) -> Message:
        if not self._ids or message.role != "tool":
            return message
        parts: list[Part] = [
            replace(part, call_id=self._ids[part.call_id])
            if isinstance(part, ToolResult) and part.call_id in self._ids
            else part
            for part in message.parts
        ]
        return replace(message, parts=parts)

    def _is_home(self, origin: Origin) -> bool:
        return origin.provider == self._provider and origin.model == self._model

    def _warn(self, origin: Origin | None) -> None:
        source = f"{origin.provider}/{origin.model}" if origin else "an unknown source"
        self.warnings[source] = Warning(
            "dropped_state",
            "reasoning",
            f"state of {source} cannot go to {self._provider}/{self._model}",
        )

    def _part(self, part: Part) -> Part | None:
        """The part without tokens; state that may travel on is put back."""
        text = _token_of(part)
        if not text:
            return part
        token = self._tokens.get(text)
        bare = _without_slot(part)
        if isinstance(part, ToolCall):
            return bare
        if token is None or token.origin is None:
            self._warn(None)
            return bare
        if not self._is_home(token.origin):
            self._warn(token.origin)
            return bare
        return Reasoning(token.text, token.metadata)

    def _restore_turn(self, parts: list[Part], base: str, turn: CarriedTurn) -> list[Part]:
        """The parts as the provider sent them, as far as the client sent them back."""
        calls: dict[str, ToolCall] = {}
        for part in parts:
            if isinstance(part, ToolCall) and _base_of(part, self._tokens) == base:
                calls[_number_of(part, self._tokens)] = part
        texts = _match_texts(parts, turn.entries)
        restored: list[Part] = []
        is_first = base not in self._restored
        self._restored.add(base)
        number = 0
        for entry in turn.entries:
            if entry.kind == "reasoning":
                if is_first:
                    restored.append(Reasoning(entry.text, entry.metadata))
            elif entry.kind == "text":
                if is_first:
                    restored.extend(texts.matched(entry))
            else:
                call = calls.get(str(number))
                number += 1
                if call is not None:
                    restored.append(self._own_call(call, entry))
        others = [
            part
            for part in parts
            if not isinstance(part, Reasoning | Text)
            and not (isinstance(part, ToolCall) and part in calls.values())
        ]
        return [*texts.unmatched, *restored, *others]

    def _own_call(self, call: ToolCall, entry: Entry) -> ToolCall:
        self._ids[call.id] = entry.id
        own = replace(call, id=entry.id, metadata=entry.metadata)
        if entry.text and entry.text != call.arguments_json:
            same = ToolCall("", "", entry.text).arguments
            if same is not None and same == call.arguments:
                # The provider's own text, byte for byte: caches and signatures depend on it.
                own = replace(own, arguments_json=entry.text)
        return own


class _Texts:
    """The client's texts, divided as the provider sent them."""

    def __init__(self, unmatched: list[Part], slices: list[str]) -> None:
        self.unmatched = unmatched
        self._slices = slices

    def matched(self, entry: Entry) -> list[Part]:
        if not self._slices:
            return []
        return [Text(self._slices.pop(0), entry.metadata)]


def _match_texts(parts: list[Part], entries: list[Entry]) -> _Texts:
    texts: list[Part] = [part for part in parts if isinstance(part, Text) and part.text]
    whole = "".join(part.text for part in texts if isinstance(part, Text))
    sizes = [entry.size for entry in entries if entry.kind == "text"]
    if len(whole) != sum(sizes):
        return _Texts(texts, [])
    slices: list[str] = []
    for size in sizes:
        slices.append(whole[:size])
        whole = whole[size:]
    return _Texts([], slices)


def _token_of(part: Part) -> str:
    """The token in any client's slot of this part; empty where there is none."""
    if not isinstance(part, Reasoning | ToolCall | Text):
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


def _without_slot(part: Part) -> Part:
    match part:
        case Reasoning():
            return Reasoning(part.text)
        case ToolCall() | Text():
            metadata = {key: value for key, value in part.metadata.items() if not slot_of(key)}
            return replace(part, metadata=metadata)
        case _:
            return part


def _in_slot(client: str, slot: tuple[str, ...], token: str) -> Metadata:
    value: Any = token
    for key in reversed(slot):
        value = {key: value}
    return {client: value}


def _shown_id(call: ToolCall, tokens: dict[str, _Token | None]) -> str:
    if _CARRIED_ID.fullmatch(call.id):
        return call.id
    token = tokens.get(_token_of(call))
    return token.id if token is not None else ""


def _base_of(call: ToolCall, tokens: dict[str, _Token | None]) -> str:
    found = _CARRIED_ID.fullmatch(_shown_id(call, tokens))
    return found.group(1) if found else ""


def _number_of(call: ToolCall, tokens: dict[str, _Token | None]) -> str:
    found = _CARRIED_ID.fullmatch(_shown_id(call, tokens))
    return found.group(2) if found else ""
