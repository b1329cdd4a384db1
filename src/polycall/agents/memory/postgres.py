"""Memory in Postgres, for more than one machine.  Needs the extra `polycall[postgres]`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from polycall.agents.database import PostgresConnection
from polycall.agents.memory.entry import Entry, full
from polycall.agents.text_search import query_terms, terms

_SCHEMA = """
create table if not exists polycall_memory (
    id text primary key,
    scope text not null,
    text text not null,
    created double precision not null,
    updated double precision not null,
    expires double precision,
    terms tsvector not null
);
create index if not exists polycall_memory_scope on polycall_memory (scope, updated desc);
create index if not exists polycall_memory_terms on polycall_memory using gin (terms);
"""
_COLUMNS = "id, scope, text, created, updated, expires"
_ALIVE = "(expires is null or expires > %s)"
# Two processes that create the same table at once would trip over each other.
_LOCK_ID = 7_265_001


class PostgresStore:
    """Entries in the table `polycall_memory` of a database."""

    def __init__(self, url: str) -> None:
        self._database = PostgresConnection(url, "memory")
        with self._database.changing() as run:
            run.execute("select pg_advisory_xact_lock(%s)", (_LOCK_ID,))
            run.execute(_SCHEMA)

    def add(self, entries: Sequence[Entry], *, entries_max: int, now: float) -> None:
        with self._database.changing() as run:
            for scope, count in sorted(Counter(entry.scope for entry in entries).items()):
                # Only one at a time may count and add in a scope, or both would find room.
                run.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (scope,))
                if self._count(run, scope) + count > entries_max:
                    run.execute(
                        "delete from polycall_memory where scope = %s and expires <= %s",
                        (scope, now),
                    )
                    if self._count(run, scope) + count > entries_max:
                        raise full(scope, entries_max)
            with run.cursor() as cursor:
                cursor.executemany(
                    f"insert into polycall_memory ({_COLUMNS}, terms) "  # noqa: S608 - our own constants
                    "values (%s, %s, %s, %s, %s, %s, array_to_tsvector(%s))",
                    [
                        (
                            entry.id,
                            entry.scope,
                            entry.text,
                            entry.created,
                            entry.updated,
                            entry.expires,
                            sorted(set(terms(entry.text))),
                        )
                        for entry in entries
                    ],
                )

    def update(
        self, scopes: Sequence[str], entry_id: str, text: str, expires: float | None, now: float
    ) -> Entry | None:
        with self._database.changing() as run:
            row = run.execute(
                "update polycall_memory set text = %s, expires = %s, updated = %s, "  # noqa: S608 - our own constants
                "terms = array_to_tsvector(%s) "
                f"where id = %s and scope = any(%s) and {_ALIVE} returning {_COLUMNS}",
                (text, expires, now, sorted(set(terms(text))), entry_id, list(scopes), now),
            ).fetchone()
        return None if row is None else Entry(*row)

    def remove(self, scopes: Sequence[str], entry_id: str, now: float) -> bool:
        with self._database.changing() as run:
            done = run.execute(
                f"delete from polycall_memory where id = %s and scope = any(%s) and {_ALIVE}",  # noqa: S608 - our own constants
                (entry_id, list(scopes), now),
            )
            return done.rowcount > 0

    def search(self, scopes: Sequence[str], query: str, limit: int, now: float) -> list[Entry]:
        wanted = " | ".join("'" + term.replace("'", "''") + "'" for term in query_terms(query))
        if not wanted:
            return []
        return self._rows(
            f"select {_COLUMNS} from polycall_memory where terms @@ %s::tsquery "  # noqa: S608 - our own constants
            f"and scope = any(%s) and {_ALIVE} "
            "order by ts_rank(array[1, 1, 1, 1], terms, %s::tsquery, 0) desc, updated desc "
            "limit %s",
            (wanted, list(scopes), now, wanted, limit),
        )

    def recent(self, scopes: Sequence[str], limit: int, now: float) -> list[Entry]:
        return self._rows(
            f"select {_COLUMNS} from polycall_memory where scope = any(%s) and {_ALIVE} "  # noqa: S608 - our own constants
            "order by updated desc limit %s",
            (list(scopes), now, limit),
        )

    def purge(self, now: float) -> int:
        with self._database.changing() as run:
            return run.execute("delete from polycall_memory where expires <= %s", (now,)).rowcount

    def close(self) -> None:
        self._database.close()

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[Entry]:
        with self._database.changing() as run:
            return [Entry(*row) for row in run.execute(statement, values).fetchall()]

    def _count(self, run: Any, scope: str) -> int:
        return run.execute(
            "select count(*) from polycall_memory where scope = %s", (scope,)
        ).fetchone()[0]
