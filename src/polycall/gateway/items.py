"""Items of answers that a Responses client may refer to, instead of sending them again.

OpenAI keeps what it answered, unless it is told not to, and its clients send an item's id in the
place of the item (`item_reference`); Vercel's does so by default.  What another provider answered
is kept here, under the ids that the client was given, so that it may do the same.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from polycall import jsontext
from polycall.errors import StoreError
from polycall.gateway.store import Store
from polycall.ir import JSON

logger = logging.getLogger("polycall.items")

_CLIENT = "openai-responses"
_KIND = "item_reference"


class Items:
    """Keeps items of answers and finds them again.  One for the process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, owner: str, output: list[JSON]) -> None:
        """Keep an answer's items; they are committed when this returns."""
        saves = [
            self._store.save_state(owner, _state_id(item["id"]), jsontext.encode_bytes(item))
            for item in output
        ]
        try:
            await asyncio.gather(*saves)
        except StoreError:
            # The client has its answer; a reference to it will be refused by name.
            logger.exception("the items of an answer were not kept")

    async def resolved(self, owner: str, body: JSON) -> JSON:
        """The body with items in the place of references to them; those unknown here stay."""
        given: Any = body.get("input")
        items: list[Any] = given if isinstance(given, list) else []  # pyright: ignore[reportUnknownVariableType]
        wanted = [found for item in items if (found := _referred(item))]
        if not wanted:
            return body
        kept = await self._store.load_states(owner, [_state_id(name) for name in wanted])
        if not kept:
            return body
        found = {name: kept.get(_state_id(name)) for name in wanted}
        return {
            **body,
            "input": [
                item if (value := found.get(_referred(item))) is None else jsontext.decode(value)
                for item in items
            ],
        }


def wants_items(client: str, asked_store: object) -> bool:
    """Whether a client may come back with references to what it is answered."""
    return client == _CLIENT and asked_store is not False


def _referred(item: Any) -> str:
    """The id that an input item refers to; empty where it is no reference."""
    if not isinstance(item, dict) or item.get("type") != _KIND:  # pyright: ignore[reportUnknownMemberType]
        return ""
    name: Any = item.get("id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return name if isinstance(name, str) else ""


def _state_id(item_id: str) -> str:
    return f"item_{item_id}"
