"""Answers that a Responses client may refer to, instead of sending them again.

OpenAI keeps what it answered, unless it is told not to.  Its clients send an item's id in the place
of the item (`item_reference`; Vercel's does so by default), or an answer's in the place of all that
was said (`previous_response_id`).  What another provider answered is kept here, under the ids that
the client was given, so that it may do the same.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import WeakValueDictionary

from polycall._support import jsontext
from polycall.errors import MalformedRequestError, StoreError
from polycall.gateway.store import Store
from polycall.ir import JSON

logger = logging.getLogger("polycall.items")

TURNS_MAX = 1000

_CLIENT = "openai-responses"
_KIND = "item_reference"
_PREVIOUS = "previous_response_id"
_MARKS = (b'"item_reference"', b'"previous_response_id"')


class _Weight:
    """How much of what was kept one request has had put in place."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0

    def add(self, size: int) -> None:
        """Count what is put in place next."""
        self._bytes += size
        if self._bytes > self._bytes_max:
            raise MalformedRequestError(
                f"what the request refers to is larger than {self._bytes_max} bytes; begin a new "
                "conversation, with a summary of this one",
                path=_PREVIOUS,
            )


class StoredResponses:
    """Keeps answers and finds them again.  One for the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def keep(
        self, owner: str, response_id: str, request_fields: JSON, output: list[JSON]
    ) -> None:
        """Keep an answer, its items and what was asked; committed when this returns."""
        turn: JSON = {
            "previous": request_fields.get(_PREVIOUS),
            "input": _listed(request_fields.get("input")),
            "output": [item["id"] for item in output],
        }
        kept = {_state_id(item["id"]): item for item in output}
        kept[f"turn_{response_id}"] = turn
        values = {name: jsontext.encode_bytes(value) for name, value in kept.items()}
        try:
            await self._store.save_states(owner, values)
        except StoreError:
            # The client has its answer; a reference to it will be refused by name.
            logger.exception("an answer was not kept")

    async def resolved(self, owner: str, body: JSON, bytes_max: int) -> JSON:
        """The body with what it refers to in place; references unknown here stay.

        Raises `MalformedRequestError` where that is more than `bytes_max`.  One client's
        references are followed one request after the other.
        """
        turn = self._turns.setdefault(owner, asyncio.Semaphore(1))
        async with turn:
            return await self._resolved(owner, body, _Weight(bytes_max))

    async def _resolved(self, owner: str, body: JSON, weight: _Weight) -> JSON:
        body = await self._with_history(owner, body, weight)
        given: Any = body.get("input")
        items: list[Any] = given if isinstance(given, list) else []  # pyright: ignore[reportUnknownVariableType]
        wanted = [found for item in items if (found := _referred(item))]
        if not wanted:
            return body
        kept = await self._store.load_states(owner, [_state_id(name) for name in wanted])
        if not kept:
            return body
        found = {name: kept.get(_state_id(name)) for name in wanted}
        for name in wanted:  # as often as it is referred to
            weight.add(len(found[name] or b""))
        return {
            **body,
            "input": [
                item if (value := found.get(_referred(item))) is None else jsontext.decode(value)
                for item in items
            ],
        }

    async def _with_history(self, owner: str, body: JSON, weight: _Weight) -> JSON:
        """The body with all that was said before it, where the answer it follows was kept here."""
        turns: list[JSON] = []
        name: Any = body.get(_PREVIOUS)
        while isinstance(name, str) and name:
            found = await self._store.load_states(owner, [f"turn_{name}"])
            if not found and not turns:
                return body  # another's to know
            if not found or len(turns) == TURNS_MAX:
                words = "is no longer kept" if not found else f"has more than {TURNS_MAX} turns"
                raise MalformedRequestError(
                    f"the conversation {words}; send its items in 'input'", path=_PREVIOUS
                )
            kept = found[f"turn_{name}"]
            weight.add(len(kept))
            turns.append(jsontext.decode(kept))
            name = turns[-1]["previous"]
        if not turns:
            return body
        history: list[Any] = []
        for turn in reversed(turns):
            history += turn["input"]
            history += ({"type": _KIND, "id": item_id} for item_id in turn["output"])
        body = {**body, "input": [*history, *_listed(body.get("input"))]}
        del body[_PREVIOUS]
        return body


def refers(body: bytes) -> bool:
    """Whether a Responses body may refer to an answer."""
    return any(mark in body for mark in _MARKS)


def wants_stored(client: str, asked_store: object) -> bool:
    """Whether a client may come back with references to what it is answered."""
    return client == _CLIENT and asked_store is not False


def _listed(given: Any) -> list[Any]:
    """A request's input as a list of items."""
    if isinstance(given, list):
        return given  # pyright: ignore[reportUnknownVariableType]
    return [{"role": "user", "content": given}] if isinstance(given, str) else []


def _referred(item: Any) -> str:
    """The id that an input item refers to; empty where it is no reference."""
    if not isinstance(item, dict) or item.get("type") != _KIND:  # pyright: ignore[reportUnknownMemberType]
        return ""
    name: Any = item.get("id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return name if isinstance(name, str) else ""


def _state_id(item_id: str) -> str:
    return f"item_{item_id}"
