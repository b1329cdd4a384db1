"""Answers that a Responses client may refer to, instead of sending them again.

OpenAI keeps what it answered, unless it is told not to.  Its clients send an item's id in the place
of the item (`item_reference`; Vercel's does so by default), or an answer's in the place of all that
was said (`previous_response_id`).  What another provider answered is kept here, under the ids that
the client was given, so that it may do the same.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from polycall._support import jsontext
from polycall.errors import MalformedRequestError, NotFoundError, StoreError
from polycall.gateway.http.values import ValueCounter
from polycall.gateway.state.conversations import Conversations, item_state, whole_item
from polycall.gateway.state.sealed_tokens import Sealer, is_token
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import short_hash

logger = logging.getLogger("polycall.items")

TURNS_MAX = 1000

_KIND = "item_reference"
# The fields that name the answer before.  Google's Interactions has the same habit as OpenAI's
# Responses, without references to single items.
_PREVIOUS_FIELDS = ("previous_response_id", "previous_interaction_id")
_PREVIOUS = "previous_response_id"
_CONVERSATION = "conversation"
_COMPACTIONS = frozenset({"compaction", "compaction_summary"})
_SUMMARY_MARK, _ALL_MARK = b"summary\0", b"summary of all\0"
_WHOLE = ("completed", "incomplete")
_ID = re.compile(rb'"id"\s*:\s*"([\w.:-]{1,200})"')
_ID_BYTES = 8192
# One of them stands in a body that may refer to an answer.
REFERENCE_MARKS = (
    b'"item_reference"',
    b'"previous_response_id"',
    b'"previous_interaction_id"',
    b'"conversation"',
    b'"compaction"',
    b'"compaction_summary"',
)


class _Weight:
    """The weight of the stored answers that one request had put in place."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._bytes = 0
        self._values = ValueCounter()

    async def add(self, value: bytes) -> None:
        """Count what is put in place next."""
        self._bytes += len(value)
        if self._bytes > self.bytes_max:
            raise MalformedRequestError(
                f"what the request refers to is larger than {self.bytes_max} bytes; begin a new "
                "conversation, with a summary of this one",
                path=_PREVIOUS,
            )
        await self._values.add(value)


