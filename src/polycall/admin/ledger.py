"""The ledger as administrators look at it: a search, one request, sums over time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw

from polycall._support import jsontext
from polycall.admin.fields import Query
from polycall.admin.providers import price_json
from polycall.errors import InvalidRequestError, NotFoundError
from polycall.gateway.store import LedgerRow
from polycall.gateway.store import admin_operations as operations
from polycall.gateway.store.ledger_json import page_json, points_json, read_cursor, row_json
from polycall.gateway.store.search import PAGE_MAX, Search, one
from polycall.gateway.store.usage import GROUPS
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.admin.administration import Call

_FILTERS = ("key", "team", "model", "provider", "client", "outcome", "status", "cost_min", "text")
_FLAGS = ("warned", "failed")
SEARCH_FIELDS = (*_FILTERS, *_FLAGS, "since", "until", "after", "limit")
SERIES_FIELDS = (*_FILTERS, *_FLAGS, "since", "until", "every_s", "by")


async def search_requests(call: Call) -> Raw:
    """One page."""
    query = Query(call.query, frozenset(SEARCH_FIELDS))
    wanted = await _search(call, query)
    return Raw(await call.gateway.store.ask(call.admin.id, page_json, wanted))


async def one_request(call: Call) -> JSON:
    """One request, whole."""
    Query(call.query, frozenset())
    found = await call.gateway.store.ask(call.admin.id, one, call.names["request"])
    if found is None:
        raise NotFoundError(f"there is no request {call.names['request']!r:.200}")
    shown = row_json(found)
    try:
        details: Any = jsontext.decode(found.details) if found.details else {}
    except ValueError:
        details = {"cut": found.details}
    shown["details"] = details
    shown["timeline"] = _timeline(found, details)
    shown["price"] = await price_json(call.gateway, found.provider, found.model)
    return shown


async def usage_series(call: Call) -> Raw:
    """Points, oldest first, for each group."""
    query = Query(call.query, frozenset(SERIES_FIELDS))
    by = [name for name in query.text("by").split(",") if name]
    for name in by:
        if name not in GROUPS:
            raise InvalidRequestError(f"cannot sum by {name!r:.100}; known: {', '.join(GROUPS)}")
    now = time.time()
    since, until = query.moment("since", now - 3600), query.moment("until", now + 1)
    every_s = query.number("every_s", 60)
    filters = await _search(call, query)
    points = await call.gateway.store.ask(
        call.admin.id,
        points_json,
        by,
        since=since,
        until=until,
        bucket_s=every_s,
        filters=filters,
    )
    return Raw(points)


async def _search(call: Call, query: Query) -> Search:
    status = query.text("status")
    if status and not (status.isascii() and status.isdigit() and len(status) <= 3):
        raise InvalidRequestError(f"status is a number such as 429, not {status!r:.100}")
    team = query.text("team")
    if team:
        team = (await call.gateway.store.look_up(operations.find_team(team))).id
    cost, after = query.number("cost_min", -1.0), query.text("after")
    return Search(
        team_id=team,
        status=int(status) if status else None,
        cost_min=None if cost < 0 else cost,
        since=query.moment("since", 0.0),
        until=query.moment("until", 1e12),
        after=read_cursor(after) if after else None,
        limit=query.count("limit", 50, PAGE_MAX),
        warned=query.flag("warned"),
        failed=query.flag("failed"),
        key=query.text("key"),
        model=query.text("model"),
        provider=query.text("provider"),
        client=query.text("client"),
        outcome=query.text("outcome"),
        text=query.text("text"),
    )


def _timeline(row: LedgerRow, details: Any) -> list[JSON]:
    """The duration of each stage, in milliseconds from the request's beginning."""
    spans: list[JSON] = []
    known = cast("JSON", details if isinstance(details, dict) else {})
    for attempt in known.get("attempts", ()):
        spans.append(
            {
                "name": attempt["target"],
                "kind": "failed",
                "began_ms": attempt["began_ms"],
                "ended_ms": attempt["ended_ms"],
                "note": attempt["outcome"],
            }
        )
    began = known.get("began_ms", 0.0)
    if row.provider and row.first_ms is not None:
        name = f"{row.provider}/{row.model}"
        first, ended = row.first_ms, row.duration_ms
        spans.append({"name": name, "kind": "waiting", "began_ms": began, "ended_ms": first})
        spans.append({"name": name, "kind": "answer", "began_ms": first, "ended_ms": ended})
    elif not spans:
        kind = "answer" if row.outcome in ("ok", "cached") else "failed"
        spans.append(
            {"name": row.outcome, "kind": kind, "began_ms": 0.0, "ended_ms": row.duration_ms}
        )
    return spans
