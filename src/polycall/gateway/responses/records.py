"""The stored records of answers in the background."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall.errors import PolycallError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.generation.request_record import storable
from polycall.gateway.services import GatewayServices
from polycall.gateway.store import LedgerRow
from polycall.ir import JSON, Usage

DONE = frozenset({"completed", "incomplete", "failed", "cancelled"})


class JobRecord(msgspec.Struct):
    """The work on an answer: how far it is, and when its process was last heard of.

    `events` is the number of the next event, `chunks` how many pieces of them there are.
    `headers` are those of the answer that say what answered and what was lost.
    """

    beat: float
    worker: str
    key: str
    key_id: str
    model: str
    chunks: int = 0
    events: int = 0
    input_tokens: int = 0
    is_done: bool = False
    is_cut: bool = False  # too much was said: later events are not kept, but the answer is
    headers: dict[str, str] = {}

    @classmethod
    def read(cls, value: bytes) -> JobRecord:
        """Read a stored record."""
        return msgspec.msgpack.decode(value, type=cls)

    def written(self) -> bytes:
        """The record as the store keeps it."""
        return msgspec.msgpack.encode(self)


def job_state(name: str) -> str:
    """Under which name the record is kept."""
    return f"job_{name}"


def cancel_state(name: str) -> str:
    """Under which name a client's request to cancel is kept."""
    return f"cancel_{name}"


def chunk_state(name: str, number: int) -> str:
    """Under which name a piece of the events is kept."""
    return f"events_{name}_{number}"


def event_line(event: JSON) -> bytes:
    """An event as a line of a chunk."""
    return jsontext.encode_bytes(event) + b"\n"


def error_of(body: bytes) -> tuple[str, str]:
    """Message and code of an error's body."""
    try:
        error: Any = jsontext.decode(body)["error"]
        return str(error["message"]), str(error.get("code") or error.get("type") or "")
    except (ValueError, KeyError, TypeError):
        return "the answer failed", "server_error"


def lost_row(
    name: str, record: JobRecord, owner: Owner, worker: str, services: GatewayServices
) -> LedgerRow:
    """The ledger's row for an answer whose process was killed: its provider may bill it.

    It has the id that the process would have used, so that there is one row whatever happens, and
    is of the `worker` that found it: that one counts the money, too.
    """
    usage = Usage(input_tokens=record.input_tokens, output_tokens=record.events)
    cost = None
    provider = model = ""
    try:
        target = next(services.router.route(record.model))
        provider, model = target.provider.name, target.model
        cost = services.costs.known(target.provider, target.model, usage)
    except (PolycallError, StopIteration):
        pass  # the route is gone by now
    return LedgerRow(
        id=name.replace("resp_", "req_", 1),
        created=time.time(),
        key=record.key,
        client="openai-responses",
        asked=storable(record.model),
        provider=provider,
        model=storable(model),
        streamed=1,
        status=500,
        outcome="error",
        attempts=1,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=None,
        cache_write_tokens=None,
        reasoning_tokens=None,
        is_estimate=1,
        cost_usd=None if cost is None else f"{cost:f}",
        duration_ms=0.0,
        first_ms=None,
        key_id=record.key_id,
        worker=worker,
        team_id="" if owner.team is None else owner.team.id,
        error="the process that worked on it ended",
    )
