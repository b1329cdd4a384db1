"""The rest of limits, shared by all workers: leases are taken from counters and settled.

`taken` of a counter is what was spent for certain and all that is leased.  So it is never below
what was spent, whatever happens to a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from polycall.gateway.store.base import Grant, LeaseRequest, Operation, Query, Settlement

# A lease is a slice of what is left: large while there is much, one request's near the end.
SLICES = 20
NANOS = 1_000_000_000
TEAM_ID_HEAD = "team_"
# In the place of a lost lease, the ledger's sum for its holder; it ends with the counter.
_KNOWN = " known"


def slice_of(left: int, least: int) -> int:
    """The amount to grant of the rest, at least `least`; 0 where that is too much."""
    return 0 if least > left else max(least, left // SLICES)


def take(wish: LeaseRequest, now: float) -> Operation[Grant]:
    """Lease some of what is left of a limit."""
    name, span = wish.name, wish.span
    # The upsert locks the row until the end of the transaction.
    rows = yield Query(
        "INSERT INTO counters (name, span, ends, taken, leased) VALUES (?, ?, ?, 0, 0) "
        "ON CONFLICT (name, span) DO UPDATE SET ends = excluded.ends RETURNING taken, leased",
        (name, span, wish.ends),
    )
    taken, leased = rows[0]
    before = 0
    if taken == 0:
        # The key may have spent before it was given a limit.
        before = yield from spent_since(name, None, wish.starts)
    amount = slice_of(wish.limit - taken - before, wish.least)
    if before or amount:
        yield Query(
            "UPDATE counters SET taken = taken + ?, leased = leased + ? "
            "WHERE name = ? AND span = ?",
            (before + amount, amount, name, span),
        )
    if amount:
        yield Query(
            "INSERT INTO leases (name, span, holder, amount, settled, expires) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name, span, holder) DO UPDATE "
            "SET amount = leases.amount + excluded.amount, expires = excluded.expires",
            (name, span, wish.holder, amount, now, wish.until),
        )
    return Grant(amount, wish.limit - taken - before - amount, leased)


def settle(
    holder: str, settlements: Sequence[Settlement], now: float, until: float
) -> Operation[list[Settlement]]:
    """Tell what became of leases; gives those that were no longer there.

    Everybody settles in the order of names, so that no two wait for each other.
    """
    lost: list[Settlement] = []
    for settlement in sorted(settlements):
        name, span, spent, returned = settlement
        # The counter first, as in `take`: one order of locks.
        yield Query(
            "UPDATE counters SET taken = taken - ?, leased = leased - ? "
            "WHERE name = ? AND span = ?",
            (returned, spent + returned, name, span),
        )
        rows = yield Query(
            "UPDATE leases SET amount = amount - ?, settled = ?, expires = ? "
            "WHERE name = ? AND span = ? AND holder = ? RETURNING amount",
            (spent + returned, now, until, name, span, holder),
        )
        if not rows:
            # It was given up as lost: what is spent since counts, and nothing comes back.
            known = yield from _take_known(settlement, holder)
            yield Query(
                "UPDATE counters SET taken = taken + ?, leased = leased + ? "
                "WHERE name = ? AND span = ?",
                (spent + returned - known, spent + returned, name, span),
            )
            lost.append(settlement)
        elif rows[0][0] == 0:
            yield Query(
                "DELETE FROM leases WHERE name = ? AND span = ? AND holder = ?",
                (name, span, holder),
            )
    return lost


def reconcile(now: float) -> Operation[int]:
    """Replace the leases of workers that fell silent by what the ledger says they spent.

    Counters whose span is over are removed.  Gives how many leases were reconciled.
    """
    yield Query("DELETE FROM counters WHERE ends < ?", (now,))
    yield Query(
        "DELETE FROM leases WHERE NOT EXISTS (SELECT 1 FROM counters "
        "WHERE counters.name = leases.name AND counters.span = leases.span)"
    )
    expired = yield Query(
        "SELECT name, span FROM leases WHERE expires < ? ORDER BY name, span LIMIT 100", (now,)
    )
    number = 0
    for name, span in expired:
        yield Query("UPDATE counters SET ends = ends WHERE name = ? AND span = ?", (name, span))
        rows = yield Query(
            "DELETE FROM leases WHERE name = ? AND span = ? AND expires < ? "
            "RETURNING holder, amount, settled",
            (name, span, now),
        )
        for holder, amount, settled in rows:
            worker = holder.rpartition(".")[0]
            spent = yield from spent_since(name, worker, settled)
            yield Query(
                "UPDATE counters SET taken = taken - ?, leased = leased - ? "
                "WHERE name = ? AND span = ?",
                (amount - spent, amount, name, span),
            )
            # Should the holder only have slept, it will tell of the same.
            yield Query(
                "INSERT INTO leases (name, span, holder, amount, settled, expires) "
                "SELECT name, span, ?, ?, ?, ends FROM counters WHERE name = ? AND span = ? "
                "ON CONFLICT (name, span, holder) DO UPDATE "
                "SET amount = leases.amount + excluded.amount",
                (holder + _KNOWN, spent, now, name, span),
            )
            number += 1
    return number


def _take_known(settlement: Settlement, holder: str) -> Operation[int]:
    """The part of a holder's spending that it has already reported; it is counted once."""
    where = (settlement.name, settlement.span, holder + _KNOWN)
    rows = yield Query(
        "SELECT amount FROM leases WHERE name = ? AND span = ? AND holder = ?", where
    )
    known = min(rows[0][0], settlement.spent) if rows else 0
    if known:
        yield Query(
            "UPDATE leases SET amount = amount - ? WHERE name = ? AND span = ? AND holder = ?",
            (known, *where),
        )
    return known


def spent_since(name: str, worker: str | None, since: float) -> Operation[int]:
    """The ledger's sum for a counter since a moment, by one worker or by all."""
    kind, _, key_id = name.partition(":")
    if kind != "usd":
        return 0  # minutes are over before a worker is known to be gone
    # A team's counter is named by the team's id, which no key has.
    column = "team_id" if key_id.startswith(TEAM_ID_HEAD) else "key_id"
    partial = " AND team_id <> ''" if column == "team_id" else ""
    rows = yield Query(
        f"SELECT exact_sum(cost_usd) FROM ledger WHERE {column} = ?{partial} "  # noqa: S608 - constant names
        "AND created >= ? AND worker = COALESCE(?, worker)",
        (key_id, since, worker),
    )
    return int(Decimal(rows[0][0] or 0) * NANOS)
