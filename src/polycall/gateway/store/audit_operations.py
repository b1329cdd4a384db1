"""The audit log: every administrative act, in the transaction that does it.

Rows are numbered without gaps and chained by digests.  The tables refuse changes of rows, so
to hide an act, one has to rewrite the file, and `check` then finds the place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

from polycall._support import jsontext
from polycall.gateway.store.base import Actor, AuditRow, Operation, Query

T = TypeVar("T")

_FIELDS = ", ".join(AuditRow._fields)
_DETAIL_MAX = 4000


def audited(
    operation: Operation[T],
    actor: Actor,
    action: str,
    target: str,
    detail: Mapping[str, Any],
    *,
    now: float,
) -> Operation[T]:
    """The operation, and the row that says who did it: both, or none."""
    result = yield from operation
    yield from record(actor, action, target, detail, now=now)
    return result


def record(
    actor: Actor, action: str, target: str, detail: Mapping[str, Any], *, now: float
) -> Operation[int]:
    """Write one row; gives its number."""
    # The update locks the counter until the end of the transaction: numbers have no gaps.
    rows = yield Query(
        "UPDATE revisions SET number = number + 1 WHERE name = 'audit' RETURNING number"
    )
    number: int = rows[0][0]
    before = yield Query("SELECT chain FROM audit WHERE number = ?", (number - 1,))
    text = _storable(jsontext.encode(detail))
    if len(text) > _DETAIL_MAX:
        text = jsontext.encode({"cut": text[: _DETAIL_MAX // 2]})
    row = AuditRow(
        number=number,
        at=now,
        actor=_storable(actor.name),
        role=actor.role,
        via=actor.via,
        address=actor.address,
        action=action,
        target=_storable(target)[:300],
        detail=text,
        chain="",
    )
    row = row._replace(chain=_chain(before[0][0] if before else "", row))
    yield Query(
        f"INSERT INTO audit ({_FIELDS}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - constant names
        row,
    )
    return number


def entries(before: int | None, limit: int) -> Operation[list[AuditRow]]:
    """The latest rows, newest first; those with a number below `before`."""
    rows = yield Query(
        f"SELECT {_FIELDS} FROM audit WHERE number < ? ORDER BY number DESC LIMIT ?",  # noqa: S608 - constant names
        (2**53 if before is None else before, limit),
    )
    return [AuditRow(*row) for row in rows]


def check() -> Operation[str]:
    """The place where the log was changed, in words; empty where it is whole."""
    counted = yield Query("SELECT number FROM revisions WHERE name = 'audit'")
    chain, number = "", 0
    while True:
        rows = yield Query(
            f"SELECT {_FIELDS} FROM audit WHERE number > ? ORDER BY number LIMIT 1000",  # noqa: S608 - constant names
            (number,),
        )
        for values in rows:
            row = AuditRow(*values)
            if row.number != number + 1:
                return f"row {number + 1} is missing"
            if row.chain != _chain(chain, row):
                return f"row {row.number} was changed"
            chain, number = row.chain, row.number
        if not rows:
            break
    return "" if number == counted[0][0] else f"row {number + 1} is missing"


def _chain(before: str, row: AuditRow) -> str:
    text = jsontext.encode([before, *row[:-1]])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "�")
