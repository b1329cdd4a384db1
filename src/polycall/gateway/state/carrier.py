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
import secrets
from typing import Any

import msgspec

from polycall.errors import StoreError
from polycall.gateway.state.carried import (
    ID_HEAD,
    CarriedRequest,
    CarriedTurn,
    Origin,
    Token,
    base_of,
    digest_of,
    slot_of,
    token_of,
)
from polycall.gateway.state.plain_turns import turn_names
from polycall.gateway.state.sealed_tokens import Sealer
from polycall.gateway.store import Store
from polycall.ir import Message, Metadata, Reasoning, Request, ToolCall
from polycall.providers.dialects import DIALECTS
from polycall.translation.conversation import begun, end_of_beginning, keep_begun, known_of

logger = logging.getLogger("polycall.carrier")

_SEALED_CHARS_MAX = 1_000_000  # of a thought that its token holds as well
_KEPT_CHARS_MAX = 8 * 2**20  # of the thoughts and calls of one turn
KEPT_PARTS_MAX = 20_000  # of a turn: no client may bring back more

_encoder = msgspec.msgpack.Encoder()
_turn_decoder = msgspec.msgpack.Decoder(CarriedTurn)
_token_decoder = msgspec.msgpack.Decoder(Token)


class _Seen:
    """The findings in messages: opened tokens, names of kept turns, and those turns."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token | None] = {}
        self.bases: set[str] = set()
        self.turns: dict[str, CarriedTurn] = {}
        self.looked_up: set[str] = set()  # names, also of what was never kept

    def copied(self) -> _Seen:
        """The same, to find more in other messages."""
        copied = _Seen()
        copied.tokens, copied.bases = self.tokens.copy(), self.bases.copy()
        copied.turns, copied.looked_up = self.turns.copy(), self.looked_up.copy()
        return copied


class Carrier:
    """Embeds in answers, extracts from requests.  One for the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sealer = Sealer(store.secret)
        # Unique among processes; it need not be secret, since entries belong to their owner.
        self._base_head = ID_HEAD + secrets.token_hex(8)
        self._bases = 0

    def new_base(self) -> str:
        """A name for a kept turn that no other turn has."""
        self._bases += 1
        return f"{self._base_head}{self._bases:08x}"

    # Requests

    async def extract(
        self, request: Request, owner: str, *, keeps_texts: bool = False
    ) -> CarriedRequest:
        """The state that the history of `request` carries for this owner.

        `keeps_texts`: turns without calls may have been kept as well.
        """
        messages = request.messages
        known, end = known_of(messages), end_of_beginning(messages)
        start, before = begun(known, messages, Carrier)
        seen = _Seen() if before is None else before.copied()
        if end > start and known is not None:
            self._look(seen, messages[start:end], owner)
            begin = seen.copied()
        else:
            begin, end = seen, start
        self._look(seen, messages[end:], owner)
        if known is None and not (keeps_texts or seen.tokens or seen.bases):
            return CarriedRequest(request, {}, {}, is_empty=True)
        names = turn_names(messages) if keeps_texts else {}
        wanted = sorted({*seen.bases, *names.values()} - seen.looked_up)
        found = await self._store.load_states(owner, wanted) if wanted else {}
        turns = {base: _turn_decoder.decode(value) for base, value in found.items()}
        seen.turns.update(turns)
        if begin is not seen:
            begin.looked_up |= {*begin.bases, *names.values()}
            begin.turns.update((name, turns[name]) for name in begin.looked_up & turns.keys())
            keep_begun(known, messages[:end], Carrier, begin)
        if not seen.tokens and not seen.bases and not names:
            return CarriedRequest(request, {}, {}, is_empty=True)
        names = {place: name for place, name in names.items() if name in seen.turns}
        return CarriedRequest(request, seen.tokens, seen.turns, names)

    def _look(self, seen: _Seen, messages: list[Message], owner: str) -> None:
        """Note the tokens and the names of kept turns in these messages."""
        for message in messages:
            if message.role != "assistant":
                continue
            for part in message.parts:
                token = token_of(part)
                if token and token not in seen.tokens:
                    seen.tokens[token] = self._open(owner, token)
                if isinstance(part, ToolCall) and (base := base_of(part, seen.tokens)):
                    seen.bases.add(base)

    def _open(self, owner: str, token: str) -> Token | None:
        payload = self.sealer.open(owner, token)
        return None if payload is None else _token_decoder.decode(payload)

    # Answers

    def seal_reasoning(self, part: Reasoning, origin: Origin, owner: str, client: str) -> Metadata:
        """The metadata that shows a token for this part to `client`.

        Another vendor's part has one where there is no state, too: the client's own vendor would
        refuse what it did not write, if it were sent there as it comes back.
        """
        slot = slot_of(client)
        state = part.metadata.get(origin.dialect)
        if not slot or not (state or client != origin.dialect):
            return {}
        is_long = len(part.text) > _SEALED_CHARS_MAX
        text, digest = ("", digest_of(part.text)) if is_long else (part.text, "")
        payload = Token(origin, text, {origin.dialect: state} if state else {}, digest=digest)
        packed = _packed(payload)
        return {} if packed is None else _in_slot(client, slot, self.sealer.seal(owner, packed))

    def seal_id(self, call_id: str, owner: str, client: str) -> Metadata:
        """Seal a call's id for clients that may lose it but keep what stands alongside it.

        It says, too, that the call was made here: Google refuses calls without a signature.
        """
        if not marks_calls(client):
            return {}
        packed = _packed(Token(None, id=call_id))
        if packed is None:
            return {}
        return _in_slot(client, slot_of(client), self.sealer.seal(owner, packed))

    async def keep(self, owner: str, base: str, turn: CarriedTurn) -> None:
        """Keep a turn; it is committed when this returns."""
        size = sum(len(each.text) for each in turn.entries)
        if size > _KEPT_CHARS_MAX:  # the next step tells of the loss, as below
            logger.warning("a turn of %d characters is not kept: %d at most", size, _KEPT_CHARS_MAX)
            return
        value = _packed(turn)
        if value is None:
            return
        try:
            await self._store.save_state(owner, base, value)
        except StoreError:
            # The client has its answer; the next step tells of the loss.
            logger.exception("the state of a turn was not kept")


def _packed(value: CarriedTurn | Token) -> bytes | None:
    """The bytes of it; `None` where a provider wrote what no other reader would take."""
    try:
        return _encoder.encode(value)
    except (OverflowError, UnicodeEncodeError) as error:
        logger.warning("the state of a turn is not carried: %s", error)
        return None


def marks_calls(client: str) -> bool:
    """Whether each call made here has a token, for clients of this protocol."""
    known = DIALECTS.get(client)
    return known is not None and known.FACTS.marks_calls


def _in_slot(client: str, slot: tuple[str, ...], token: str) -> Metadata:
    value: Any = token
    for key in reversed(slot):
        value = {key: value}
    return {client: value}