class StoredResponses:
    """Keeps answers and finds them again.  One for the process."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self.conversations = Conversations(store)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def keep(self, owner: str, request_fields: JSON, response: JSON) -> None:
        """Keep an answer, its items and what was asked; committed when this returns."""
        whole: JSON = {**response, "output": []} if "output" in response else response
        record: dict[str, JSON] = {response_state(response["id"]): whole}
        try:
            await self.keep_turn(owner, request_fields, response, more=record)
        except (StoreError, MalformedRequestError, NotFoundError):
            # The client has its answer; a reference to it will be refused by name.
            logger.exception("an answer was not kept")

    async def keep_turn(
        self,
        owner: str,
        request_fields: JSON,
        response: JSON,
        *,
        more: Mapping[str, JSON] | None = None,
    ) -> None:
        """Keep what was asked and the items of its answer; a conversation grows by both."""
        is_interaction = "previous_interaction_id" in request_fields
        output: list[JSON] = [] if is_interaction else response["output"]
        conversation = conversation_of(request_fields.get(_CONVERSATION))
        turn: JSON = {
            "previous": _previous(request_fields),
            "input": _listed(request_fields.get("input"), is_interaction=is_interaction),
            "output": [item["id"] for item in output],
            "steps": response["steps"] if is_interaction else [],
            "conversation": conversation,
        }
        kept = {item_state(item["id"]): item for item in output}
        kept[f"turn_{response['id']}"] = turn
        kept.update(more or {})
        values = ((state, jsontext.encode_bytes(value)) for state, value in kept.items())
        await self._store.save_pairs(owner, values)
        if conversation and response.get("status") in _WHOLE:
            await self.conversations.add(owner, conversation, [*turn["input"], *output])

    async def note_place(self, owner: str, name: str, provider: str, model: str) -> None:
        """Note which provider keeps an answer that passed through, for its owner alone."""
        value = jsontext.encode_bytes({"provider": provider, "model": model})
        try:
            await self._store.save_state(owner, f"place_{name}", value)
        except StoreError:
            logger.exception("the place of an answer was not noted")

    async def place(self, owner: str, name: str) -> str:
        """`provider/model` of an answer that its provider keeps; empty for any other."""
        state = f"place_{name}"
        found = await self._store.load_states(owner, [state], may_change=True)
        if state not in found:
            return ""
        place: JSON = jsontext.decode(found[state])
        return f"{place['provider']}/{place['model']}"

    async def find(self, owner: str, name: str) -> JSON | None:
        """The whole answer of this id, as the client was given it."""
        state, turn_state = response_state(name), f"turn_{name}"
        found = await self._store.load_states(owner, [state, turn_state], may_change=True)
        if state not in found:
            return None
        response: JSON = jsontext.decode(found[state])
        if turn_state in found and response.get("output") == []:
            turn = jsontext.decode(found[turn_state])
            response["output"] = await self._items(owner, turn["output"])
        return response

    async def input_items(self, owner: str, name: str, bytes_max: int) -> list[JSON] | None:
        """All that was said before the answer of this id, the oldest first, each with an id."""
        found = await self._store.load_states(owner, [f"turn_{name}"], may_change=True)
        if not found:
            return None
        turn: JSON = jsontext.decode(found[f"turn_{name}"])
        body: JSON = {"input": turn["input"], _PREVIOUS: turn["previous"]}
        if not body[_PREVIOUS]:
            del body[_PREVIOUS]
        resolved = await self.resolved(owner, body, bytes_max)
        items: list[JSON] = [
            item for item in _listed(resolved.get("input")) if isinstance(item, dict)
        ]
        # An item that came without an id has the same one whenever it is listed.
        return [
            whole_item({"id": f"msg_{short_hash(name, str(place))}", **item})
            for place, item in enumerate(items)
        ]

    async def delete(self, owner: str, name: str) -> bool:
        """Remove an answer and its items; false where there is none."""
        state, turn_state = response_state(name), f"turn_{name}"
        found = await self._store.load_states(owner, [state, turn_state], may_change=True)
        if not found:
            return False
        states = [state, turn_state]
        if turn_state in found:
            turn = jsontext.decode(found[turn_state])
            if not turn.get("conversation"):  # whose items they are by now
                states += map(item_state, turn["output"])
        return await self._store.delete_states(owner, states) > 0

    async def _items(self, owner: str, ids: list[str]) -> list[JSON]:
        found = await self._store.load_states(owner, [item_state(each) for each in ids])
        return [jsontext.decode(found[name]) for each in ids if (name := item_state(each)) in found]

    # Compaction

    def seal_summary(self, owner: str, summary: str, *, is_all: bool = False) -> str:
        """Seal a summary for a compaction item: only its owner may bring it back.

        With `is_all` it stands for all items before it, whether or not they come again.
        """
        mark = _ALL_MARK if is_all else _SUMMARY_MARK
        return self._sealer.seal(owner, mark + summary.encode("utf-8", "replace"))

    def _opened(self, owner: str, item: Any) -> Any:
        """The message that a compaction item of ours stands for; any other item as it is."""
        fields: JSON = item if isinstance(item, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        kind, token = fields.get("type"), fields.get("encrypted_content")
        if not isinstance(kind, str) or kind not in _COMPACTIONS or not isinstance(token, str):
            return item  # pyright: ignore[reportUnknownVariableType]
        if not is_token(token):
            return fields
        payload = self._sealer.open(owner, token)
        if payload is None or not payload.startswith((_SUMMARY_MARK, _ALL_MARK)):
            raise MalformedRequestError(
                "this compaction was not made here for this key; leave it out, or send what it "
                "stands for",
                path="input",
            )
        mark, _, text = payload.partition(b"\0")
        message = summary_message(text.decode("utf-8", "replace"))
        return _All(message) if mark + b"\0" == _ALL_MARK else message

    # What a request refers to

    async def resolved(self, owner: str, body: JSON, bytes_max: int) -> JSON:
        """The body with what it refers to in place; references unknown here stay.

        Raises `MalformedRequestError` where that is more than `bytes_max`.  One client's
        references are followed one request after the other.
        """
        turn = self._turns.setdefault(owner, asyncio.Semaphore(1))
        async with turn:
            body = await self._resolved(owner, body, _Weight(bytes_max))
        given: Any = body.get("input")
        if isinstance(given, list):
            opened = [self._opened(owner, item) for item in given]  # pyright: ignore[reportUnknownVariableType]
            if opened != given:
                body = {**body, "input": _from_last(opened)}
        return body

    async def _resolved(self, owner: str, body: JSON, weight: _Weight) -> JSON:
        body = await self._with_history(owner, body, weight)
        body = await self._with_conversation(owner, body, weight)
        given: Any = body.get("input")
        items: list[Any] = given if isinstance(given, list) else []  # pyright: ignore[reportUnknownVariableType]
        wanted = [found for item in items if (found := _referred(item))]
        if not wanted:
            return body
        states = [item_state(name) for name in wanted]
        kept = await self._store.load_states(owner, states, bytes_max=weight.bytes_max)
        if not kept:
            return body
        found = {name: kept.get(item_state(name)) for name in wanted}
        for name in wanted:  # as often as it is referred to
            await weight.add(found[name] or b"")
        return {
            **body,
            "input": [
                item if (value := found.get(_referred(item))) is None else jsontext.decode(value)
                for item in items
            ],
        }

    async def _with_conversation(self, owner: str, body: JSON, weight: _Weight) -> JSON:
        """The body with its conversation's items before its own, where that is kept here."""
        name = conversation_of(body.get(_CONVERSATION))
        record = await self.conversations.find(owner, name) if name else None
        if record is None:
            return body  # another's to know
        if body.get(_PREVIOUS):
            raise MalformedRequestError(
                "a request continues a conversation or an answer, not both",
                path=_PREVIOUS,
            )
        states = [item_state(each) for each in record["items"]]
        found = await self._store.load_states(owner, states, bytes_max=weight.bytes_max)
        history: list[Any] = []
        for state in states:
            if state in found:
                await weight.add(found[state])
                history.append(jsontext.decode(found[state]))
        body = {**body, "input": [*history, *_listed(body.get("input"))]}
        del body[_CONVERSATION]
        return body

    async def _with_history(self, owner: str, body: JSON, weight: _Weight) -> JSON:
        """The body with all that was said before it, where the answer it follows was kept here."""
        turns: list[JSON] = []
        field = next((f for f in _PREVIOUS_FIELDS if body.get(f)), _PREVIOUS)
        name: Any = body.get(field)
        while isinstance(name, str) and name:
            # The one that is named may have been deleted meanwhile, by another process.
            found = await self._store.load_states(owner, [f"turn_{name}"], may_change=not turns)
            if not found and not turns:
                return body  # another's to know
            if not found or len(turns) == TURNS_MAX:
                words = "is no longer kept" if not found else f"has more than {TURNS_MAX} turns"
                raise MalformedRequestError(
                    f"the conversation {words}; send its items in 'input'", path=field
                )
            kept = found[f"turn_{name}"]
            await weight.add(kept)
            turns.append(jsontext.decode(kept))
            name = turns[-1]["previous"]
        if not turns:
            return body
        history: list[Any] = []
        for turn in reversed(turns):
            history += turn["input"]
            history += ({"type": _KIND, "id": item_id} for item_id in turn["output"])
            history += turn.get("steps", [])
        given = _listed(body.get("input"), is_interaction=field != _PREVIOUS)
        body = {**body, "input": [*history, *given]}
        del body[field]
        return body


