"""The events of an answer in the background, from any of them on, while they are made or later."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from polycall._support import jsontext
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.responses.records import JobRecord, chunk_state
from polycall.gateway.store import Store
from polycall.translation.sse import encode_sse

if TYPE_CHECKING:
    from polycall.gateway.responses.background import BackgroundResponses

LOOK_S = 0.15
_BEAT_S = 10.0
_LAST_S = 1.0  # before the request's own end
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def replay(
    store: Store,
    background: BackgroundResponses,
    gateway_request: GatewayRequest,
    owner: Owner,
    name: str,
    *,
    after: int,
) -> None:
    """Stream the events after number `after`, to the last or until the request's deadline.

    A client that reads no last event asks again, with the number of the last that it read.
    """
    headers = [*_HEADERS, (b"polycall-request-id", gateway_request.id.encode())]
    await gateway_request.send_start(200, headers)
    chunk = 0
    spoke_at = time.monotonic()
    while True:
        record = await background.record(owner, name)
        while record is not None and chunk < record.chunks:
            data = await _chunk(store, owner.id, name, chunk, after)
            chunk += 1
            if data:
                await gateway_request.send_body(data, more=True)
                spoke_at = time.monotonic()
        now = gateway_request.heard_at = time.monotonic()
        if record is None or record.is_done or now > gateway_request.ends_at - _LAST_S:
            break
        if now - spoke_at > _BEAT_S:
            await gateway_request.send_body(b": keep-alive\n\n", more=True)
            spoke_at = now
        await asyncio.sleep(LOOK_S)
    await gateway_request.send_body(_cut(record))


async def _chunk(store: Store, owner: str, name: str, number: int, after: int) -> bytes:
    state = chunk_state(name, number)
    found = await store.load_states(owner, [state])
    frames: list[bytes] = []
    for line in found.get(state, b"").splitlines():
        event = jsontext.decode(line)
        sequence = event.get("sequence_number")
        if not isinstance(sequence, int) or sequence > after:
            frames.append(encode_sse(line, event["type"]))
    return b"".join(frames)


def _cut(record: JobRecord | None) -> bytes:
    """The end of a stream whose events were not all kept."""
    if record is None or not record.is_cut:
        return b""
    return b": some events were too much to keep; GET the answer for all of it\n\n"
