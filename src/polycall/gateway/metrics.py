"""Counters in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left

from polycall.gateway.store import LedgerRow

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_SERIES_MAX = 2000


class Metrics:
    """Counts rows as they are written.  Label values are bounded in number."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str, int, str], int] = {}
        self._tokens: dict[tuple[str, str, str], int] = {}
        self._unpriced: dict[tuple[str, str], int] = {}
        self._buckets = [0] * (len(_BUCKETS_S) + 1)
        self._seconds = 0.0
        self._count = 0

    def count(self, row: LedgerRow) -> None:
        """One finished request."""
        model = row.model if len(self._requests) < _SERIES_MAX else "other"
        key = (row.client, row.provider, model, row.status, row.outcome)
        self._requests[key] = self._requests.get(key, 0) + 1
        if row.input_tokens is not None:
            self._add_tokens(row.provider, model, "input", row.input_tokens)
            self._add_tokens(row.provider, model, "output", row.output_tokens or 0)
        if row.outcome == "ok" and row.cost_usd is None:
            # An unknown price is not zero: it is counted, so that somebody sees it.
            pair = (row.provider, model)
            self._unpriced[pair] = self._unpriced.get(pair, 0) + 1
        seconds = row.duration_ms / 1000
        self._buckets[bisect_left(_BUCKETS_S, seconds)] += 1
        self._seconds += seconds
        self._count += 1

    def _add_tokens(self, provider: str, model: str, kind: str, tokens: int) -> None:
        key = (provider, model, kind)
        self._tokens[key] = self._tokens.get(key, 0) + tokens

    def text(self, *, in_flight: int, resting: dict[str, float]) -> bytes:
        """All of it, for a scrape."""
        lines = [
            "# HELP polycall_requests_total Finished requests.",
            "# TYPE polycall_requests_total counter",
        ]
        for (client, provider, model, status, outcome), number in self._requests.items():
            labels = _labels(
                client=client,
                provider=provider,
                model=model,
                status=str(status),
                outcome=outcome,
            )
            lines.append(f"polycall_requests_total{labels} {number}")
        lines += [
            "# HELP polycall_tokens_total Tokens that providers reported.",
            "# TYPE polycall_tokens_total counter",
        ]
        for (provider, model, kind), number in self._tokens.items():
            labels = _labels(provider=provider, model=model, kind=kind)
            lines.append(f"polycall_tokens_total{labels} {number}")
        lines += [
            "# HELP polycall_unpriced_total Answers whose price is not known.",
            "# TYPE polycall_unpriced_total counter",
        ]
        for (provider, model), number in self._unpriced.items():
            labels = _labels(provider=provider, model=model)
            lines.append(f"polycall_unpriced_total{labels} {number}")
        lines += [*self._duration_lines(), *_gauge("polycall_in_flight", in_flight)]
        lines += [
            "# HELP polycall_resting_seconds How long a provider's key still rests.",
            "# TYPE polycall_resting_seconds gauge",
        ]
        for name, seconds in resting.items():
            lines.append(f"polycall_resting_seconds{_labels(provider=name)} {seconds:.1f}")
        return ("\n".join(lines) + "\n").encode()

    def _duration_lines(self) -> list[str]:
        lines = [
            "# HELP polycall_duration_seconds From the request to the end of its answer.",
            "# TYPE polycall_duration_seconds histogram",
        ]
        total = 0
        for bound, number in zip((*map(str, _BUCKETS_S), "+Inf"), self._buckets, strict=True):
            total += number
            lines.append(f'polycall_duration_seconds_bucket{{le="{bound}"}} {total}')
        lines.append(f"polycall_duration_seconds_sum {self._seconds:.3f}")
        lines.append(f"polycall_duration_seconds_count {self._count}")
        return lines


def _gauge(name: str, value: int) -> list[str]:
    return [f"# TYPE {name} gauge", f"{name} {value}"]


def _labels(**values: str) -> str:
    escaped = (
        f'{name}="{value}"'
        for name, text in values.items()
        for value in [text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")]
    )
    return "{" + ",".join(escaped) + "}"