class _All(dict[str, Any]):
    """The message of a summary that stands for all items before it."""


def _from_last(items: list[Any]) -> list[Any]:
    """Items from the last summary of all on; those of the system and the developer are kept."""
    places = [place for place, item in enumerate(items) if isinstance(item, _All)]
    if not places:
        return items
    before: list[Any] = [
        item
        for item in items[: places[-1]]
        if isinstance(item, dict) and item.get("role") in ("system", "developer")  # pyright: ignore[reportUnknownMemberType]
    ]
    return [*before, *items[places[-1] :]]


def id_in(data: bytes) -> str:
    """The first id in an answer's bytes, which is the answer's; empty where there is none."""
    found = _ID.search(data, 0, _ID_BYTES)
    return found[1].decode() if found else ""


def wants_stored(client: str, asked_store: object) -> bool:
    """Whether a client may come back with references to what it is answered."""
    return bool(DIALECTS[client].FACTS.earlier_fields) and asked_store is not False


def _listed(given: Any, *, is_interaction: bool = False) -> list[Any]:
    """A request's input as a list of items, or of an interaction's steps."""
    if is_interaction and not _has_steps(given):
        return [{"type": "user_input", "content": given}] if given else []
    if isinstance(given, list):
        return given  # pyright: ignore[reportUnknownVariableType]
    return [{"role": "user", "content": given}] if isinstance(given, str) else []


def _previous(fields: JSON) -> Any:
    return next((fields[name] for name in _PREVIOUS_FIELDS if fields.get(name)), None)


def _has_steps(given: Any) -> bool:
    first: Any = given[0] if isinstance(given, list) and given else None  # pyright: ignore[reportUnknownVariableType]
    kind: Any = first.get("type") if isinstance(first, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return kind in ("user_input", "model_output", "thought", "function_call", "function_result")


def _referred(item: Any) -> str:
    """The id that an input item refers to; empty where it is no reference."""
    if not isinstance(item, dict) or item.get("type") != _KIND:  # pyright: ignore[reportUnknownMemberType]
        return ""
    name: Any = item.get("id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return name if isinstance(name, str) else ""


def conversation_of(given: Any) -> str:
    """The id of the conversation that a request names, in either form."""
    if isinstance(given, dict):
        given = given.get("id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return given if isinstance(given, str) else ""


def response_state(name: str) -> str:
    """Under which name an answer is kept."""
    return f"response_{name}"


def summary_message(summary: str) -> JSON:
    """The message that the model reads in place of all that a compaction replaced."""
    text = f"Summary of the conversation so far, written by you:\n\n{summary}"
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
