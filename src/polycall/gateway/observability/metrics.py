"""Counters in Prometheus' text format.

The names and labels are listed in docs/operation.md, and stay as they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from polycall.gateway.store import LedgerRow

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_SERIES_MAX = 2000
_LABEL_MAX = 100
# Each is fourteen lines of a scrape; further models of a provider are counted together.
_HISTOGRAMS_MAX = 200

Key = TypeVar("Key")
Pair: TypeAlias = tuple[str, str]

_encoder = msgspec.msgpack.Encoder()


class Histogram(Struct, array_like=True):
    """A histogram of durations; the last bucket has no bound."""

    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """The number of observations."""
        return sum(self.buckets)

    def add(self, seconds: float) -> None:
        """One that took so long."""
        self.buckets[bisect_left(_BUCKETS_S, seconds)] += 1
        self.seconds += seconds

    def merge(self, other: Histogram) -> None:
        """Add another's."""
        self.buckets = [one + two for one, two in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds


class ModelCounters(Struct, array_like=True):
    """The counts of one process; the keys are the values of the labels."""

    requests: dict[tuple[str, str, str, int, str], int] = {}
    input_tokens: dict[tuple[str, str], int] = {}
    output_tokens: dict[tuple[str, str], int] = {}
    unpriced: dict[tuple[str, str], int] = {}
    cost_usd: dict[tuple[str, str], Decimal] = {}
    reloads: dict[str, int] = {}
    duration: dict[tuple[str, str], Histogram] = {}
    first_byte: dict[tuple[str, str], Histogram] = {}
    attempts: dict[tuple[str, str], int] = {}

    def merge(self, other: ModelCounters) -> None:
        """Add another process' counts to these."""
        _add_all(self.requests, other.requests)
        _add_all(self.input_tokens, other.input_tokens)
        _add_all(self.output_tokens, other.output_tokens)
        _add_all(self.unpriced, other.unpriced)
        _add_all(self.reloads, other.reloads)
        for pair, cost in other.cost_usd.items():
            self.cost_usd[pair] = self.cost_usd.get(pair, Decimal(0)) + cost
        _add_all(self.attempts, other.attempts)
        for own, others in ((self.duration, other.duration), (self.first_byte, other.first_byte)):
            for pair, histogram in others.items():
                own.setdefault(pair, Histogram()).merge(histogram)


class Snapshot(Struct, array_like=True):
    """One process at one moment."""

    counts: ModelCounters
    in_flight: int = 0
    resting: dict[str, float] = {}


_decoder = msgspec.msgpack.Decoder(Snapshot)


def pack(snapshot: Snapshot) -> bytes:
    """A snapshot for another process."""
    return _encoder.encode(snapshot)


def unpack(data: bytes) -> Snapshot:
    """A snapshot of another process."""
    return _decoder.decode(data)


class _Latest:
    """The counts of finished requests of one kind, until somebody reads the totals."""

    __slots__ = (
        *("requests", "reported", "input_tokens", "output_tokens", "unpriced", "priced"),
        *("cost_usd", "duration", "first_byte"),
    )

    def __init__(self) -> None:
        self.requests = self.reported = self.input_tokens = self.output_tokens = 0
        self.unpriced = self.priced = 0
        self.cost_usd = Decimal(0)
        self.duration, self.first_byte = Histogram(), Histogram()


class Metrics:
    """Counts rows as they are written.  Label values are bounded in number and length."""

    def __init__(self, counts: ModelCounters | None = None) -> None:
        self._counts = counts or ModelCounters()
        # By the labels: of the many requests in between few are of another kind.
        self._latest: dict[tuple[str, str, str, int, str], _Latest] = {}

    @property
    def counts(self) -> ModelCounters:
        """All that was counted."""
        latest, self._latest = self._latest, {}
        for key, added in latest.items():
            self._add(key, added)
        return self._counts

    def count(self, row: LedgerRow) -> None:
        """One finished request."""
        key = (row.client, row.provider, row.model, row.status, row.outcome)
        latest = self._latest.get(key)
        if latest is None:
            if len(self._latest) >= _SERIES_MAX:
                _ = self.counts
            latest = self._latest[key] = _Latest()
        latest.requests += 1
        if row.input_tokens is not None:
            latest.reported += 1
            latest.input_tokens += row.input_tokens
            latest.output_tokens += row.output_tokens or 0
        if row.cost_usd is not None:
            latest.priced += 1
            latest.cost_usd += Decimal(row.cost_usd)
        elif row.outcome == "ok":
            # An unknown price is not zero: it is counted, so that somebody sees it.
            latest.unpriced += 1
        latest.duration.add(row.duration_ms / 1000)
        if row.first_ms is not None:
            latest.first_byte.add(row.first_ms / 1000)

    def _add(self, key: tuple[str, str, str, int, str], latest: _Latest) -> None:
        counts = self._counts
        client, provider, model, status, outcome = key
        model = model[:_LABEL_MAX] if len(counts.requests) < _SERIES_MAX else "other"
        _add_all(counts.requests, {(client, provider, model, status, outcome): latest.requests})
        pair = (provider, model)
        if latest.reported:
            _add_all(counts.input_tokens, {pair: latest.input_tokens})
            _add_all(counts.output_tokens, {pair: latest.output_tokens})
        if latest.priced:
            counts.cost_usd[pair] = counts.cost_usd.get(pair, Decimal(0)) + latest.cost_usd
        if latest.unpriced:
            _add_all(counts.unpriced, {pair: latest.unpriced})
        _merge(counts.duration, pair, latest.duration)
        if latest.first_byte.count:
            _merge(counts.first_byte, pair, latest.first_byte)

    def count_attempt(self, provider: str, outcome: str) -> None:
        """One attempt at a provider, and how it began: `ok`, or the kind of its failure."""
        attempts, key = self._counts.attempts, (provider, outcome)
        attempts[key] = attempts.get(key, 0) + 1

    def count_reload(self, *, is_good: bool) -> None:
        """The configuration was read again."""
        result = "ok" if is_good else "refused"
        self._counts.reloads[result] = self._counts.reloads.get(result, 0) + 1


def exposition(snapshots: Iterable[Snapshot], *, workers: int, restarts: int) -> bytes:
    """All of a group's counters, for a scrape."""
    total = ModelCounters()
    in_flight = 0
    resting: dict[str, float] = {}
    for snapshot in snapshots:
        total.merge(snapshot.counts)
        in_flight += snapshot.in_flight
        for name, seconds in snapshot.resting.items():
            resting[name] = max(seconds, resting.get(name, 0.0))
    lines = [
        *_head("polycall_requests_total", "counter", "Finished requests."),
        *(
            _line("polycall_requests_total", number, client=client, provider=provider,
                  model=model, status=str(status), outcome=outcome)
            for (client, provider, model, status, outcome), number in total.requests.items()
        ),
        *_head("polycall_attempts_total", "counter", "Attempts at providers, by how they began."),
        *(
            _line("polycall_attempts_total", number, provider=provider, outcome=outcome)
            for (provider, outcome), number in total.attempts.items()
        ),
        *_head("polycall_tokens_total", "counter", "Tokens that providers reported."),
        *(
            _line("polycall_tokens_total", number, provider=provider, model=model, kind=kind)
            for kind, tokens in (("input", total.input_tokens), ("output", total.output_tokens))
            for (provider, model), number in tokens.items()
        ),
        *_head("polycall_cost_usd_total", "counter", "Cost of answers whose price is known."),
        *_by_model("polycall_cost_usd_total", total.cost_usd),
        *_head("polycall_unpriced_total", "counter", "Answers whose price is not known."),
        *_by_model("polycall_unpriced_total", total.unpriced),
        *_histogram("polycall_duration_seconds", "From the request to the end of its answer.",
                    total.duration),
        *_histogram("polycall_first_byte_seconds", "From the request to its answer's beginning.",
                    total.first_byte),
        *_head("polycall_reloads_total", "counter", "Readings of a changed configuration."),
        *(
            _line("polycall_reloads_total", number, result=result)
            for result, number in total.reloads.items()
        ),
        *_head("polycall_in_flight", "gauge", "Requests that are being answered."),
        _line("polycall_in_flight", in_flight),
        *_head("polycall_workers", "gauge", "Processes that serve."),
        _line("polycall_workers", workers),
        *_head("polycall_worker_restarts_total", "counter", "Workers started for dead ones."),
        _line("polycall_worker_restarts_total", restarts),
        *_head("polycall_resting_seconds", "gauge", "How long a provider's key still cools down."),
        *(
            _line("polycall_resting_seconds", f"{seconds:.1f}", provider=name)
            for name, seconds in resting.items()
        ),
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def _add_all(own: dict[Key, int], other: Mapping[Key, int]) -> None:
    for key, number in other.items():
        own[key] = own.get(key, 0) + number


def _by_model(name: str, values: Mapping[tuple[str, str], int | Decimal]) -> Iterable[str]:
    for (provider, model), value in values.items():
        yield _line(name, value, provider=provider, model=model)


def _merge(histograms: dict[tuple[str, str], Histogram], pair: Pair, added: Histogram) -> None:
    if pair not in histograms and len(histograms) >= _HISTOGRAMS_MAX:
        pair = (pair[0], "other")
        if pair not in histograms and len(histograms) >= 2 * _HISTOGRAMS_MAX:
            pair = ("other", "other")
    histograms.setdefault(pair, Histogram()).merge(added)


def _histogram(name: str, what: str, histograms: Mapping[Pair, Histogram]) -> Iterable[str]:
    yield from _head(name, "histogram", what)
    for (provider, model), histogram in histograms.items():
        labels = {"provider": provider, "model": model}
        total = 0
        for bound, number in zip((*map(str, _BUCKETS_S), "+Inf"), histogram.buckets, strict=True):
            total += number
            yield _line(f"{name}_bucket", total, **labels, le=bound)
        yield _line(f"{name}_sum", f"{histogram.seconds:.3f}", **labels)
        yield _line(f"{name}_count", histogram.count, **labels)


def _head(name: str, kind: str, what: str) -> tuple[str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}"


def _line(name: str, value: object, **labels: str) -> str:
    if not labels:
        return f"{name} {value}"
    written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{written}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
