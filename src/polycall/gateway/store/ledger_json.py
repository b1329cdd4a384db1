"""Pages and sums of the ledger as the API sends them: made where they were read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from msgspec.structs import asdict

from polycall._support import jsontext
from polycall.errors import RequestError
from polycall.gateway.store.base import LedgerRow, Operation
from polycall.gateway.store.search import BOUNDS_MS, Point, Search, search, series
from polycall.ir import JSON


def page_json(wanted: Search) -> Operation[bytes]:
    """A page of the search, and the cursor of the next one."""
    page = yield from search(wanted)
    shown = {
        "requests": [row_json(row) for row in page.rows],
        "next": None if page.after is None else cursor(page.after),
    }
    return jsontext.encode_bytes(shown)


def points_json(
    by: Sequence[str], *, since: float, until: float, bucket_s: float, filters: Search
) -> Operation[bytes]:
    """Sums over time, and what they are of."""
    points = yield from series(by, since=since, until=until, bucket_s=bucket_s, filters=filters)
    shown = {
        **{"since": since, "until": until, "every_s": bucket_s, "by": by},
        "points": [_point_json(point) for point in points],
    }
    return jsontext.encode_bytes(shown)


def row_json(row: LedgerRow) -> JSON:
    """A request, without its details."""
    shown = asdict(row)
    del shown["details"]
    shown["streamed"], shown["is_estimate"] = bool(row.streamed), bool(row.is_estimate)
    return shown


def cursor(after: tuple[float, str]) -> str:
    """The beginning of the next page, as text."""
    return base64.urlsafe_b64encode(jsontext.encode_bytes(after)).decode()


def read_cursor(text: str) -> tuple[float, str]:
    """Read the text of `cursor`; raises `RequestError` for other text."""
    try:
        created, row_id = jsontext.decode(base64.urlsafe_b64decode(text.encode()))
        return float(created), str(row_id)
    except (ValueError, TypeError, binascii.Error):
        raise RequestError("after is no cursor of this search") from None


def _point_json(point: Point) -> JSON:
    shown = asdict(point)
    for name in ("nanodollars", "duration_range", "first_range"):
        del shown[name]
    shown["cost_usd"] = point.nanodollars / 1e9
    shown["duration_ms"] = _quantiles(point.duration_ms, point.duration_range)
    shown["first_ms"] = _quantiles(point.first_ms, point.first_range)
    return shown


def _quantiles(counts: list[int], between: tuple[float, float]) -> JSON:
    return {"p50": quantile(counts, between, 0.5), "p95": quantile(counts, between, 0.95)}


def quantile(counts: list[int], between: tuple[float, float], share: float) -> float | None:
    """A quantile of counts up to `BOUNDS_MS`, and of all: straight between bounds, within a range.

    Of few requests, or beyond the last bound, the range says more than the bounds do.
    """
    total, (least, most) = counts[-1], between
    if not total:
        return None
    sought, below, low = share * total, 0, least
    for bound, count in zip((*BOUNDS_MS, most), counts, strict=True):
        high = min(float(bound), most)
        if count >= sought:
            return round(low + max(high - low, 0.0) * (sought - below) / max(count - below, 1), 1)
        below, low = count, max(least, float(bound))
    raise AssertionError("the last count is of all")
