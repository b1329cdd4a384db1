"""Leases of processes: which are alive, and which takes over another's work.

Each process holds a lease: a row that it renews.  A process that finds one that has run out claims
it, and puts what that process had back into the queues; two that find it at once cannot both have
it. A process that was only slow finds out by itself: it stops what it does, and what it still
writes is refused, because DBOS gives the run another owner's mark with each takeover.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from dbos import DBOSClient
from sqlalchemy.exc import SQLAlchemyError

from polycall.durable.database import Database

INTERNAL_QUEUE = "_dbos_internal_queue"
_logger = logging.getLogger("polycall.durable")


@dataclass(eq=False, repr=False)
class Lease:
    """This process's lease, and its eye on those of others."""

    database: Database
    client: DBOSClient
    executor_id: str
    _: KW_ONLY
    lease_s: float
    on_lost: Callable[[], None]

    def __post_init__(self) -> None:
        self._host = host_mark()
        self._renewed_at = 0.0
        self._missing_since: dict[str, float] = {}

    async def begin(self) -> None:
        """Take the lease."""
        await asyncio.to_thread(self._register)
        self._renewed_at = asyncio.get_running_loop().time()

    async def keep(self) -> None:
        """Renew it for as long as this is not cancelled, and look after the others."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                held = await asyncio.to_thread(self._renew)
                if not held or loop.time() - self._renewed_at > self.lease_s:
                    # Somebody may have taken over already.
                    _logger.warning(
                        "the lease of %s was lost; its runs continue elsewhere", self.executor_id
                    )
                    self.on_lost()
                    await asyncio.to_thread(self._register)
                    # What nobody has taken over meanwhile would wait for this process for ever.
                    await asyncio.to_thread(self._recover, self.executor_id)
                self._renewed_at = loop.time()
                await asyncio.to_thread(self.sweep)
            except SQLAlchemyError as error:
                _logger.warning("the lease could not be renewed: %s", error)
                if loop.time() - self._renewed_at > self.lease_s:
                    self.on_lost()
            await asyncio.sleep(self.lease_s / 4)

    def end(self) -> None:
        """Give the lease back, and what was not finished to the others."""
        self._recover(self.executor_id)
        self.database.change("delete from polycall_executors where id = :id", id=self.executor_id)

    def sweep(self) -> None:
        """Take over from dead processes."""
        rows = self.database.rows(
            f"select id, host, pid, taken_at, seen, {self.database.now} as now "  # noqa: S608 - our own constant
            "from polycall_executors where id <> :id",
            id=self.executor_id,
        )
        for row in rows:
            # One of the future is of a clock that was set back since: a live process renews it.
            is_late = abs(row["now"] - row["seen"]) > self.lease_s
            if (is_late or self._is_gone(row)) and self._claim(row):
                count = self._recover(row["id"])
                self.database.change(
                    "delete from polycall_executors where id = :id and taken_by = :me",
                    id=row["id"],
                    me=self.executor_id,
                )
                if count > 0:
                    _logger.warning("took %d runs and tasks over from %s", count, row["id"])
        self._sweep_unknown({str(row["id"]) for row in rows})

    def _sweep_unknown(self, known: set[str]) -> None:
        """Work of processes without a lease: taken over from, and yet at it for a moment more."""
        pending = self.client.list_workflows(status="PENDING", load_input=False, load_output=False)
        unknown = (
            {row.executor_id for row in pending if row.executor_id} - known - {self.executor_id}
        )
        now = time.monotonic()
        self._missing_since = {each: self._missing_since.get(each, now) for each in unknown}
        for each, since in list(self._missing_since.items()):
            if now - since > self.lease_s:
                self._recover(each)

    def _claim(self, row: Mapping[str, Any]) -> bool:
        """Whether it is ours to take over; one that died while it did so is not waited for."""
        changed = self.database.change(
            "update polycall_executors set taken_by = :me, "  # noqa: S608 - our own constant
            f"taken_at = {self.database.now} where id = :id and seen = :seen "
            f"and (taken_by is null or abs({self.database.now} - taken_at) > :lease)",
            me=self.executor_id,
            id=row["id"],
            seen=row["seen"],
            lease=self.lease_s,
        )
        return changed == 1

    def _is_gone(self, row: Mapping[str, Any]) -> bool:
        """Whether it ran on this machine and does not any more: then nobody needs to wait."""
        return row["host"] == self._host and not _runs(row["pid"], row["id"])

    def _register(self) -> None:
        self.database.change("delete from polycall_executors where id = :id", id=self.executor_id)
        self.database.change(
            "insert into polycall_executors (id, host, pid, seen) "  # noqa: S608 - our own constant
            f"values (:id, :host, :pid, {self.database.now})",
            id=self.executor_id,
            host=self._host,
            pid=os.getpid(),
        )

    def _renew(self) -> bool:
        changed = self.database.change(
            f"update polycall_executors set seen = {self.database.now} "  # noqa: S608 - our own constant
            "where id = :id and taken_by is null",
            id=self.executor_id,
        )
        return changed == 1

    def _recover(self, executor_id: str) -> int:
        """Put back what this executor has; each is given back once, no matter who asks."""
        rows = self.client.list_workflows(
            status="PENDING", executor_id=executor_id, load_input=False, load_output=False
        )
        # DBOS has no public name for this outside its own paid service.
        database = self.client._sys_db  # pyright: ignore[reportPrivateUsage]
        return sum(
            database.reenqueue_for_recovery(row.workflow_id, [executor_id], INTERNAL_QUEUE)
            for row in rows
        )


def new_executor_id() -> str:
    """A name for this process that no other has, before or after it."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{secrets.token_hex(4)}"


def host_mark() -> str:
    """This machine since it was started, as far as its processes can see each other."""
    parts = [socket.gethostname()]
    for read in (_boot_id, _pid_namespace):
        try:
            parts.append(read())
        except OSError:
            # Not Linux: then only the clock tells who is dead.
            parts.append(secrets.token_hex(8))
    return ":".join(parts)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _runs(pid: int, executor_id: str) -> bool:
    return _started(pid) == executor_id.split(":")[2]


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
