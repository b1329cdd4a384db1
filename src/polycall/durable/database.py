"""The engine of a durable database, and the four tables alongside those of DBOS."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import sqlalchemy as sa
from dbos._serialization import (  # DBOS has no public name for what reads its pickles
    DBOSDefaultSerializer,
)
from sqlalchemy import event, exc

from polycall._support.private_files import make_private_database
from polycall._support.write_ahead import write_ahead
from polycall.errors import RequestError

_SCHEMA = (
    """create table if not exists polycall_executors (
        id varchar(200) primary key, host varchar(300) not null, pid integer not null,
        seen double precision not null, taken_by varchar(200), taken_at double precision)""",
    """create table if not exists polycall_approvals (
        run_id varchar(300) not null, id varchar(500) not null, request text not null,
        expires double precision, decision text, primary key (run_id, id))""",
    """create table if not exists polycall_progress (
        task_id varchar(400) primary key, progress double precision not null,
        message text not null)""",
    """create table if not exists polycall_events (
        run_id varchar(300) not null, first integer not null, epoch integer not null,
        count integer not null, ended integer not null, is_over integer not null,
        events text not null, primary key (run_id, first))""",
)
# Two processes that create the same table at once would trip over each other.
_LOCK_ID = 7_265_002
_WAIT_S = 30.0  # for another process that writes
_POOL_SIZE = 15
_AWAY_S = 1.0
_logger = logging.getLogger("polycall.durable")

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """One engine for DBOS and for the tables here."""

    def __init__(self, url: str) -> None:
        refuse_pickles()
        self.url = _checked(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgres(self.url)
        # One clock for all: the database's own.
        self.now = (
            "unixepoch('subsec')"
            if self.is_sqlite
            else "cast(extract(epoch from clock_timestamp()) as double precision)"
        )

    def check(self) -> None:
        """`RequestError` where there is no database of durable runs, or it cannot be reached."""
        shown = self.engine.url.render_as_string(hide_password=True)
        path = self.engine.url.database or ""
        try:
            # SQLite would make the file that it is asked about.
            is_there = not self.is_sqlite or Path(path).is_file()
            schema = None if self.is_sqlite else "dbos"
            if is_there and sa.inspect(self.engine).has_table("workflow_status", schema):
                return
        except exc.DBAPIError as error:
            raise RequestError(f"{shown!r} cannot be read: {reason_of(error)}") from None
        raise RequestError(f"there are no durable runs at {shown!r}; a `Durable` begins them there")

    def create(self) -> None:
        """Make the tables where they are missing; `RequestError` where that cannot be done."""
        try:
            if self.is_sqlite:
                make_private_database(self.engine.url.database or "")
            with self.engine.begin() as connection:
                if not self.is_sqlite:
                    connection.execute(sa.text(f"select pg_advisory_xact_lock({_LOCK_ID})"))
                for statement in _SCHEMA:
                    connection.execute(sa.text(statement))
        except (exc.DBAPIError, OSError) as error:
            shown = self.engine.url.render_as_string(hide_password=True)
            reason = reason_of(error) if isinstance(error, exc.DBAPIError) else error.strerror
            raise RequestError(f"durable runs cannot be kept at {shown!r}: {reason}") from None

    def change(self, sql: str, **values: Any) -> int:
        """Run one statement; how many rows it changed."""
        with self.engine.begin() as connection:
            return connection.execute(sa.text(sql), values).rowcount

    def rows(self, sql: str, **values: Any) -> Sequence[Mapping[str, Any]]:
        """The rows of a query.  A list is bound as so many parameters, `in :names`."""
        statement = sa.text(sql)
        lists = [name for name, value in values.items() if isinstance(value, list)]
        if lists:
            bound: list[sa.BindParameter[Any]] = [
                sa.bindparam(name, expanding=True) for name in lists
            ]
            statement = statement.bindparams(*bound)
        with self.engine.connect() as connection:
            found = connection.execute(statement, values).mappings().all()
        return [dict(row) for row in found]

    def reopen(self, run_id: str) -> None:
        """Make a run that failed one that was cancelled: DBOS lets only these continue."""
        schema = "" if self.is_sqlite else "dbos."
        with self.engine.begin() as connection:
            changed = connection.execute(
                sa.text(
                    f"update {schema}workflow_status set status = 'CANCELLED' "  # noqa: S608 - our own constant
                    "where workflow_uuid = :id and status = 'ERROR'"
                ),
                {"id": run_id},
            )
            if changed.rowcount:
                connection.execute(
                    sa.text(f"delete from {schema}workflow_output where workflow_uuid = :id"),  # noqa: S608
                    {"id": run_id},
                )

    async def patiently(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work` in a thread, again while Postgres is unreachable, as DBOS does its own part.

        A run must not take the server's absence for an answer.
        """
        while True:
            try:
                return await asyncio.to_thread(work, *args, **kwargs)
            except (exc.OperationalError, exc.InterfaceError) as error:
                if self.is_sqlite:
                    raise
                _logger.warning("the database is unreachable; waiting: %s", reason_of(error))
            await asyncio.sleep(_AWAY_S)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def reason_of(error: exc.DBAPIError) -> str:
    """The database's error, in one line."""
    return (str(error.orig).strip() or type(error).__name__).splitlines()[0]


