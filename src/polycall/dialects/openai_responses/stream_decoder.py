"""The bytes of a streamed response into events.

Items stream one after another; where a server lets two grow at once, what belongs to the second
is held back until the first is done, so that one part is open at a time and the order is that
of `output`.  An item's last word is its `output_item.done` (encrypted content before it may be
incomplete); the events before only let the text be shown early.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from polycall import ir
from polycall.dialects.openai_responses.errors import parse_error
from polycall.dialects.openai_responses.messages import CALL_TYPES, ItemReader
from polycall.dialects.openai_responses.names import NAME
from polycall.dialects.openai_responses.response import (
    created_at,
    echo,
    finish,
    parse_response,
    parse_usage,
    raise_failure,
)
from polycall.dialects.openai_responses.stream_items import (
    PartWriter,
    StreamItem,
    stream_item,
)
from polycall.errors import TruncatedError
from polycall.ir import JSON
from polycall.translation.stream import Payload, StreamDecoderBase
from polycall.translation.wire import response_reader

_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDINGS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_FINAL_STATUSES = frozenset({"completed", "complete", "incomplete", "cancelled"})


class StreamDecoder(StreamDecoderBase):
    """Takes every known habit of servers: see the cases in the tests."""

    def __init__(self) -> None:
        super().__init__()
        self.out = self._parts = PartWriter()
        self._reader = ItemReader(response_reader)
        self._active: StreamItem | None = None
        self._active_key = -1
        self._held: dict[int, list[tuple[str, JSON]]] = {}
        self._finished: set[int] = set()
        self._keys: dict[str, int] = {}  # by item id, for servers that send no index
        self._seen: Counter[str] = Counter()  # finished items by type
        self._seen_calls: set[str] = set()

    def on_payload(self, payload: Payload) -> None:
        """Take one event; those of unknown kinds are passed over."""
        data = payload.data
        kind: Any = data.get("type") or payload.event
        if self.out.ended or not isinstance(kind, str):
            return
        if "output_index" in data or "item_id" in data or "item" in data:
            self._item_event(kind, data)
        elif kind in _BEGINNINGS:
            self._start(response_reader.get_object(data, "response", ""))
        elif kind in _ENDINGS:
            self._end(kind, response_reader.object(data.get("response"), "response"))
        elif kind == "error" or data.get("error"):
            self._raise_error(data)

    def on_close(self) -> None:
        """Nothing but a terminal event ends a response."""
        if not self.out.ended:
            raise TruncatedError("the stream ended before a response.completed event")

    def on_whole_body(self, body: JSON) -> None:
        """A plain body in place of a stream, or an error."""
        self.out.answer(parse_response(body))

    # -----------------------------------------------------------------------------------------
    # The response

    def _start(self, response: JSON) -> None:
        if not self.out.started:
            self.out.start(
                ir.ResponseStart(
                    id=response_reader.get_string(response, "id", "response"),
                    model=response_reader.get_string(response, "model", "response"),
                    created=created_at(response),
                    metadata={NAME: {}},
                )
            )

    def _raise_error(self, data: JSON) -> None:
        """An error event: flat, or nested as in a body."""
        inner = data.get("error")
        status = data.get("status")
        if not isinstance(inner, dict):
            names = ("message", "code", "param")
            inner = {name: data[name] for name in names if data.get(name) is not None}
            if isinstance(data.get("error"), str):
                inner.setdefault("message", data["error"])
        raise parse_error(status if isinstance(status, int) else 0, {"error": inner})

    def _end(self, kind: str, response: JSON) -> None:
        self._start(response)
        status = kind.removeprefix("response.")
        told = response_reader.get_string(response, "status", "response")
        if status == "failed" or told not in _FINAL_STATUSES:
            response = {**response, "status": status}
        raise_failure(response)
        output = response_reader.get_array(response, "output", "response")
        items = [
            response_reader.object(item, f"response.output[{position}]")
            for position, item in enumerate(output)
        ]
        self._finish_open(items)
        self._add_missing(items)
        reason, raw = finish(
            response, has_calls=self._parts.has_calls, has_refusal=self._parts.has_refusal
        )
        self.out.end(
            ir.ResponseEnd(
                finish_reason=reason,
                raw_finish_reason=raw,
                usage=parse_usage(response),
                metadata=echo(response),
            )
        )

    # -----------------------------------------------------------------------------------------
    # Items

    def _item_event(self, kind: str, data: JSON) -> None:
        self._start({})
        key = self._key(kind, data)
        if key is None or key in self._finished:
            return
        if self._active is not None and key != self._active_key:
            self._held.setdefault(key, []).append((kind, data))
            return
        self._apply(key, kind, data)
        while self._active is None and self._held:
            self._release()

    def _release(self) -> None:
        """Let the next held item tell what it has so far."""
        key = min(self._held)
        for kind, data in self._held.pop(key):
            if key not in self._finished:
                self._apply(key, kind, data)

    def _key(self, kind: str, data: JSON) -> int | None:
        """Which item an event is about; `None` for one that nobody announced."""
        item = data.get("item")
        item_id: Any = item.get("id") if isinstance(item, dict) else data.get("item_id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        index = data.get("output_index")
        if not isinstance(index, int):
            index = self._keys.get(item_id) if isinstance(item_id, str) else None
            if index is None and kind == "response.output_item.added":
                index = max([self._active_key, *self._held, *self._finished]) + 1
            elif index is None and self._active is not None:
                index = self._active_key
        if index is not None and isinstance(item_id, str):
            self._keys.setdefault(item_id, index)
        return index

    def _apply(self, key: int, kind: str, data: JSON) -> None:
        if kind == "response.output_item.added":
            if self._active is None and isinstance(data.get("item"), dict):
                self._begin(key, data["item"])
            return
        if kind == "response.output_item.done":
            item = response_reader.object(data.get("item"), "item")
            self._finish_item(key, item)
            return
        if self._active is None:
            implied = _IMPLIED.get(kind)
            if implied is None:
                return
            self._begin(key, {"type": implied})
        assert self._active is not None
        self._active.take(kind, data)

    def _begin(self, key: int, added: JSON) -> None:
        call: ir.ToolCall | None = None
        if _kind(added) in CALL_TYPES and added.get("name") and added.get("call_id"):
            known = {name: added[name] for name in _CALL_BEGINNING if name in added}
            part = self._reader.parts(known, "item", key)[0]
            assert isinstance(part, ir.ToolCall)
            call = part
        self._active = stream_item(self._parts, added, call)
        self._active_key = key

    def _finish_item(self, key: int, item: JSON) -> None:
        """The item as a whole; one that was never begun is reported at once."""
        parts = self._reader.parts(item, f"output[{key}]", key)
        active = self._active
        if active is None or not _is_same_kind(active.added, item):
            active = StreamItem(self._parts, item)
        active.finish(parts)
        self._parts.end_part()
        self._active = None
        self._finished.add(key)
        self._seen[_kind(item)] += 1
        if _kind(item) in CALL_TYPES:
            self._seen_calls.add(str(item.get("call_id")))

    def _finish_open(self, output: list[JSON]) -> None:
        """End the items that had no `output_item.done`, by the final output where it has them."""
        while self._active is not None or self._held:
            if self._active is None:
                self._release()
                continue
            key, added = self._active_key, self._active.added
            final = next((item for item in output if _is_same_item(added, item)), None)
            if final is None and 0 <= key < len(output) and _is_same_kind(added, output[key]):
                final = output[key]
            if final is not None:
                self._finish_item(key, final)
            else:
                self._active.abandon()
                self._parts.end_part()
                self._active = None
                self._finished.add(key)
                self._seen[_kind(added)] += 1

    def _add_missing(self, output: list[JSON]) -> None:
        """Tell the items that stand in the final output only.

        Item ids may change on the way (some proxies re-encrypt them), call ids do not.
        """
        counted: Counter[str] = Counter()
        for position, item in enumerate(output):
            kind = _kind(item)
            counted[kind] += 1
            if kind in CALL_TYPES:
                is_new = str(item.get("call_id")) not in self._seen_calls
            else:
                is_new = counted[kind] > self._seen[kind]
            if is_new:
                for part in self._reader.parts(item, f"output[{position}]", position):
                    self._parts.tell(part)


# What must be known before a call can be announced; the rest of its item comes at its end.
_CALL_BEGINNING = ("type", "id", "call_id", "name", "namespace", "caller")

# What item an event is about whose item was never announced.
_IMPLIED = {
    "response.output_text.delta": "message",
    "response.refusal.delta": "message",
    "response.content_part.added": "message",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}


def _kind(item: JSON) -> str:
    return str(item.get("type") or "message")


def _is_same_kind(first: JSON, second: JSON) -> bool:
    return _kind(first) == _kind(second)


def _is_same_item(first: JSON, second: JSON) -> bool:
    name = "call_id" if _kind(first) in CALL_TYPES else "id"
    return _is_same_kind(first, second) and first.get(name) == second.get(name) is not None
