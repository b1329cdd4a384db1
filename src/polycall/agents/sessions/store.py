"""The store of sessions: SQLite, or Postgres for several machines; as JSON, or encrypted."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.agents.compaction import Shortened
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
    # What a session was after each turn, by how many messages it had then.
    """create table if not exists polycall_session_turns (
        session varchar(300) not null, count integer not null, state text not null,
        primary key (session, count))""",
    """create table if not exists polycall_session_users (
        session varchar(300) primary key, owner varchar(300) not null)""",
)
_LOCK_ID = 7_265_003
# A statement with `?` for its values, and its cursor.
_Run: TypeAlias = Callable[..., Any]


class SessionConflictError(RequestError):
    """Somebody else runs the session, or continued it; the message says what was kept."""


class SessionState(Struct, frozen=True, omit_defaults=True):
    """The state of a session, apart from its messages.

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
    shortened: dict[str, Shortened] = {}
    # Runs that wait for people, each continued once: how many messages there were before it.
    paused: dict[str, int] = {}


class ExportedSession(Struct, frozen=True):
    """A whole session: its messages, and what it was after each turn, the last one last."""

    id: str
    user: str
    messages: list[Message]
    turns: list[SessionState]
    format: Literal["polycall-session-1"] = "polycall-session-1"


class SessionStore:
    """The tables.  `version` counts the saves of a session; 0 is one that there is not yet.

    With a `secret` messages and states are encrypted, each bound to its place; ids, users and times
    are not.  A `user` is given where the session must be that user's.
    """

    def __init__(self, url: str, secret: str | bytes | None = None) -> None:
        self._values = SealedValues(secret)
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

    def load(self, session: str, user: str = "") -> tuple[int, SessionState, list[Message]]:
        """The version, the state, and the messages that are still sent."""
        with self._changing() as run:
            row = self._row(run, session, user)
            if row is None:
                return 0, SessionState(), []
            state = self._values.opened(session, STATE, row[1], SessionState)
            return row[0], state, self._messages(run, session, state.gone)

    def messages(self, session: str, user: str = "") -> list[Message]:
        """All messages that were ever said."""
        with self._changing() as run:
            self._row(run, session, user)
            return self._messages(run, session, 0)

    def save(
        self,
        session: str,
        version: int,
        state: SessionState,
        new: Sequence[Message],
        user: str = "",
    ) -> None:
        """Keep what a run added to `version`, all of it or nothing."""
        with self._changing() as run:
            if not self._save_state(run, session, version, state):
                raise SessionConflictError(
                    f"session {session!r} has changed since this run began, so nothing of the run "
                    "was kept; error.run holds it"
                )
            if version == 0 and user:
                self._give(run, session, user)
            self._add(run, session, state.count - len(new), new)
            self._add_turn(run, session, state)

    def export(self, session: str) -> ExportedSession:
        """All of a session; `RequestError` where there is none."""
        with self._changing() as run:
            row = self._row(run, session, "")
            if row is None:
                raise RequestError(f"there is no session {session!r}")
            owner = run(
                "select owner from polycall_session_users where session = ?", session
            ).fetchone()
            turns = run(
                "select count, state from polycall_session_turns where session = ? order by count",
                session,
            ).fetchall()
            # The last one may be missing: sessions did not always keep their turns.
            state = self._values.opened(session, STATE, row[1], SessionState)
            earlier = [
                self._values.opened(session, turn_place(count), text, SessionState)
                for count, text in turns
                if count < state.count
            ]
            return ExportedSession(
                session,
                owner[0] if owner else "",
                self._messages(run, session, 0),
                [*earlier, state],
            )

    def add(self, exported: ExportedSession) -> None:
        """Keep a session that there is not yet; `RequestError` where there is one of its id."""
        session = exported.id
        with self._changing() as run:
            if not self._save_state(run, session, 0, exported.turns[-1]):
                raise RequestError(f"there is a session {session!r} already; give another id")
            if exported.user:
                self._give(run, session, exported.user)
            self._add(run, session, 0, exported.messages)
            for state in exported.turns:
                self._add_turn(run, session, state)

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

    def names(self, user: str = "") -> list[str]:
        """All sessions, or those of a user, the one that spoke last first."""
        with self._changing() as run:
            rows = run(
                "select id from polycall_sessions left join polycall_session_users "
                "on session = id where ? = '' or owner = ? order by updated desc, id",
                user,
                user,
            ).fetchall()
            return [row[0] for row in rows]

    def delete(self, session: str) -> bool:
        """Forget a session; whether there was one."""
        with self._changing() as run:
            return _delete(run, session)

    def delete_user(self, user: str) -> int:
        """Forget all sessions of a user; how many there were."""
        with self._changing() as run:
            rows = run(
                "select session from polycall_session_users where owner = ?", user
            ).fetchall()
            return sum(_delete(run, row[0]) for row in rows)

    def close(self) -> None:
        """Close the database."""
        if self._postgres is not None:
            self._postgres.close()
        else:
            self._sqlite.close()

    def _row(self, run: _Run, session: str, user: str) -> Any:
        """Version and state; `RequestError` where the session is not this user's."""
        row = run("select version, state from polycall_sessions where id = ?", session).fetchone()
        if row is None or not user:
            return row
        owner = run(
            "select owner from polycall_session_users where session = ?", session
        ).fetchone()
        if owner is None or owner[0] != user:
            whose = "no user" if owner is None else "another user"
            raise RequestError(f"the session {session!r} belongs to {whose}, not to {user!r}")
        return row

    def _save_state(self, run: _Run, session: str, version: int, state: SessionState) -> bool:
        text, now = self._values.sealed(session, STATE, state), time.time()
        if version == 0:
            changed = run(
                "insert into polycall_sessions (id, version, state, updated) "
                "values (?, 1, ?, ?) on conflict do nothing",
                session,
                text,
                now,
            )
        else:
            changed = run(
                "update polycall_sessions set version = version + 1, state = ?, updated = ? "
                "where id = ? and version = ?",
                text,
                now,
                session,
                version,
            )
        return bool(changed.rowcount == 1)

    def _give(self, run: _Run, session: str, user: str) -> None:
        run(
            "insert into polycall_session_users (session, owner) values (?, ?)",
            session,
            user,
        )

    def _add(self, run: _Run, session: str, start: int, new: Sequence[Message]) -> None:
        for place, message in enumerate(new, start):
            run(
                "insert into polycall_messages (session, place, message) values (?, ?, ?)",
                session,
                place,
                self._values.sealed(session, message_place(place), message),
            )

    def _add_turn(self, run: _Run, session: str, state: SessionState) -> None:
        place = turn_place(state.count)
        run(
            "insert into polycall_session_turns (session, count, state) values (?, ?, ?) "
            "on conflict (session, count) do update set state = excluded.state",
            session,
            state.count,
            self._values.sealed(session, place, state),
        )

    def _messages(self, run: _Run, session: str, start: int) -> list[Message]:
        rows = run(
            "select place, message from polycall_messages where session = ? and place >= ? "
            "order by place",
            session,
            start,
        ).fetchall()
        return [
            self._values.opened(session, message_place(place), text, Message)
            for place, text in rows
        ]

    @contextlib.contextmanager
    def _changing(self) -> Generator[_Run]:
        """A function that runs one statement, inside a transaction."""
        if self._postgres is not None:
            with self._postgres.changing() as connection:

                def ask(sql: str, *values: Any) -> Any:
                    return connection.execute(sql.replace("?", "%s"), values)

                yield ask
            return

        with self._sqlite.changing() as database:

            def run(sql: str, *values: Any) -> Any:
                return database.execute(sql, values)

            yield run


