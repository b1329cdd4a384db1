"""Conversations of `run` and `chat`, kept in SQLite: to continue with, and to search.

The messages are a session's; the table here has one row a turn, for people, with an index of its
words (pairs of letters where a language writes no spaces).
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from polycall.agents import Run, Sessions
from polycall.agents.database import open_database
from polycall.agents.text_search import query_terms, terms
from polycall.errors import RequestError

VARIABLE = "POLYCALL_LOG"
_INDEXED_CHARACTERS_MAX = 200_000
_FIELDS = (
    "conversation, at, model, system, prompt, answer, reason, input_tokens, output_tokens, cost"
)
_SCHEMA = """
create table if not exists polycall_turns (
    id integer primary key, conversation text not null, at real not null, model text not null,
    system text not null, prompt text not null, answer text not null, reason text not null,
    input_tokens integer not null, output_tokens integer not null, cost text);
create index if not exists polycall_turns_conversation on polycall_turns (conversation, id);
create virtual table if not exists polycall_words using fts5(words, tokenize="unicode61");
""".strip()


class LoggedTurn(Struct, frozen=True):
    """One prompt and its answer.  `at` is in seconds since the epoch, `cost` in US dollars."""

    conversation: str
    at: float
    model: str
    system: str
    prompt: str
    answer: str
    reason: str
    input_tokens: int
    output_tokens: int
    cost: str | None


def log_path() -> str | None:
    """The path of the log: `POLYCALL_LOG`, else the user's folder for state; `None` for `off`."""
    named = os.environ.get(VARIABLE)
    if named:
        return None if named == "off" else named
    state = os.environ.get("XDG_STATE_HOME")
    try:
        folder = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError as error:  # a user without a home
        raise RequestError(f"{error}; set {VARIABLE} to a file, or to off") from None
    return str(folder / "polycall" / "log.db")


class ConversationLog:
    """The log in a file, or in memory for a conversation that is not to be kept."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        place = ":memory:" if path is None else path
        self._database = open_database(place, _SCHEMA, "the log of conversations")
        self.sessions = Sessions(place if path is None else f"sqlite:///{path}")

    def close(self) -> None:
        """Close the database."""
        self.sessions.close()
        self._database.close()

    def new_id(self) -> str:
        """An id for a new conversation, which sorts by time."""
        return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"

    def last_id(self) -> str:
        """The conversation that spoke last; `RequestError` where there is none."""
        rows = self._database.rows(
            "select conversation from polycall_turns order by id desc limit 1"
        )
        if not rows:
            raise RequestError("there is no conversation to continue: the log is empty")
        return str(rows[0][0])

    def turns(self, conversation: str) -> list[LoggedTurn]:
        """All of one conversation, the first first; `RequestError` where there is none."""
        found = self._select("where conversation = ? order by id", conversation)
        if not found:
            raise RequestError(
                f"the log has no conversation {conversation!r}; 'polycall log list' shows them"
            )
        return found

    def newest(self, limit: int, model: str = "") -> list[LoggedTurn]:
        """The newest turns, the newest first; of one model, or of all."""
        where = "where model = ? or ? = '' order by id desc limit ?"
        return self._select(where, model, model, limit)

    def search(self, words: str, limit: int) -> list[LoggedTurn]:
        """The turns that have all the words, the best first."""
        wanted = query_terms(words)
        if not wanted:
            raise RequestError(f"there is no word to search for in {words!r}")
        query = " ".join(f'"{term}"' for term in wanted)
        return self._select(
            "join polycall_words on polycall_words.rowid = polycall_turns.id "
            "where polycall_words match ? order by bm25(polycall_words), id desc limit ?",
            query,
            limit,
        )

    def add(self, conversation: str, model: str, system: str, prompt: str, run: Run[Any]) -> None:
        """Keep a turn that has ended, however."""
        cost = None if run.cost is None else f"{run.cost:f}"
        values = (
            *(conversation, time.time(), model, *map(_storable, (system, prompt, run.text))),
            run.reason,
            *(run.usage.input_tokens, run.usage.output_tokens, cost),
        )
        found = terms(_storable(f"{prompt}\n{run.text}"[:_INDEXED_CHARACTERS_MAX]))
        marks = ", ".join("?" * len(values))
        with self._database.changing() as database:
            row = database.execute(
                f"insert into polycall_turns ({_FIELDS}) values ({marks})",  # noqa: S608 - our own
                values,
            )
            database.execute(
                "insert into polycall_words (rowid, words) values (?, ?)",
                (row.lastrowid, " ".join(found)),
            )

    def delete(self, conversation: str) -> None:
        """Forget a conversation; `RequestError` where there is none."""
        self.turns(conversation)
        self._forget([conversation])

    def delete_before(self, at: float) -> int:
        """Forget the conversations that were last spoken in before then; how many they were."""
        rows = self._database.rows(
            "select conversation from polycall_turns group by conversation having max(at) < ?",
            (at,),
        )
        self._forget([str(row[0]) for row in rows])
        return len(rows)

    def _forget(self, conversations: list[str]) -> None:
        for each in conversations:
            self.sessions.delete(each)
            with self._database.changing() as run:
                run.execute(
                    "delete from polycall_words where rowid in "
                    "(select id from polycall_turns where conversation = ?)",
                    (each,),
                )
                run.execute("delete from polycall_turns where conversation = ?", (each,))

    def _select(self, rest: str, *values: Any) -> list[LoggedTurn]:
        query = f"select {_FIELDS} from polycall_turns {rest}"  # noqa: S608 - our own words
        return [LoggedTurn(*row) for row in self._database.rows(query, values)]


def _storable(text: str) -> str:
    """The text with halves of characters, which no database takes, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
