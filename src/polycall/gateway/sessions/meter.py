"""The meter of a session: a row of the ledger for each reply, and limits that hold meanwhile.

Only frames that say something of it are read; sound is passed by.  A row is written when its
reply is over, so that a session of an hour is in the ledger before its end, whatever happens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from typing import Any, NoReturn

from msgspec.structs import replace

from polycall import errors
from polycall._support import jsontext
from polycall.gateway.accounts.costs import Costs
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.session_limits import SessionLimits
from polycall.gateway.routing.router import Target
from polycall.gateway.store import LedgerRow
from polycall.ir import JSON
from polycall.voices.capabilities import Voice
from polycall.voices.codecs import make_codec
from polycall.voices.protocol import (
    CallReady,
    CancelReply,
    CloseSession,
    ReplyDone,
    ReplyStarted,
    SessionClosed,
    Signal,
    UsageReport,
    VendorError,
)
from polycall.voices.routes import ClientRoute
from polycall.voices.usage import VoiceUsage, cost_usd

logger = logging.getLogger("polycall.gateway")

WATCH_S = 5.0  # so often the key is looked at, where nothing is used
_FLUSH_S = 60.0  # so often a voice that is billed by time has a row
_NOTHING = VoiceUsage()
_STARTS = (b".delta", b"inlineData")  # the first of a reply is when it begins to be heard
_START_BYTES = 4096  # of a frame, in which it says what it is


@dataclass(eq=False, repr=False)
class Meter:
    """Reads along, writes rows, and ends the session where its key may use no more."""

    route: ClientRoute
    target: Target
    voice: Voice
    owner: Owner
    _: KW_ONLY
    row: LedgerRow  # what all rows of the session have
    write: Callable[[LedgerRow], None]
    costs: Costs
    limits: SessionLimits
    check_key: Callable[[], object]  # raises where the key is over

    def __post_init__(self) -> None:
        self._codec = make_codec(self.voice)
        self._price = self.voice.price
        self._used = _NOTHING  # since the last row
        self._reported = _NOTHING  # by a voice that counts from its beginning
        self._calls = 0
        self._replies: dict[str, float] = {}  # under way, and when each began
        self._is_asked = False  # the client has asked for a reply that has not begun
        self._unbilled: tuple[str, float | None, str] | None = None  # a reply that is over
        self._first_at = 0.0
        self._row_at = time.monotonic()
        self._owed_tokens = 0  # used, and not yet counted against the limits
        self._owed_cost = Decimal(0)
        self._is_unpriced = False
        self._wakes = asyncio.Event()
        self._is_closed = False
        self._settling: asyncio.Task[None] | None = None
        # The gateway's own account, by the provider.
        self.refused: errors.UpstreamError | None = None
        self.rows = 0

    @property
    def is_owed(self) -> bool:
        """Whether the provider has yet to say what something used."""
        if self.voice.billing == "seconds":
            return not self._is_closed
        return bool(self._replies) or self._is_asked

    def last_words(self) -> list[str]:
        """The frames that end what continues."""
        replies = [*self._replies, *([""] if self._is_asked else [])]
        end = [frame for reply in replies for frame in self._codec.encode(CancelReply(reply))]
        return [*end, *self._codec.encode(CloseSession())]

    def to_provider(self, frame: bytes) -> JSON | None:
        """The replacement of a client's frame that may name the model.

        `None`: the frame as it is.
        """
        return self.route.with_one_model(frame, self.row.asked, self.target.model)

    def ask(self) -> None:
        """A frame of the client may ask for a reply that it will not wait for."""
        self._is_asked = True

    def hear(self, frame: bytes) -> None:
        """A frame of the provider, which may be the first sound or text of a reply."""
        if self._replies and not self._first_at:
            begin = frame[:_START_BYTES]
            if any(mark in begin for mark in _STARTS):
                self._first_at = time.monotonic()

    def see(self, frame: bytes) -> None:
        """A frame of the provider that has one of the route's marks."""
        for signal in self._codec.decode(frame):
            self._take(signal)
        if b'"session.updated"' in frame:
            self._look_at_settings(frame)

    def _take(self, signal: Signal) -> None:
        match signal:
            case ReplyStarted(reply_id):
                self._flush_unbilled()
                self._is_asked = False
                self._replies[reply_id] = time.monotonic()
            case CallReady():
                self._calls += 1
            case UsageReport(usage, is_cumulative):
                if is_cumulative:
                    usage, self._reported = _since(usage, self._reported), usage
                self._is_asked = False
                self._count(usage)
                self._flush_unbilled()
                if is_cumulative and time.monotonic() - self._row_at > _FLUSH_S:
                    self.flush("ok")
            case ReplyDone(reply_id, status, reason, usage):
                self._is_asked = False
                began = self._replies.pop(reply_id, None)
                self._count(usage or _NOTHING)
                outcome = {"cancelled": "cancelled", "failed": "error"}.get(status, "ok")
                self._unbilled = (outcome, began, reason if outcome == "error" else "")
                if self._used != _NOTHING:
                    self._flush_unbilled()
            case SessionClosed():
                self._is_closed = True
            case VendorError("fatal"):
                self.refused = _refusal(signal)
            case VendorError():
                self._is_asked = False
            case _:
                pass

    def _flush_unbilled(self) -> None:
        """Write the row of a reply that is over, once it is known what it used."""
        if self._unbilled is not None:
            (outcome, began, words), self._unbilled = self._unbilled, None
            self.flush(outcome, began=began, words=words)

    def _look_at_settings(self, frame: bytes) -> None:
        """Writing the caller down has a price where the known model does it."""
        try:
            body: Any = jsontext.decode(frame)
            model = body["session"]["audio"]["input"]["transcription"]["model"]
        except (ValueError, KeyError, TypeError):
            return  # it is no settings of ours to read
        if self.voice.price is not None and model != self.voice.transcriber:
            nothing = {"transcription_minute": None, "transcription_input": None}
            self._price = replace(self.voice.price, **nothing, transcription_output=None)
        else:
            self._price = self.voice.price

    def _count(self, usage: VoiceUsage) -> None:
        if usage == _NOTHING:
            return
        self._used += usage
        if not self.owner.is_metered:
            return
        tokens = usage.tokens
        self._owed_tokens += tokens.input_tokens + tokens.output_tokens
        cost = self._cost(usage)
        self._is_unpriced |= cost is None
        self._owed_cost += cost or Decimal(0)
        self._wakes.set()

    def _cost(self, usage: VoiceUsage) -> Decimal | None:
        provider, model = self.target.provider, self.target.model
        if model in provider.prices:
            return self.costs.known(provider, model, usage.tokens)
        return cost_usd(usage, self._price)

    def flush(self, outcome: str, *, began: float | None = None, words: str = "") -> None:
        """Write a row of what was used since the last one."""
        usage, now = self._used, time.monotonic()
        tokens = usage.tokens
        is_known = usage != _NOTHING
        cost = self._cost(usage) if is_known else None
        began = self._row_at if began is None else began
        self.rows += 1
        first_ms = (self._first_at - began) * 1000 if self._first_at > began else None
        self.write(
            replace(
                self.row,
                id=f"{self.row.id}-{self.rows}",
                created=time.time(),
                outcome=outcome,
                input_tokens=tokens.input_tokens if is_known else None,
                output_tokens=tokens.output_tokens if is_known else None,
                cached_tokens=tokens.cached_tokens if is_known else None,
                reasoning_tokens=tokens.reasoning_tokens if is_known else None,
                cost_usd=None if cost is None else f"{cost:f}",
                duration_ms=round((now - began) * 1000, 2),
                first_ms=None if first_ms is None else round(first_ms, 2),
                calls=self._calls or None,
                error=words[:300],
            )
        )
        self._used, self._calls, self._first_at, self._row_at = _NOTHING, 0, 0.0, now

    async def finish(self) -> None:
        """Write and count what is left: a reply whose end was not heard, words that were heard."""
        self._flush_unbilled()
        for began in list(self._replies.values()):
            self.flush("cancelled", began=began)
        self._replies.clear()
        if self._used != _NOTHING:
            self.flush("ok")
        with suppress(errors.StoreError, errors.RateLimitError):  # the session is over in any case
            await self.settle()
            await self.settle()

    async def watch(self) -> NoReturn:
        """Count what is used against the key's limits; raises where the session must end."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await self._wakes.wait()
            self._wakes.clear()
            self.check_key()
            if self._is_unpriced:
                self.limits.check_priced(self.owner)
            with suppress(errors.StoreError):  # counted later, when the store is back
                await self.settle()

    async def settle(self) -> None:
        """Count what is owed; raises where that was more than the key had left.

        A session that ends meanwhile does not take the count with it.
        """
        if self._settling is None and self.owner.is_metered:
            self._settling = asyncio.ensure_future(self._settle())
        if self._settling is not None:
            settling = self._settling
            await asyncio.wait([settling])
            self._settling = None
            settling.result()

    async def _settle(self) -> None:
        tokens, cost = self._owed_tokens, self._owed_cost
        self._owed_tokens, self._owed_cost = 0, Decimal(0)
        try:
            await self.limits.spend(self.owner, tokens, cost)
        except errors.StoreError:
            self._owed_tokens += tokens
            self._owed_cost += cost
            raise


def _refusal(said: VendorError) -> errors.UpstreamError:
    if "model" in said.code:
        return errors.NotFoundError(said.message, code=said.code, param="model")
    is_unpaid = any(word in said.code for word in ("quota", "balance", "billing"))
    return (errors.BillingError if is_unpaid else errors.AuthenticationError)(
        said.message, code=said.code
    )


def _since(usage: VoiceUsage, before: VoiceUsage) -> VoiceUsage:
    """The usage since the report before; empty where the report counts from a new beginning."""
    return replace(
        usage,
        active_s=max(usage.active_s - before.active_s, 0.0),
        paused_s=max(usage.paused_s - before.paused_s, 0.0),
    )
