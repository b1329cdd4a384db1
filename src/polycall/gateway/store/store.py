"""The store as the gateway sees it, whatever database is behind it.

A write that was awaited is committed: killing the process loses nothing of it.  Rows of the ledger
are written behind the requests, in batches four times a second.  While it is unreachable, every
operation fails at once, except the one that looks whether it is back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import ParamSpec, TypeVar

from msgspec import Struct, to_builtins
from msgspec.structs import astuple

from polycall._support.vault import Vault
from polycall.errors import RequestError, StoreError
from polycall.gateway.store import (
    audit_operations,
    correction_operations,
    counter_operations,
    key_operations,
    operations,
    quota,
)
from polycall.gateway.store.base import (
    Actor,
    Engine,
    Grant,
    KeyRecord,
    KeyRow,
    KeySecret,
    LeaseRequest,
    LedgerRow,
    Operation,
    Settlement,
    StatePlace,
    StateRow,
)
from polycall.gateway.store.reading_process import ReadingProcess
from polycall.gateway.store.sqlite import SQLiteEngine, path_of
from polycall.gateway.store.state_cache import StateCache
from polycall.gateway.store.usage import UsageRow, usage
from polycall.gateway.store.writer import RowWriter, Spool

logger = logging.getLogger("polycall.store")

T = TypeVar("T")
P = ParamSpec("P")

STATE_DAYS = 30
DAY_S = 86_400
PURGE_ROWS = 1000
PURGE_PAUSE_S = 0.05
UNNAMED = Actor("unnamed")


def open_store(
    url: str, folder: Path, *, secret: str = "", spool: str = "", deadline_s: float = 8.0
) -> Store:
    """The store behind `sqlite:///FILE` (relative to `folder`), `sqlite://` or `postgresql://...`.

    `secret` is what values are locked with; without one, the store keeps one of its own.
    Brings its tables to this version, and waits for that; raises `RequestError` where it cannot be
    opened.
    """
    if url.startswith("sqlite:"):
        return Store(SQLiteEngine(path_of(url, folder)), Spool(folder / spool, url), secret)
    try:
        from polycall.gateway.store.postgres import PostgresEngine  # noqa: PLC0415 - an extra
    except ImportError:
        raise RequestError(
            "a store in Postgres needs psycopg; install 'polycall[postgres]'"
        ) from None
    return Store(PostgresEngine(url, deadline_s), Spool(folder / spool, url), secret)


class Store:
    """Carried state, the ledger and the server's secret.  Made and closed by the server."""

    def __init__(self, engine: Engine, spool: Spool, secret: str = "") -> None:
        self._engine = engine
        self.is_up = True
        self.corrections_revision = self.content_revision = 0  # as `look` saw them last
        if secret:
            self.secret = hashlib.sha256(secret.encode()).digest()
        else:
            self.secret = engine.run_now(operations.secret("carrier", secrets.token_bytes(32)))
        self._vault = Vault(self.secret)
        self._cache = StateCache()
        self._written = quota.Written()
        self._writer = RowWriter(self._add_rows, spool)
        reader = engine.reader()
        self._reading = None if reader is None else ReadingProcess(reader)

    # Carried state

    async def save_state(self, owner: str, state_id: str, value: bytes) -> None:
        """Keep `value`; it is committed when this returns."""
        await self.save_states(owner, {state_id: value})

    async def save_states(self, owner: str, values: Mapping[str, bytes]) -> None:
        """Keep values, all or none; they are committed when this returns."""
        await self.save_pairs(owner, values.items())

    async def save_pairs(self, owner: str, pairs: Iterable[tuple[str, bytes]]) -> None:
        """The same with ids and values that are made, and held, one after the other."""
        locked = {state_id: self._locked(owner, state_id, value) for state_id, value in pairs}
        await self._write(operations.save_states(owner, locked, time.time()))
        self._written.note(owner, sum(map(len, locked.values())))

    async def add_states(
        self, owner: str, values: Mapping[str, bytes], *, has_age: bool = True
    ) -> None:
        """Keep values where there are none of their names; they are committed when this returns.

        What has no age stays until it is deleted.
        """
        locked = {name: self._vault.lock(owner, name, value) for name, value in values.items()}
        created = time.time() if has_age else operations.AGELESS
        await self._write(operations.add_states(owner, locked, created))

    def _locked(self, owner: str, state_id: str, value: bytes) -> bytes:
        self._cache.put((owner, state_id), value)
        return self._vault.lock(owner, state_id, value)

    async def change_state(
        self, owner: str, state_id: str, change: Callable[[bytes], bytes | None]
    ) -> bytes | None:
        """Let `change` make a new value of the one that is there, or leave that (`None`).

        Gives the value that is there then; `None` where there is none.  Of two changes at the same
        time one sees the other's value, in whatever process they are.
        """
        while True:
            loaded = await self._read(operations.load_states(owner, [state_id]))
            locked = loaded.get(state_id)
            value = None if locked is None else self._vault.unlock(owner, state_id, locked)
            if locked is None or value is None:
                return None
            new = change(value)
            if new is None:
                return value
            relocked = self._vault.lock(owner, state_id, new)
            operation = operations.replace_state(owner, state_id, locked, relocked, time.time())
            if await self._write(operation):
                self._cache.put((owner, state_id), new)
                return new

    async def load_states(
        self,
        owner: str,
        state_ids: Sequence[str],
        *,
        may_change: bool = False,
        bytes_max: int = operations.LOADED_BYTES_MAX,
    ) -> dict[str, bytes]:
        """The values that are there, of this owner only.

        Raises `MalformedRequestError` where several are larger together than `bytes_max`.

        With `may_change` they come from the database, since another process may have saved them
        again; else what this process remembers is good enough.
        """
        found: dict[str, bytes] = {}
        missing: list[str] = []
        for state_id in state_ids:
            if not (state_id.isascii() and state_id.isprintable()):
                continue  # no id of ours, and text that not every database takes
            value = None if may_change else self._cache.get((owner, state_id))
            if value is None:
                missing.append(state_id)
            else:
                found[state_id] = value
        if missing:
            loaded = await self._read(operations.load_states(owner, missing, bytes_max))
            for state_id, locked in loaded.items():
                value = self._vault.unlock(owner, state_id, locked)
                if value is not None:
                    self._cache.put((owner, state_id), value)
                    found[state_id] = value
        return found

    # What no age removes

    async def keep(self, owner: str, name: str, value: bytes) -> None:
        """Keep `value` until it is changed or dropped; it is committed when this returns."""
        locked = self._vault.lock(owner, name, value)
        await self._write(operations.keep(owner, name, locked, time.time()))

    async def keep_new(self, owner: str, name: str, value: bytes) -> bool:
        """Keep `value` where there is none of this name; of two at once, one gets true."""
        locked = self._vault.lock(owner, name, value)
        return await self._write(operations.keep_new(owner, name, locked, time.time()))

    async def kept(self, owner: str, name: str) -> bytes | None:
        """The stored value, as the database has it now; `None` where there is none."""
        locked = await self._read(operations.kept(owner, name))
        return None if locked is None else self._vault.unlock(owner, name, locked)

    async def drop_kept(self, owner: str, name: str) -> None:
        """Keep it no longer."""
        await self._write(operations.drop_kept(owner, name))

    async def delete_states(self, owner: str, state_ids: Sequence[str]) -> int:
        """Remove values of this owner, all or none; gives how many were there."""
        for state_id in state_ids:
            self._cache.pop((owner, state_id))
        return await self._write(operations.delete_states(owner, state_ids))

    async def recent_states(self, prefix: str, number: int) -> list[StateRow]:
        """The newest values of all owners whose ids begin so."""
        return (await self.states_page(prefix, number, 0.0, operations.END))[0]

    async def states_page(
        self, prefix: str, number: int, since: float, before: StatePlace
    ) -> tuple[list[StateRow], StatePlace | None]:
        """The newest values of all owners of that time, and where the next page begins, if any."""
        rows = await self.look_up_aside(operations.states_page(prefix, number, since, before))
        found = [(*row[:3], self._vault.unlock(row[0], row[1], row[3])) for row in rows]
        place = (rows[-1][2], *rows[-1][:2]) if len(rows) == number else None
        return [(*row[:3], row[3]) for row in found if row[3] is not None], place

    async def owner_states(self, owner: str, prefix: str, number: int) -> dict[str, bytes]:
        """Values of this owner whose ids begin so, as the database has them now."""
        rows = await self._read(operations.owner_states(owner, prefix, number))
        found = {name: self._vault.unlock(owner, name, value) for name, value in rows.items()}
        return {name: value for name, value in found.items() if value is not None}

    async def drop_state(self, owner: str, state_id: str, by: Actor, action: str) -> bool:
        """Remove a value, as an administrator does; false where it is not there."""
        operation = operations.drop_state(owner, state_id)
        is_gone = await self.act(operation, by, action, state_id, {"owner": owner})
        self._cache.pop((owner, state_id))
        return is_gone

    # Clients' keys

    def keys_now(self) -> tuple[int, list[KeyRecord]]:
        """The revision and all keys, before anything else is going on."""
        return self._engine.run_now(key_operations.all_keys())

    async def keys(self) -> tuple[int, list[KeyRecord]]:
        """The revision and all keys, revoked ones too."""
        return await self._read(key_operations.all_keys())

    async def find_key(self, name: str) -> KeyRecord:
        """The key of this name or id; `RequestError` where there is none."""
        return await self._read(key_operations.find_key(name))

    async def create_key(self, row: KeyRow, secret: KeySecret, *, by: Actor = UNNAMED) -> None:
        """Keep a new key; `RequestError` where its name is taken."""
        operation = key_operations.create_key(row, secret)
        await self.act(operation, by, "key.create", row.name, detail_of(row))

    async def change_key(
        self, name: str, changes: dict[str, object], *, by: Actor = UNNAMED
    ) -> KeyRecord:
        """Set fields of a key; gives it as it is then."""
        operation = key_operations.change_key(name, changes)
        return await self.act(operation, by, "key.limit", name, detail_of(changes))

    async def rotate_key(
        self, name: str, digest: bytes, prefix: str, *, grace_s: float, by: Actor = UNNAMED
    ) -> KeyRecord:
        """Give a key a new secret; the old one ends after `grace_s`."""
        now = time.time()
        operation = key_operations.rotate_key(name, digest, prefix, now, now + grace_s)
        detail = {"prefix": prefix, "grace_s": grace_s}
        return await self.act(operation, by, "key.rotate", name, detail)

    async def revoke_key(self, name: str, *, by: Actor = UNNAMED) -> KeyRecord:
        """End a key for good."""
        operation = key_operations.revoke_key(name, time.time())
        return await self.act(operation, by, "key.revoke", name, {})

    # Administration (`administration.py` has the rest)

    async def act(
        self,
        operation: Operation[T],
        by: Actor,
        action: str,
        target: str,
        detail: Mapping[str, object],
    ) -> T:
        """Write, and record in the audit log who did it: both, or none."""
        now = time.time()
        return await self._write(
            audit_operations.audited(operation, by, action, target, detail, now=now)
        )

    async def look_up(self, operation: Operation[T]) -> T:
        """Run a short operation that changes nothing."""
        return await self._read(operation)

    async def look_up_aside(self, operation: Operation[T]) -> T:
        """Run a long operation that changes nothing, so that no request waits for it."""
        return await self._engine.read_aside(operation)

    async def ask(
        self, of: str, question: Callable[P, Operation[T]], *given: P.args, **named: P.kwargs
    ) -> T:
        """Answer a question of an administrator, in another process; `of` is who asks.

        A store in memory is this process's alone, and answers here.
        """
        if self._reading is None:
            return await self._engine.read(question(*given, **named))
        return await self._reading.ask(of, question, *given, **named)

    async def change(self, operation: Operation[T]) -> T:
        """Write what is no act of an administrator: a session, a link that was used."""
        return await self._write(operation)

    # Corrections

    async def corrections(self) -> list[bytes]:
        """The corrections from refusals, the oldest first."""
        return await self._read(correction_operations.load_corrections())

    async def save_corrections(self, values: Mapping[str, bytes]) -> None:
        """Keep corrections by their keys."""
        await self._write(correction_operations.save_corrections(values, time.time()))

    async def forget_corrections(self, keys: Sequence[str]) -> None:
        """Remove corrections; running gateways notice within seconds."""
        await self._write(correction_operations.forget_corrections(list(keys)))

    # Counters (`base.Counters`)

    async def take(self, wish: LeaseRequest) -> Grant:
        """Lease some of what is left of a limit."""
        return await self._write(counter_operations.take(wish, time.time()))

    async def settle(
        self, holder: str, settlements: Sequence[Settlement], until: float
    ) -> list[Settlement]:
        """Tell what became of leases; gives those that had been given up as lost."""
        operation = counter_operations.settle(holder, settlements, time.time(), until)
        return await self._write(operation)

    async def reconcile(self) -> int:
        """Replace the leases of silent workers by what the ledger says; gives how many."""
        return await self._write(counter_operations.reconcile(time.time()))

    # The ledger

    def add_row(self, row: LedgerRow) -> None:
        """Write a row down soon; `close` waits for all of them."""
        self._writer.add(row)

    async def ledger_rows(self, limit: int = 100) -> list[LedgerRow]:
        """The latest rows, newest first."""
        return await self._read(operations.ledger_rows(limit))

    async def usage(
        self, by: Sequence[str], *, since: float, until: float, key: str | None = None
    ) -> list[UsageRow]:
        """Sums of the ledger; `by` are names of `usage.GROUPS`."""
        return await self._read(usage(by, since=since, until=until, key=key))

    async def spent_since(self, name: str, worker: str | None, since: float) -> int:
        """The ledger's sum for a counter, by one worker or by all."""
        return await self._read(counter_operations.spent_since(name, worker, since))

    async def spent_usd(self, key_id: str, since: float) -> Decimal:
        """The ledger's sum of a key's costs since a moment."""
        operation = counter_operations.spent_since(f"usd:{key_id}", None, since)
        return Decimal(await self._read(operation)) / counter_operations.NANOS

    async def _add_rows(self, rows: Sequence[LedgerRow]) -> None:
        await self._write(operations.add_rows([astuple(row) for row in rows]))

    async def _recover_rows(self, rows: Sequence[LedgerRow]) -> None:
        """Add rows as `_add_rows` does, even while the store counts as unreachable."""
        await self._engine.write(operations.add_rows([astuple(row) for row in rows]))

    # Life

    async def is_writable(self) -> bool:
        """Whether the store answers; after an outage `look` finds out."""
        try:
            await self._read(operations.ping())
        except StoreError:
            return False
        return True

    async def look(self) -> int:
        """Look whether the store is there, and after an outage write what was spooled.

        Gives the revision of the keys; `StoreError` while the store is unreachable.
        """
        try:
            if not self.is_up:
                # Where nothing can be written, much can still be read.
                await self._engine.write(operations.touch())
            await self._writer.recover(self._recover_rows)
            revisions = await self._engine.read(correction_operations.revisions())
        except StoreError:
            self.is_up = False
            raise
        if not self.is_up:
            logger.warning("the store is back")
        self.is_up = True
        self.corrections_revision = revisions.get("corrections", 0)
        self.content_revision = revisions.get("content", 0)
        return revisions["keys"]

    async def purge(self, ledger_days: int | None) -> None:
        """Remove what is too old, some at a time so that nobody waits for it."""
        now = time.time()
        await self._purge(operations.purge_states, now - STATE_DAYS * DAY_S)
        if ledger_days is not None:
            await self._purge(operations.purge_rows, now - ledger_days * DAY_S)

    async def trim(self, bytes_max: int, *, looks_at_all: bool = False) -> None:
        """Remove the oldest values of keys for which more is kept; `looks_at_all` takes long."""
        owners = self._written.due(bytes_max)
        if looks_at_all:
            owners = await self.look_up_aside(quota.owners_above(bytes_max))
        for owner in owners:
            kept = await self.look_up_aside(quota.kept_bytes(owner))
            if kept > bytes_max:
                removed = await self._remove_oldest(owner, kept - bytes_max * 9 // 10)
                logger.warning(
                    "the key with the id %s keeps more than %d bytes (store.kept_bytes_max): %d of "
                    "its oldest values were removed",
                    *(owner, bytes_max, removed),
                )

    async def _remove_oldest(self, owner: str, surplus: int) -> int:
        removed = 0
        while surplus > 0:
            names: list[str] = []
            for name, size in await self.look_up_aside(quota.oldest_states(owner, PURGE_ROWS)):
                if surplus > 0:
                    names.append(name)
                    surplus -= size
            if not names:
                break
            removed += await self.delete_states(owner, names)
            await asyncio.sleep(PURGE_PAUSE_S)
        return removed

    async def close(self) -> None:
        """Write what is waiting, and stop."""
        await self._writer.close()
        if self._reading is not None:
            await self._reading.close()
        await self._engine.close()

    async def _read(self, operation: Operation[T]) -> T:
        return await self._watched(self._engine.read, operation)

    async def _write(self, operation: Operation[T]) -> T:
        return await self._watched(self._engine.write, operation)

    async def _purge(
        self, operation: Callable[[float, int], Operation[int]], before: float
    ) -> None:
        number = PURGE_ROWS
        while number == PURGE_ROWS:
            number = await self._write(operation(before, PURGE_ROWS))
            await asyncio.sleep(PURGE_PAUSE_S)  # others write too

    async def _watched(
        self, run: Callable[[Operation[T]], Awaitable[T]], operation: Operation[T]
    ) -> T:
        if not self.is_up:
            # Waiting for it once in every request would make an outage a standstill.
            raise StoreError("the store is unreachable")
        try:
            return await run(operation)
        except StoreError as error:
            if self.is_up:
                logger.error("the store is unreachable: %s", error)  # noqa: TRY400
            self.is_up = False
            raise


def detail_of(fields: Struct | Mapping[str, object]) -> dict[str, object]:
    """Fields as the audit log has them: plain JSON, without what is empty."""
    plain: dict[str, object] = to_builtins(fields)
    return {k: v for k, v in plain.items() if not isinstance(fields, Struct) or v not in ("", None)}