def _checked(url: str) -> str:
    for prefix in ("postgresql://", "postgres://", "postgresql+psycopg://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        if ":memory:" in url:
            raise RequestError("what shall last cannot be kept in memory; give SQLite a file")
        path = Path(url.removeprefix("sqlite:///"))
        if not path.absolute().parent.is_dir():
            raise RequestError(f"there is no folder {str(path.absolute().parent)!r} for {url!r}")
        return url
    raise RequestError(
        f"durable runs are kept at 'sqlite:///FILE' or 'postgresql://...', not at {url!r}"
    )


def _postgres(url: str) -> sa.Engine:
    try:
        return sa.create_engine(url, pool_size=_POOL_SIZE, max_overflow=0, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise RequestError(
            "durable runs in Postgres need psycopg; install 'polycall[durable]'"
        ) from None


def _sqlite(url: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=_POOL_SIZE, max_overflow=0)

    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        # Writers wait for each other instead of failing, and readers for nobody.
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"pragma busy_timeout = {_WAIT_S * 1000:.0f}")
        connection.execute("pragma foreign_keys = on")
        write_ahead(connection, wait_s=_WAIT_S)
        if sqlite3.sqlite_version_info < (3, 42):
            # DBOS asks for 'subsec', which came with 3.42.
            connection.create_function("unixepoch", -1, _unixepoch)

    event.listen(engine, "connect", prepare)
    return engine


def _unixepoch(*modifiers: str) -> float | int:
    """The time now, as `unixepoch()` and `unixepoch('subsec')` give it."""
    if modifiers not in ((), ("subsec",), ("now", "subsec")):
        raise ValueError(f"unixepoch{modifiers} is not supplied")
    now = time.time()
    return now if modifiers else int(now)


class PickledError(RequestError):
    """A row of the database is a pickle; to read it could run any code."""


def _refuse(_data: Any) -> NoReturn:
    raise PickledError(
        "a row of the database says 'py_pickle', which polycall never writes; it was not read, as "
        "a pickle can run any code: find out who writes to the database, and delete the row"
    )


def refuse_pickles() -> None:
    """Let DBOS read no pickles in this process; called before a database is opened.

    It may write them: of a run that it cannot read DBOS notes the error in the row's own form.
    """
    # DBOS reads a row by what it says of itself, and knows `py_pickle` whatever serializer it was
    # given (`dbos/_serialization.py` of dbos 3.4.0, read 2026-11-29): this reads them.
    # On the one instance that DBOS uses, so that a program's own serializers stay as they are.
    DBOSDefaultSerializer.deserialize = _refuse  # pyright: ignore[reportAttributeAccessIssue]
