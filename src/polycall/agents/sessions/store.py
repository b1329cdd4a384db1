"""Where sessions are: SQLite, or Postgres for more than one machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.agents.context import Frame
from polycall.agents.database import PostgresConnection, open_database
from polycall.agents.task import TaskNote
from polycall.errors import RequestError
from polycall.ir import Message

_SCHEMA = (
    """create table if not exists polycall_sessions (
        id varchar(300) primary key, version integer not null, state text not null,
        updated double precision not null)""",
    """create table if not exists polycall_messages (
        session varchar(300) not null, place integer not null, message text not null,
        primary key (session, place))""",
    # Who runs a session now, until when at most: a process that has died holds nobody up for long.
    """create table if not exists polycall_session_locks (
        session varchar(300) primary key, owner varchar(40) not null,
        until double precision not null)""",
)
_LOCK_ID = 7_265_003
# A statement with `?` for its values, and its cursor.
_Run: TypeAlias = Callable[..., Any]


class SessionConflictError(RequestError):
    """Somebody else runs the session, or continued it; the message says what was kept."""


class SessionState(Struct, frozen=True, omit_defaults=True):
    """What a session is alongside its messages.

    Of the `count` messages the first `gone` are not sent any more; `summary` stands for them.
    `other_tokens` is what the last request had alongside the messages: instructions, tools.
    """

    count: int = 0
    gone: int = 0
    summary: str = ""
    other_tokens: int = 0
    frames: list[Frame] = []
    variables: dict[str, Any] = {}
    opened: list[str] = []
    allowed: list[str] = []
    tasks: dict[str, TaskNote] = {}
    began: dict[str, str] = {}
    # Runs that wait for people, each continued once: how many messages there were before it.
    paused: dict[str, int] = {}


class SessionStore:
    """The tables.  `version` counts the saves of a session; 0 is one that there is not yet."""

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        self._postgres: PostgresConnection | None = None
        if url.startswith(("postgresql://", "postgres://")):
            self._postgres = PostgresConnection(url, "sessions")
            with self._postgres.changing() as run:
                run.execute(f"select pg_advisory_xact_lock({_LOCK_ID})")
                for statement in _SCHEMA:
                    run.execute(statement)
        else:
            path = url.removeprefix("sqlite:///")
            if "://" in path:
                raise RequestError(
                    "sessions are kept at a path, 'sqlite:///FILE' or 'postgresql://...', "
                    f"not at {url!r}"
                )
            self._sqlite = open_database(path, ";".join(_SCHEMA), "sessions")

    def load(self, session: str) -> tuple[int, SessionState, list[Message]]:
        """The version, the state, and the messages that are still sent."""
        with self._changing() as run:
            row = run(
                "select version, state from polycall_sessions where id = ?", session
            ).fetchone()
            if row is None:
                return 0, SessionState(), []
            state = _decoded(row[1], SessionState)
            return row[0], state, self._messages(run, session, state.gone)

    def messages(self, session: str) -> list[Message]:
        """All messages that were ever said."""
        with self._changing() as run:
            return self._messages(run, session, 0)

    def save(self, session: str, version: int, state: SessionState, new: Sequence[Message]) -> None:
        """Keep what a run added to `version`, all of it or nothing."""
        text, now = jsontext.encode(state), time.time()
        with self._changing() as run:
            if version == 0:
                changed = run(
                    "insert into polycall_sessions (id, version, state, updated) "
                    "values (?, 1, ?, ?) on conflict do nothing",
                    session,
                    text,
                    now,
                ).rowcount
            else:
                changed = run(
                    "update polycall_sessions set version = version + 1, state = ?, updated = ? "
                    "where id = ? and version = ?",
                    text,
                    now,
                    session,
                    version,
                ).rowcount
            if changed != 1:
                raise SessionConflictError(
                    f"session {session!r} has changed since this run began, so nothing of the run "
                    "was kept; error.run holds it"
                )
            for place, message in enumerate(new, state.count - len(new)):
                run(
                    "insert into polycall_messages (session, place, message) values (?, ?, ?)",
                    session,
                    place,
                    jsontext.encode(message),
                )

    def take(self, session: str, owner: str, lease_s: float) -> bool:
        """Lock a session for `lease_s` seconds, or longer where it is the owner's already."""
        now = time.time()
        with self._changing() as run:
            run(
                "delete from polycall_session_locks where session = ? and (until < ? or owner = ?)",
                session,
                now,
                owner,
            )
            taken = run(
                "insert into polycall_session_locks (session, owner, until) values (?, ?, ?) "
                "on conflict do nothing",
                session,
                owner,
                now + lease_s,
            )
            return bool(taken.rowcount == 1)

    def give_back(self, session: str, owner: str) -> None:
        """Unlock a session."""
        with self._changing() as run:
            run(
                "delete from polycall_session_locks where session = ? and owner = ?", session, owner
            )

    def names(self) -> list[str]:
        """All sessions, the one that spoke last first."""
        with self._changing() as run:
            rows = run("select id from polycall_sessions order by updated desc").fetchall()
            return [row[0] for row in rows]

    def delete(self, session: str) -> bool:
        """Forget a session; whether there was one."""
        with self._changing() as run:
            run("delete from polycall_messages where session = ?", session)
            deleted = run("delete from polycall_sessions where id = ?", session)
            return bool(deleted.rowcount)

    def close(self) -> None:
        """Close the database."""
        if self._postgres is not None:
            self._postgres.close()
        else:
            self._sqlite.close()

    def _messages(self, run: _Run, session: str, start: int) -> list[Message]:
        rows = run(
            "select message from polycall_messages where session = ? and place >= ? order by place",
            session,
            start,
        ).fetchall()
        return [_decoded(row[0], Message) for row in rows]

    @contextlib.contextmanager
    def _changing(self) -> Generator[_Run]:
        """What runs one statement, inside a transaction."""
        if self._postgres is not None:
            with self._postgres.changing() as connection:

                def ask(sql: str, *values: Any) -> Any:
                    return connection.execute(sql.replace("?", "%s"), values)

                yield ask
            return

        def run(sql: str, *values: Any) -> Any:
            return self._sqlite.execute(sql, values)

        with self._lock:
            run("begin immediate")
            try:
                yield run
            except BaseException:
                run("rollback")
                raise
            run("commit")


def _decoded(text: str, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(jsontext.decode(text), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise RequestError(f"the database holds no {kind.__name__} here: {error}") from None
