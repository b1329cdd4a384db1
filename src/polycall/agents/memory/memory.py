"""Memory as four tools, and a rule for what of it stands in the prompt."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from polycall.agents.context import AgentContext
from polycall.agents.history import is_users
from polycall.agents.memory.entry import Entry, MemoryStore
from polycall.agents.memory.postgres import PostgresStore
from polycall.agents.memory.process import JSONFileStore, ProcessStore
from polycall.agents.memory.sqlite import SQLiteStore
from polycall.errors import RequestError, ToolError
from polycall.ir import JSON, Message
from polycall.tools import ToolContext, Toolset, tool_from_schema
from polycall.tools.threads import run_in_thread

Scope: TypeAlias = Literal["user", "agent", "run"]
Lifetime: TypeAlias = float | datetime.timedelta

_DAY_S = 86_400.0


class Injection(Struct, frozen=True):
    """The part of the memory that a run begins with, below the agent's instructions.

    The `entries` that fit the user's last message best (`"match"`), or that changed last
    (`"recent"`), as far as they fit into `size_chars_max`.  Chosen once a run, so that the
    beginning of the prompt stays the same for a provider's cache.  `entries=0` is nothing.
    """

    entries: int = 5
    by: Literal["match", "recent"] = "match"
    size_chars_max: int = 2_000


class Memory:
    """An agent's memory between runs.

    `store` is a path (`.json`, or SQLite), a Postgres address, a `MemoryStore`, or nothing: then
    the memory ends with the process.  `ttl` is how long an entry lives where nobody says, in
    seconds or as a `timedelta`; nothing is for good.  `scopes` says whose memory it is; the first
    is where new entries go, and all are searched.  Without a `user` in the run, the scope `user`
    is one user's: that of the machine.
    """

    def __init__(
        self,
        store: str | Path | MemoryStore | None = None,
        *,
        ttl: Lifetime | None = None,
        scopes: Sequence[Scope] = ("user",),
        inject: Injection | None = None,
        entries_max: int = 10_000,
        entry_chars_max: int = 4_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = _store_of(store)
        self.inject = inject or Injection()
        self._ttl_s = _seconds(ttl)
        self._scopes = _checked_scopes(scopes)
        self._entries_max = entries_max
        self._entry_chars_max = entry_chars_max
        self._clock = clock
        self.toolset = Toolset(self._tools())

    def __repr__(self) -> str:
        """In a line: how it is kept, and whose it is."""
        return f"Memory({type(self.store).__name__}, scopes: {', '.join(self._scopes)})"

    def add(self, text: str, *, scope: str = "user:", ttl: Lifetime | None = None) -> Entry:
        """Remember `text` in a scope such as `"user:min"`."""
        return self.add_all([text], scope=scope, ttl=ttl)[0]

    def add_all(
        self, texts: Sequence[str], *, scope: str = "user:", ttl: Lifetime | None = None
    ) -> list[Entry]:
        """Remember several at once, or none of them."""
        now = self._clock()
        expires = self._expiry(now, _seconds(ttl))
        entries = [
            Entry(secrets.token_hex(6), scope, self._checked(text), now, now, expires)
            for text in texts
        ]
        self.store.add(entries, entries_max=self._entries_max, now=now)
        return entries

    def search(
        self, query: str, *, scopes: Sequence[str] = ("user:",), limit: int = 5
    ) -> list[Entry]:
        """The entries that fit best; without a query, those that changed last."""
        now = self._clock()
        if not query.strip():
            return self.store.recent(scopes, limit, now)
        return self.store.search(scopes, query, limit, now)

    def update(
        self,
        entry_id: str,
        text: str,
        *,
        scopes: Sequence[str] = ("user:",),
        ttl: Lifetime | None = None,
    ) -> Entry:
        """Put another text in an entry's place; its life begins anew."""
        now = self._clock()
        expires = self._expiry(now, _seconds(ttl))
        changed = self.store.update(scopes, entry_id, self._checked(text), expires, now)
        if changed is None:
            raise _unknown(entry_id)
        return changed

    def forget(self, entry_id: str, *, scopes: Sequence[str] = ("user:",)) -> None:
        """Remove an entry."""
        if not self.store.remove(scopes, entry_id, self._clock()):
            raise _unknown(entry_id)

    def purge(self) -> int:
        """Remove from the store what has expired (it is not found in any case)."""
        return self.store.purge(self._clock())

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    async def injected(self, context: AgentContext[Any], messages: list[Message]) -> str:
        """The memory that a run begins with, by the rule in `inject`."""
        rule = self.inject
        if rule.entries <= 0:
            return ""
        words = [message.text for message in messages if is_users(message)]
        query = words[-1] if words and rule.by == "match" else ""
        if rule.by == "match" and not query.strip():
            return ""
        scopes = self._keys(context)
        found = await run_in_thread(lambda: self.search(query, scopes=scopes, limit=rule.entries))
        return _listed(found, rule.size_chars_max)

    def _tools(self) -> list[Any]:
        scope: JSON = {
            "type": "string",
            "enum": list(self._scopes),
            "description": f"whose memory; {self._scopes[0]} where not said",
        }
        days: JSON = {"type": "number", "exclusiveMinimum": 0, "description": "days to keep it"}
        anew = {**days, "description": "days to keep it from now; else as long as a new entry"}
        text: JSON = {"type": "string", "description": "one fact, clear without its context"}
        entry: JSON = {"type": "string", "description": "the id of the entry"}
        several = {"scope": scope} if len(self._scopes) > 1 else {}
        return [
            tool_from_schema(
                "add_to_memory",
                "Remember a fact for later conversations.",
                _schema(["text"], text=text, days=days, **several),
                self._add_tool,
            ),
            tool_from_schema(
                "get_memory",
                "Search what was remembered. Without a query: what changed last.",
                _schema(
                    [],
                    query={"type": "string", "description": "words to search for"},
                    limit={"type": "integer", "minimum": 1, "maximum": 50},
                ),
                self._get_tool,
            ),
            tool_from_schema(
                "update_memory",
                "Put another text in the place of an entry that is no longer right.",
                _schema(["id", "text"], id=entry, text=text, days=anew),
                self._update_tool,
            ),
            tool_from_schema(
                "forget",
                "Remove an entry from memory.",
                _schema(["id"], id=entry),
                self._forget_tool,
            ),
        ]

    def _add_tool(self, arguments: JSON, context: ToolContext[Any]) -> JSON:
        scope = arguments.get("scope", self._scopes[0])
        key = _key(scope, context)
        return _shown(self.add(arguments["text"], scope=key, ttl=_days(arguments)))

    def _get_tool(self, arguments: JSON, context: ToolContext[Any]) -> list[JSON]:
        limit = arguments.get("limit", 10)
        query = arguments.get("query", "")
        found = self.search(query, scopes=self._keys(context), limit=limit)
        return [_shown(entry) for entry in found]

    def _update_tool(self, arguments: JSON, context: ToolContext[Any]) -> JSON:
        scopes = self._keys(context)
        return _shown(
            self.update(arguments["id"], arguments["text"], scopes=scopes, ttl=_days(arguments))
        )

    def _forget_tool(self, arguments: JSON, context: ToolContext[Any]) -> str:
        self.forget(arguments["id"], scopes=self._keys(context))
        return "forgotten"

    def _keys(self, context: ToolContext[Any]) -> list[str]:
        return [_key(scope, context) for scope in self._scopes]

    def _expiry(self, now: float, ttl_s: float | None) -> float | None:
        lifetime_s = self._ttl_s if ttl_s is None else ttl_s
        return None if lifetime_s is None else now + lifetime_s

    def _checked(self, text: str) -> str:
        if not text.strip():
            raise ToolError("there is nothing to remember in an empty text")
        if len(text) > self._entry_chars_max:
            raise ToolError(
                f"an entry has up to {self._entry_chars_max} characters, this one {len(text)}; "
                "say it shorter, or in several entries"
            )
        return text


