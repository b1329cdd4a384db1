"""The supervisor of several workers: it starts them, starts dead ones again, and ends them.

It holds the listening socket and serves nobody itself.  Workers are forked, share the socket, and
end when the supervisor is gone, however it went: they hear it at the end of a pipe.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import NoReturn

from msgspec import Struct

from polycall.config import Config
from polycall.errors import PolycallError, RequestError
from polycall.gateway.processes.shared_metrics import SharedMetrics, WorkerSlot

logger = logging.getLogger("polycall.workers")

SETTLED_S = 10.0  # a worker that lived so long did not die of its start
RESTART_S_MAX = 10.0
_FAILURES_MAX = 5
_KILL_AFTER_S = 5.0  # beyond the time to drain
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Post(Struct, frozen=True):
    """The objects that a serving process gets besides the configuration."""

    slot: WorkerSlot
    lifeline: int | None = None  # a file that ends when the supervisor does
    announce: Callable[[int], None] | None = None  # gets the port; a supervisor tells it itself


class _Worker:
    """One worker, alive or to be started at `due_at`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.started_at = 0.0
        self.due_at = 0.0
        self.failures = 0  # in a row, soon after the start


@dataclass(eq=False, repr=False)
class Supervisor:
    """Runs `work` in as many processes as the configuration says, until a signal."""

    config: Config
    bound: socket.socket
    _: KW_ONLY
    work: Callable[[Config, Post], None]
    reread: Callable[[Config], Config | None]  # `None` where the file has mistakes
    announce: Callable[[int], None]

    def __post_init__(self) -> None:
        self._workers = [_Worker(number) for number in range(self.config.server.workers)]
        self._shared_metrics = SharedMetrics(len(self._workers))
        self._lifeline = os.pipe()
        self._was_up = False
        self._ends_by: float | None = None  # while draining

    def run(self) -> None:
        """Returns when all workers have ended after a signal.

        Raises `RequestError` where workers cannot start, or none of them stays alive.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while self._ends_by is None or any(worker.pid for worker in self._workers):
                self._start_due()
                self._announce_once()
                found = signal.sigtimedwait(_SIGNALS, self._wait_s())
                if found is not None:
                    self._take(signal.Signals(found.si_signo))
                self._reap()
                if self._ends_by is not None and time.monotonic() > self._ends_by:
                    logger.error("workers that did not end in time are killed")
                    self._send(signal.SIGKILL)
        finally:
            self._send(signal.SIGKILL)
            for end in self._lifeline:
                os.close(end)

    def _wait_s(self) -> float:
        if not self._was_up:
            return 0.05
        if self._ends_by is not None:
            return 0.2
        now = time.monotonic()
        return min([1.0, *(max(w.due_at - now, 0.0) for w in self._workers if not w.pid)])

    def _take(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            changed = self.reread(self.config)
            if changed is not None:
                self.config = changed
                self._send(signal.SIGHUP)
        elif number in (signal.SIGINT, signal.SIGTERM):
            if self._ends_by is None:
                self._ends_by = time.monotonic() + self.config.server.drain_s + _KILL_AFTER_S
                self.bound.close()
            self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _announce_once(self) -> None:
        if not self._was_up and self._shared_metrics.serving() == len(self._workers):
            self._was_up = True
            self.announce(self.bound.getsockname()[1])

    # Births and deaths

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and now >= worker.due_at and self._ends_by is None:
                self._shared_metrics.start(worker.number, is_restart=self._was_up)
                worker.started_at = now
                worker.pid = os.fork()
                if worker.pid == 0:
                    self._be_worker(worker.number)

    def _be_worker(self, number: int) -> NoReturn:
        status = 1
        try:
            # The terminal's Ctrl-C reaches the supervisor, who passes it on.
            os.setpgid(0, 0)
            lifeline, supervisors_end = self._lifeline
            os.close(supervisors_end)
            # SIGHUP waits until there is somebody to take it.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, set(_SIGNALS) - {signal.SIGHUP})
            self.work(self.config, Post(WorkerSlot(self._shared_metrics, number), lifeline))
            status = 0
        except PolycallError as error:
            print(f"polycall: {error}", file=sys.stderr)
        except BaseException:  # noqa: BLE001 - nothing may run on into the supervisor's own code
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for worker in self._workers:
            if worker.pid and os.waitpid(worker.pid, os.WNOHANG)[0]:
                self._buried(worker)

    def _buried(self, worker: _Worker) -> None:
        pid, worker.pid = worker.pid, 0
        self._shared_metrics.end(worker.number)
        if self._ends_by is not None:
            return
        if not self._was_up:
            raise RequestError("a worker ended at its start; what it said of itself is above")
        now = time.monotonic()
        worker.failures = worker.failures + 1 if now - worker.started_at < SETTLED_S else 0
        if not self._shared_metrics.serving() and all(
            w.failures >= _FAILURES_MAX for w in self._workers
        ):
            raise RequestError("no worker stays alive; what they said of themselves is above")
        wait_s = min(0.1 * 2**worker.failures, RESTART_S_MAX) if worker.failures else 0.0
        worker.due_at = now + wait_s
        logger.error("worker %d (process %d) died; another starts in %.1f s",
                     worker.number, pid, wait_s)  # fmt: skip
