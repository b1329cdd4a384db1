"""The index of a knowledge: files, their chunks, full-text search, and vectors."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from polycall.agents.database import open_database
from polycall.agents.knowledge.readers import Section
from polycall.agents.text_search import query_terms, terms
from polycall.agents.vectors import nearest_rows, numpy_module, unit_rows

_SCHEMA = """
create table if not exists files (
    path text primary key, size integer not null, modified integer not null, digest text not null
);
create table if not exists chunks (
    number integer primary key, path text not null, place text not null, text text not null
);
create index if not exists chunks_path on chunks (path);
create virtual table if not exists chunks_terms using fts5 (title, terms, tokenize = 'unicode61');
create table if not exists vectors (number integer primary key, vector blob not null);
create table if not exists settings (name text primary key, value text not null);
"""
# Words of a heading or a file's name say what a chunk is about.
_RANK = "bm25(chunks_terms, 2.0, 1.0)"


class FileState(Struct, frozen=True):
    """A file's size, time and digest when it was read."""

    size: int
    modified: int
    digest: str


class Chunk(Struct, frozen=True):
    """A piece of a file, as found."""

    number: int
    path: str
    place: str
    text: str


class Index:
    """One SQLite file, or `":memory:"`."""

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        self._database = open_database(path, _SCHEMA, "an index of knowledge")
        self._matrix: tuple[Any, list[int]] | None = None

    def files(self) -> dict[str, FileState]:
        """The indexed files, by path."""
        rows = self._database.rows("select path, size, modified, digest from files")
        return {path: FileState(*state) for path, *state in rows}

    def replace_file(self, path: str, state: FileState, chunks: Iterable[Section]) -> None:
        """Put a file in, in place of what it was before; all of it or nothing."""
        with self._changing() as run:
            self._remove(run, path)
            run.execute(
                "insert into files (path, size, modified, digest) values (?, ?, ?, ?)",
                (path, state.size, state.modified, state.digest),
            )
            for chunk in chunks:
                cursor = run.execute(
                    "insert into chunks (path, place, text) values (?, ?, ?)",
                    (path, chunk.place, chunk.text),
                )
                title = " ".join(terms(f"{path} {chunk.place}"))
                run.execute(
                    "insert into chunks_terms (rowid, title, terms) values (?, ?, ?)",
                    (cursor.lastrowid, title, " ".join(terms(chunk.text))),
                )

    def touch(self, path: str, state: FileState) -> None:
        """Note that a file looks changed and is the same."""
        with self._changing() as run:
            run.execute(
                "update files set size = ?, modified = ? where path = ?",
                (state.size, state.modified, path),
            )

    def remove_file(self, path: str) -> None:
        """Take a file out."""
        with self._changing() as run:
            self._remove(run, path)

    def search(self, query: str, limit: int) -> dict[int, float]:
        """The chunks that share words with the query, best first, the best as 1."""
        wanted = " OR ".join(f'"{term}"' for term in query_terms(query))
        if not wanted:
            return {}
        rows = self._database.rows(
            f"select rowid, -{_RANK} from chunks_terms where chunks_terms match ? "  # noqa: S608 - ours
            f"order by {_RANK}, rowid limit ?",
            (wanted, limit),
        )
        best = max((score for _, score in rows), default=0.0) or 1.0
        return {number: score / best for number, score in rows}

    def chunk(self, number: int) -> Chunk:
        """One chunk."""
        (row,) = self._database.rows(
            "select number, path, place, text from chunks where number = ?", (number,)
        )
        return Chunk(*row)

    def count(self) -> int:
        """The number of chunks."""
        return self._database.rows("select count(*) from chunks")[0][0]

    # Vectors.

    def use_embedder(self, name: str) -> None:
        """Drop the vectors of another embedder: they cannot be compared."""
        with self._changing() as run:
            row = run.execute("select value from settings where name = 'embedder'").fetchone()
            if row is None or row[0] != name:
                run.execute("delete from vectors")
                run.execute("replace into settings (name, value) values ('embedder', ?)", (name,))

    def without_vectors(self) -> list[Chunk]:
        """The chunks that have no vector yet."""
        rows = self._database.rows(
            "select number, path, place, text from chunks "
            "where number not in (select number from vectors) order by number"
        )
        return [Chunk(*row) for row in rows]

    def add_vectors(self, numbers: Sequence[int], vectors: Sequence[Sequence[float]]) -> None:
        """Keep vectors, made as long as one."""
        matrix = unit_rows(vectors, len(numbers))
        with self._changing() as run:
            pairs = zip(numbers, matrix, strict=True)
            run.executemany(
                "replace into vectors (number, vector) values (?, ?)",
                [(number, row.tobytes()) for number, row in pairs],
            )

    def nearest(self, vector: Sequence[float], limit: int) -> dict[int, float]:
        """The chunks whose vectors are nearest, from 1 for the nearest down to 0 for the last."""
        matrix, numbers = self._vectors()
        return {numbers[row]: each for row, each in nearest_rows(matrix, vector, limit).items()}

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    def _vectors(self) -> tuple[Any, list[int]]:
        with self._lock:
            if self._matrix is None:
                numpy = numpy_module()
                rows = self._database.rows("select number, vector from vectors order by number")
                joined = b"".join(vector for _, vector in rows)
                flat = numpy.frombuffer(joined, dtype=numpy.float32)
                self._matrix = flat.reshape(len(rows), -1) if rows else flat, [n for n, _ in rows]
            return self._matrix

    @contextlib.contextmanager
    def _changing(self) -> Generator[sqlite3.Connection]:
        with self._lock, self._database.changing() as run:
            self._matrix = None
            yield run

    def _remove(self, run: sqlite3.Connection, path: str) -> None:
        for table in ("chunks_terms", "vectors"):
            column = "rowid" if table == "chunks_terms" else "number"
            run.execute(
                f"delete from {table} where {column} in "  # noqa: S608 - our own names
                "(select number from chunks where path = ?)",
                (path,),
            )
        run.execute("delete from chunks where path = ?", (path,))
        run.execute("delete from files where path = ?", (path,))