def _store_of(store: str | Path | MemoryStore | None) -> MemoryStore:
    match store:
        case None:
            return ProcessStore()
        case str() if store.startswith(("postgres://", "postgresql://")):
            return PostgresStore(store)
        case str() | Path():
            is_json = str(store).endswith(".json")
            return JSONFileStore(store) if is_json else SQLiteStore(store)
        case _:
            return store


def _checked_scopes(scopes: Sequence[Scope]) -> tuple[Scope, ...]:
    unknown = [scope for scope in scopes if scope not in ("user", "agent", "run")]
    if unknown or not scopes or isinstance(scopes, str):
        raise RequestError(f"scopes is a list of 'user', 'agent' and 'run', not {scopes!r}")
    return tuple(scopes)


def _key(scope: Scope, context: ToolContext[Any]) -> str:
    if not isinstance(context, AgentContext):
        return f"{scope}:"
    owner = {
        "user": context.user,
        "agent": context.agent,
        "run": context.run.root.run_id,
    }
    return f"{scope}:{owner[scope]}"


def _seconds(ttl: Lifetime | None) -> float | None:
    match ttl:
        case None:
            return None
        case datetime.timedelta():
            seconds = ttl.total_seconds()
        case int() | float():
            seconds = ttl
        case _:
            raise RequestError(f"a lifetime is seconds or a timedelta, not {ttl!r}")
    if seconds <= 0:
        raise RequestError(f"a lifetime is longer than nothing, not {seconds} s")
    return seconds


def _days(arguments: JSON) -> float | None:
    days = arguments.get("days")
    return None if days is None else days * _DAY_S


def _shown(entry: Entry) -> JSON:
    shown: JSON = {"id": entry.id, "text": entry.text, "updated": _day(entry.updated)}
    if entry.expires is not None:
        shown["expires"] = _day(entry.expires)
    return shown


def _day(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _listed(entries: list[Entry], size_chars_max: int) -> str:
    lines: list[str] = []
    left = size_chars_max
    for entry in entries:
        line = f"- [{entry.id}] {entry.text}"
        if len(line) <= left:
            lines.append(line)
            left -= len(line)
    return "From memory (get_memory finds more):\n" + "\n".join(lines) if lines else ""


def _schema(required: list[str], **properties: JSON) -> JSON:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _unknown(entry_id: str) -> ToolError:
    return ToolError(f"there is no entry {entry_id!r}; get_memory shows the ids")
