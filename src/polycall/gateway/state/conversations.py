"""Conversations that a Responses client names instead of sending them (`/v1/conversations`).

A conversation is a list of the ids of its items; an item is kept as the items of answers are.  Two
requests that add at the same time both add, in whatever process they are.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from polycall._support import jsontext
from polycall.errors import MalformedRequestError, NotFoundError, RequestTooLargeError
from polycall.gateway.store import Store
from polycall.ir import JSON

ITEMS_MAX = 5000  # of one conversation
ADDED_MAX = 20  # items of one request to add
# What one request may have that is kept: the database takes several times as much.
KEPT_BYTES_MAX = 8 * 1024 * 1024
_ID_CHARS_MAX = 200
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "reasoning": "rs",
    "compaction": "cmp",
}


def check_kept(size_bytes: int, field: str) -> None:
    """Raise where a request is too long to be kept, which `field` asks for."""
    if size_bytes > KEPT_BYTES_MAX:
        raise RequestTooLargeError(
            f"a request that is kept has at most {KEPT_BYTES_MAX} bytes; send less, or send it "
            f"without {field!r}",
            status=413,
            param=field,
        )


class Conversations:
    """Keeps conversations and finds them again.  One for the process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, owner: str, items: list[Any], metadata: JSON) -> JSON:
        """A new conversation, which begins with these items."""
        name = f"conv_{secrets.token_hex(16)}"
        kept = whole_items(items)
        record: JSON = {
            "created_at": int(time.time()),
            "metadata": metadata,
            "items": [item["id"] for item in kept],
        }
        values = {item_state(item["id"]): jsontext.encode_bytes(item) for item in kept}
        values[_state(name)] = jsontext.encode_bytes(record)
        await self._store.save_states(owner, values)
        return _shown(name, record)

    async def find(self, owner: str, name: str) -> JSON | None:
        """The stored conversation: `created_at`, `metadata`, and the ids of its items."""
        if not _is_name(name):
            return None
        state = _state(name)
        found = await self._store.load_states(owner, [state], may_change=True)
        return jsontext.decode(found[state]) if state in found else None

    async def shown(self, owner: str, name: str) -> JSON:
        """The conversation as a client sees it; raises `NotFoundError`."""
        record = await self.find(owner, name)
        if record is None:
            raise missing(name)
        return _shown(name, record)

    async def item_ids(self, owner: str, name: str) -> list[str]:
        """The ids of its items, the oldest first; raises `NotFoundError`."""
        record = await self.find(owner, name)
        if record is None:
            raise missing(name)
        return record["items"]

    async def items(self, owner: str, ids: list[str]) -> list[JSON]:
        """These items, as far as they are there."""
        found = await self._store.load_states(owner, [item_state(each) for each in ids])
        return [jsontext.decode(found[name]) for each in ids if (name := item_state(each)) in found]

    async def add(self, owner: str, name: str, items: list[Any]) -> list[JSON]:
        """Add items at the end; gives them with their ids."""
        kept = whole_items(items)
        if not kept:
            return []
        values = {item_state(item["id"]): jsontext.encode_bytes(item) for item in kept}
        await self._store.save_states(owner, values)
        ids = [item["id"] for item in kept]

        def added(record: JSON) -> JSON:
            if len(record["items"]) + len(ids) > ITEMS_MAX:
                raise MalformedRequestError(
                    f"a conversation has at most {ITEMS_MAX} items; begin a new one",
                    path="conversation",
                )
            return {**record, "items": [*record["items"], *ids]}

        await self._change(owner, name, added)
        return kept

    async def update(self, owner: str, name: str, metadata: JSON) -> JSON:
        """Give it other metadata."""
        return _shown(
            name, await self._change(owner, name, lambda record: {**record, "metadata": metadata})
        )

    async def remove_item(self, owner: str, name: str, item_id: str) -> JSON:
        """Take an item out; raises `NotFoundError`."""
        record = await self.find(owner, name)
        if record is None or item_id not in record["items"]:
            raise missing(item_id if record else name)
        record = await self._change(
            owner,
            name,
            lambda now: {**now, "items": [each for each in now["items"] if each != item_id]},
        )
        await self._store.delete_states(owner, [item_state(item_id)])
        return _shown(name, record)

    async def delete(self, owner: str, name: str) -> None:
        """Remove it; its items stay, as an answer may refer to them."""
        if await self.find(owner, name) is None:
            raise missing(name)
        await self._store.delete_states(owner, [_state(name)])

    async def _change(self, owner: str, name: str, change: Callable[[JSON], JSON]) -> JSON:
        def changed(value: bytes) -> bytes:
            return jsontext.encode_bytes(change(jsontext.decode(value)))

        value = await self._store.change_state(owner, _state(name), changed)
        if value is None:
            raise missing(name)
        return jsontext.decode(value)


def missing(name: str) -> NotFoundError:
    """The error for what is not kept here, or belongs to another key."""
    return NotFoundError(f"there is no {name[:80]!r} of this key here", status=404)


def whole_items(items: list[Any]) -> list[JSON]:
    """Items as they are kept: each with a type and an id, a message's content as parts."""
    kept: list[JSON] = []
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            raise MalformedRequestError("expected an item, an object", path=f"items[{position}]")
        kept.append(whole_item(item))  # pyright: ignore[reportUnknownArgumentType]
    return kept


def whole_item(item: JSON) -> JSON:
    """One item with a type, an id and a status, as clients read it back."""
    kind: Any = item.get("type") or "message"
    whole: JSON = {"type": kind, **item}
    if kind == "message":
        role = str(item.get("role") or "user")
        content: Any = item.get("content")
        if isinstance(content, str):
            name = "output_text" if role == "assistant" else "input_text"
            part: JSON = {"type": name, "text": content}
            if role == "assistant":
                part.update(annotations=[], logprobs=[])
            whole["content"] = [part]
        whole.setdefault("status", "completed")
        whole.setdefault("role", role)
    name: Any = item.get("id")
    if not (isinstance(name, str) and name.isascii() and name.isprintable() and name):
        prefix = _PREFIXES.get(str(kind), "item")
        whole["id"] = f"{prefix}_{secrets.token_hex(16)}"
    elif len(name) > _ID_CHARS_MAX:
        raise MalformedRequestError(f"an item's id has at most {_ID_CHARS_MAX} characters")
    return whole


def item_state(item_id: str) -> str:
    """Under which name an item is kept."""
    return f"item_{item_id}"


def _state(name: str) -> str:
    return f"conversation_{name}"


def _is_name(name: str) -> bool:
    return name.startswith("conv_") and len(name) <= _ID_CHARS_MAX


def _shown(name: str, record: JSON) -> JSON:
    return {
        "id": name,
        "object": "conversation",
        "created_at": record["created_at"],
        "metadata": record["metadata"],
    }
