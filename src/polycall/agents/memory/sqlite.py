"""Memory in SQLite, with full-text search."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polycall.agents.database import open_database
from polycall.agents.memory.entry import Entry, full
from polycall.agents.text_search import query_terms, terms

_SCHEMA = """
create table if not exists entries (
    number integer primary key,
    id text not null unique,
    scope text not null,
    text text not null,
    created real not null,
    updated real not null,
    expires real
);
create index if not exists entries_scope on entries (scope, updated desc);
create index if not exists entries_expires on entries (expires) where expires is not null;
create virtual table if not exists entries_terms using fts5 (terms, tokenize = 'unicode61');
"""
_COLUMNS = "e.id, e.scope, e.text, e.created, e.updated, e.expires"


class SQLiteStore:
    """Entries in a SQLite file, which threads and processes may share; `":memory:"` is in memory.

    Terms are ours (`words.py`), so that languages without spaces are found as well.
    """

    def __init__(self, path: str | Path) -> None:
        self._database = open_database(path, _SCHEMA, "memory")

    def add(self, entries: Sequence[Entry], *, entries_max: int, now: float) -> None:
        with self._database.changing() as run:
            for scope, count in Counter(entry.scope for entry in entries).items():
                if self._count(run, scope) + count > entries_max:
                    self._purge(run, now)
                    if self._count(run, scope) + count > entries_max:
                        raise full(scope, entries_max)
            for entry in entries:
                cursor = run.execute(
                    "insert into entries (id, scope, text, created, updated, expires) "
                    "values (?, ?, ?, ?, ?, ?)",
                    _row(entry),
                )
                run.execute(
                    "insert into entries_terms (rowid, terms) values (?, ?)",
                    (cursor.lastrowid, " ".join(terms(entry.text))),
                )

    def update(
        self, scopes: Sequence[str], entry_id: str, text: str, expires: float | None, now: float
    ) -> Entry | None:
        with self._database.changing() as run:
            found = self._find(run, scopes, entry_id, now)
            if found is None:
                return None
            number, entry = found
            run.execute(
                "update entries set text = ?, expires = ?, updated = ? where number = ?",
                (text, expires, now, number),
            )
            run.execute(
                "update entries_terms set terms = ? where rowid = ?",
                (" ".join(terms(text)), number),
            )
            return Entry(entry.id, entry.scope, text, entry.created, now, expires)

    def remove(self, scopes: Sequence[str], entry_id: str, now: float) -> bool:
        with self._database.changing() as run:
            found = self._find(run, scopes, entry_id, now)
            if found is not None:
                run.execute("delete from entries where number = ?", (found[0],))
                run.execute("delete from entries_terms where rowid = ?", (found[0],))
            return found is not None

    def search(self, scopes: Sequence[str], query: str, limit: int, now: float) -> list[Entry]:
        wanted = " OR ".join(f'"{term}"' for term in query_terms(query))
        if not wanted:
            return []
        rows = self._database.rows(
            f"select {_COLUMNS} from entries_terms t join entries e on e.number = t.rowid "  # noqa: S608 - our own constants
            f"where entries_terms match ? and e.scope in ({_marks(scopes)}) "
            "and (e.expires is null or e.expires > ?) "
            "order by bm25(entries_terms), e.updated desc limit ?",
            (wanted, *scopes, now, limit),
        )
        return [Entry(*row) for row in rows]

    def recent(self, scopes: Sequence[str], limit: int, now: float) -> list[Entry]:
        rows = self._database.rows(
            f"select {_COLUMNS} from entries e where e.scope in ({_marks(scopes)}) "  # noqa: S608 - our own constants
            "and (e.expires is null or e.expires > ?) order by e.updated desc limit ?",
            (*scopes, now, limit),
        )
        return [Entry(*row) for row in rows]

    def purge(self, now: float) -> int:
        with self._database.changing() as run:
            return self._purge(run, now)

    def close(self) -> None:
        self._database.close()

    def _count(self, run: sqlite3.Connection, scope: str) -> int:
        return run.execute("select count(*) from entries where scope = ?", (scope,)).fetchone()[0]

    def _find(
        self, run: sqlite3.Connection, scopes: Sequence[str], entry_id: str, now: float
    ) -> tuple[int, Entry] | None:
        row = run.execute(
            f"select e.number, {_COLUMNS} from entries e where e.id = ? "  # noqa: S608 - our own constants
            f"and e.scope in ({_marks(scopes)}) and (e.expires is null or e.expires > ?)",
            (entry_id, *scopes, now),
        ).fetchone()
        return None if row is None else (row[0], Entry(*row[1:]))

    def _purge(self, run: sqlite3.Connection, now: float) -> int:
        run.execute(
            "delete from entries_terms where rowid in "
            "(select number from entries where expires <= ?)",
            (now,),
        )
        return run.execute("delete from entries where expires <= ?", (now,)).rowcount


def _row(entry: Entry) -> tuple[Any, ...]:
    return (entry.id, entry.scope, entry.text, entry.created, entry.updated, entry.expires)


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
