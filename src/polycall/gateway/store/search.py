"""The search of the ledger, and its sums over time: bounded work for each page.

A page examines at most `SCANNED_MAX` rows, or entries of an index, by the index of one filter, and
tests the others on those.  A cursor says where the next page begins; a page may be short, or empty,
before the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from polycall.errors import RequestError
from polycall.gateway.store.base import LedgerRow, Operation, Query
from polycall.gateway.store.usage import GROUPS

SCANNED_MAX = 3000
_COVERED_MAX = 10_000  # where the index has all that is tested
PAGE_MAX = 200
BUCKETS_MAX = 500
_GROUP_ROWS_MAX = 5000
# Without the details, which only one request's own page needs.
_COLUMNS = ", ".join(name for name in LedgerRow.__struct_fields__ if name != "details")
_ALL = ", ".join(LedgerRow.__struct_fields__)
BOUNDS_MS = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 60_000)


class Search(Struct, frozen=True):
    """A search in the ledger.  Times are UTC seconds; `after` is the cursor of the page before."""

    key: str = ""
    team_id: str = ""
    model: str = ""
    provider: str = ""
    client: str = ""
    outcome: str = ""
    status: int | None = None
    warned: bool = False
    failed: bool = False
    cost_min: float | None = None
    text: str = ""  # in the words of the error, whatever its case
    since: float = 0.0
    until: float = 1e12
    after: tuple[float, str] | None = None
    limit: int = 50


class Page(Struct, frozen=True):
    """Rows, newest first, and where the next page begins (`None` at the end of the ledger)."""

    rows: list[LedgerRow]
    after: tuple[float, str] | None


class Point(Struct, frozen=True):
    """One stretch of time of one group.

    Latencies are counts of requests up to `BOUNDS_MS`, and of all; ranges are the least and most.
    """

    at: float
    group: tuple[str, ...]
    requests: int
    not_ok: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    nanodollars: int
    unpriced: int  # requests that used tokens and have no known price
    duration_ms: list[int]
    first_ms: list[int]
    duration_range: tuple[float, float]
    first_range: tuple[float, float]


def search(wanted: Search) -> Operation[Page]:
    """One page."""
    limit = max(1, min(wanted.limit, PAGE_MAX))
    driver, rest = _terms(wanted)
    where, values = _where(driver, wanted)
    tests, tested = _joined(rest)
    most = _COVERED_MAX if not driver or driver == [_FAILED] else SCANNED_MAX
    # Of the rows that are examined only the tested columns are read, from the index if it has them.
    columns = [name for name in _TESTED if name in tests]
    scanned = (
        f"SELECT {', '.join(['id', *columns])} FROM ledger WHERE {where} "  # noqa: S608 - constant names
        f"ORDER BY created DESC, id DESC LIMIT {most}"
    )
    rows = yield Query(
        # What is found is in the order of what is scanned: the first ones are the newest.
        f"SELECT {_COLUMNS} FROM ledger WHERE id IN "  # noqa: S608 - constant names
        f"(SELECT id FROM ({scanned}) AS scanned WHERE {tests} LIMIT ?) "
        "ORDER BY created DESC, id DESC",
        (*values, *tested, limit + 1),
    )
    found = [_row(row) for row in rows[:limit]]
    if len(rows) > limit:
        return Page(found, (found[-1].created, found[-1].id))
    last = yield Query(
        f"SELECT created, id FROM ledger WHERE {where} "  # noqa: S608 - constant names
        f"ORDER BY created DESC, id DESC LIMIT 1 OFFSET {most - 1}",
        tuple(values),
    )
    return Page(found, (last[0][0], last[0][1]) if last else None)


def one(request_id: str) -> Operation[LedgerRow | None]:
    """One request, whole."""
    rows = yield Query(f"SELECT {_ALL} FROM ledger WHERE id = ?", (request_id,))  # noqa: S608 - constant names
    return LedgerRow(*_plain(rows[0])) if rows else None


_TESTED = (
    *("key", "team_id", "model", "provider", "client", "outcome", "status", "warnings"),
    *("error", "cost_usd"),
)
_Term = tuple[str, tuple[Any, ...]]
_FAILED: _Term = ("outcome NOT IN ('ok', 'cached')", ())  # as the index says it


def _terms(wanted: Search) -> tuple[list[_Term], list[_Term]]:
    """The terms of the one index that is gone along, and those that are tested on its rows."""
    indexed: list[list[_Term]] = []
    if wanted.text:
        pattern = wanted.text.lower()
        for sign in "!%_":
            pattern = pattern.replace(sign, f"!{sign}")
        like = ("lower(error) LIKE ? ESCAPE '!'", (f"%{pattern}%",))
        indexed.append([_FAILED, ("error <> ''", ()), like])
    if wanted.status not in (None, 200):
        indexed.append([("status <> 200", ()), ("status = ?", (wanted.status,))])
    if wanted.failed:
        indexed.append([_FAILED])
    if wanted.warned:
        indexed.append([("warnings > 0", ())])
    if wanted.key:
        indexed.append([("key = ?", (wanted.key,))])
    if wanted.model:
        indexed.append([("model = ?", (wanted.model,))])
    plain: list[_Term] = [
        (f"{name} = ?", (value,))
        for name in ("team_id", "provider", "client", "outcome")
        if (value := getattr(wanted, name))
    ]
    if wanted.status == 200:  # of which the index has none: nearly all are
        plain.append(("status = 200", ()))
    if wanted.cost_min is not None:
        plain.append(("CAST(cost_usd AS DOUBLE PRECISION) >= ?", (wanted.cost_min,)))
    driver: list[_Term] = []
    if indexed:
        first = indexed.pop(0)
        # The words are looked for on the rows; which rows have any is what the index knows.
        driver = [term for term in first if "error" not in term[0]]
        plain += [term for term in first if "error" in term[0]]
    return driver, [*plain, *(term for terms in indexed for term in terms)]


def _where(driver: Sequence[_Term], wanted: Search) -> tuple[str, list[Any]]:
    text, values = _joined(
        [*driver, ("created >= ? AND created < ?", (wanted.since, wanted.until))]
    )
    if wanted.after is not None:
        text += " AND (created, id) < (?, ?)"
        values += wanted.after
    return text, values


def _joined(terms: Sequence[_Term]) -> tuple[str, list[Any]]:
    text = " AND ".join(term for term, _ in terms) or "1 = 1"
    return text, [value for _, values in terms for value in values]


def _row(values: Sequence[Any]) -> LedgerRow:
    return LedgerRow(*_plain(values))


def _plain(values: Sequence[Any]) -> list[Any]:
    # Postgres gives money as a decimal.
    names = LedgerRow.__struct_fields__
    return [
        f"{value:f}" if name == "cost_usd" and value is not None and not isinstance(value, str)
        else value
        for name, value in zip(names, values, strict=False)
    ]  # fmt: skip


def series(
    by: Sequence[str], *, since: float, until: float, bucket_s: float, filters: Search
) -> Operation[list[Point]]:
    """Sums for each stretch of `bucket_s` seconds and each group, oldest first."""
    if bucket_s <= 0 or (until - since) / bucket_s > BUCKETS_MAX:
        raise RequestError(
            f"from {since:.0f} to {until:.0f} by {bucket_s:g} s are not 1 to {BUCKETS_MAX} points"
        )
    columns = [GROUPS[name] for name in by]
    groups = "".join(f", {column}" for column in columns)
    numbers = ", ".join(str(place) for place in range(1, len(by) + 2))
    counts = ", ".join(
        f"SUM(CASE WHEN {name} <= {bound} THEN 1 ELSE 0 END)"
        for name in ("duration_ms", "first_ms")
        for bound in BOUNDS_MS
    )
    driver, rest = _terms(filters)
    where, values = _joined([*driver, *rest])
    rows = yield Query(
        f"SELECT CAST(created / ? AS INTEGER){groups}, COUNT(*), "  # noqa: S608 - constant names
        "SUM(CASE WHEN outcome IN ('ok', 'cached') THEN 0 ELSE 1 END), "
        "SUM(COALESCE(input_tokens, 0)), SUM(COALESCE(output_tokens, 0)), "
        "SUM(COALESCE(cached_tokens, 0)), "
        "SUM(CAST(ROUND(COALESCE(cost_usd, '0') * 1000000000) AS BIGINT)), "
        f"{_UNPRICED}, COUNT(first_ms), {counts}, {_RANGES} FROM ledger "
        f"WHERE created >= ? AND created < ? AND {where} "
        f"GROUP BY {numbers} ORDER BY {numbers} LIMIT {_GROUP_ROWS_MAX}",
        (bucket_s, since, until, *values),
    )
    return [_point(row, len(by), bucket_s) for row in rows]


_UNPRICED = "SUM(CASE WHEN cost_usd IS NULL AND input_tokens IS NOT NULL THEN 1 ELSE 0 END)"
_RANGES = "MIN(duration_ms), MAX(duration_ms), MIN(first_ms), MAX(first_ms)"


def _point(row: Sequence[Any], groups: int, bucket_s: float) -> Point:
    sums = [int(value or 0) for value in row[1 + groups : -4]]
    least, most, first_least, first_most = (float(value or 0) for value in row[-4:])
    middle = 8 + len(BOUNDS_MS)
    return Point(
        at=int(row[0]) * bucket_s,
        group=tuple(str(value) for value in row[1 : 1 + groups]),
        requests=sums[0],
        not_ok=sums[1],
        input_tokens=sums[2],
        output_tokens=sums[3],
        cached_tokens=sums[4],
        nanodollars=sums[5],
        unpriced=sums[6],
        duration_ms=[*sums[8:middle], sums[0]],
        first_ms=[*sums[middle:], sums[7]],
        duration_range=(least, most),
        first_range=(first_least, first_most),
    )