def _delete(run: _Run, session: str) -> bool:
    for table in ("polycall_messages", "polycall_session_turns", "polycall_session_users"):
        run(f"delete from {table} where session = ?", session)  # noqa: S608 - our own names
    return bool(run("delete from polycall_sessions where id = ?", session).rowcount)


_ValueT = TypeVar("_ValueT")


# Which value of its session it is.  One that was moved does not open.
STATE = "state"


_MARK = "sealed1:"


_SECRET_CHARACTERS_MIN = 16


def message_place(number: int) -> str:
    """The key of a message."""
    return f"message/{number}"


def turn_place(count: int) -> str:
    """The key of the state after a turn."""
    return f"turn/{count}"


class SealedValues:
    """Encodes values, under a secret where there is one, and decodes them."""

    def __init__(self, secret: str | bytes | None) -> None:
        self._vault = None
        if secret is None:
            return
        if len(secret) < _SECRET_CHARACTERS_MIN:
            raise RequestError(
                f"a secret of sessions has {_SECRET_CHARACTERS_MIN} characters or more; "
                "secrets.token_hex(32) makes one"
            )
        from polycall._support.vault import Vault  # noqa: PLC0415 - only with a secret

        key = secret.encode() if isinstance(secret, str) else secret
        self._vault = Vault(key, b"polycall sessions")

    def sealed(self, session: str, place: str, value: Any) -> str:
        """The value as text for the database."""
        text = jsontext.encode(value)
        if self._vault is None:
            return text
        return _MARK + base64.b64encode(self._vault.lock(session, place, text.encode())).decode()

    def opened(self, session: str, place: str, text: str, kind: type[_ValueT]) -> _ValueT:
        """The value; `RequestError` where it is not one, or not under this secret."""
        try:
            return msgspec.convert(jsontext.decode(self._plain(session, place, text)), kind)
        except (ValueError, msgspec.ValidationError) as error:
            raise RequestError(f"the database holds no {kind.__name__} here: {error}") from None

    def _plain(self, session: str, place: str, text: str) -> str:
        if self._vault is None:
            if text.startswith(_MARK):
                raise RequestError(
                    f"the session {session!r} is encrypted; write Sessions(..., secret=...)"
                )
            return text
        if not text.startswith(_MARK):
            raise RequestError(
                f"the session {session!r} is not encrypted: open it without a secret, export it, "
                "delete it, and import it with the secret"
            )
        plain = self._vault.unlock(session, place, base64.b64decode(text.removeprefix(_MARK)))
        if plain is None:
            raise RequestError(
                f"the session {session!r} was encrypted with another secret, or changed"
            )
        return plain.decode()
