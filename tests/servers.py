"""Real servers for tests: Postgres and Redis, on free ports of loopback, in temporary folders.

They come from the system's packages; where one is absent the test is skipped with the reason.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

_START_S = 30
# A database for tests: nothing of it has to survive the machine.
_POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "120",
    "shared_buffers": "64MB",
}


class Server:
    """One server process.  `url` stays the same over `stop`, `kill` and `start`."""

    def __init__(self, url: str, command: list[str], user: str | None) -> None:
        self.url = url
        self._command = command
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
            extra_groups=None if self._user is None else [],
            start_new_session=True,
        )
        ends_at = time.monotonic() + _START_S
        while not self._answers():
            if time.monotonic() > ends_at or self._process.poll() is not None:
                raise AssertionError(f"{self._command[0]} did not start")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop at once, as an operator would: connections are closed."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill without a word."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Keep connections open and answer nothing, as behind a broken network."""
        assert self._process is not None
        for pid in self._family():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        assert self._process is not None
        for pid in self._family():
            os.kill(pid, signal.SIGCONT)

    def _end(self, number: int) -> None:
        process = self._process
        if process is None:
            return
        family = self._family() if number == signal.SIGKILL else [process.pid]
        self._process = None
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        process.wait(_START_S)

    def _family(self) -> list[int]:
        """The process and its children, which may be in groups of their own."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [pid, *map(int, children.split())]

    def _answers(self) -> bool:
        raise NotImplementedError


class Postgres(Server):
    """A cluster of its own.  `database` makes an empty database in it."""

    def __init__(self, folder: Path, binaries: Path, port: int, user: str | None) -> None:
        self.data = folder / "data"
        self._binaries = binaries
        self._port = port
        self._databases = 0
        settings = {**_POSTGRES_SETTINGS, "unix_socket_directories": str(folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        super().__init__(
            f"postgresql://polycall@127.0.0.1:{port}/postgres",
            [str(binaries / "postgres"), "-D", str(self.data), "-p", str(port), *options],
            user,
        )

    def database(self) -> str:
        """The address of a new, empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.query(f"CREATE DATABASE {name}")
        return f"postgresql://polycall@127.0.0.1:{self._port}/{name}"

    def query(self, sql: str, url: str | None = None) -> str:
        """What psql prints for a statement, unaligned."""
        command = [str(self._binaries / "psql"), "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", sql]
        done = subprocess.run(
            [*command, url or self.url], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    def _answers(self) -> bool:
        # Connections are accepted a while before they are served.
        command = [str(self._binaries / "pg_isready"), "-q", "-d", self.url]
        return subprocess.run(command, check=False).returncode == 0


class Redis(Server):
    """A server that keeps nothing on disk."""

    def __init__(self, binary: str, port: int) -> None:
        self._port = port
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        super().__init__(
            f"redis://127.0.0.1:{port}/0", [*command, "--appendonly", "no", "--dir", "/"], None
        )

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            return True
        return False


@contextlib.contextmanager
def postgres() -> Generator[Postgres]:
    """A running Postgres; skips the test where there is none."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    binary = f"{found[-1]}/postgres" if found else shutil.which("postgres")
    if binary is None:
        pytest.skip("no Postgres server is installed (Debian: postgresql)")
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="polycall-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        binaries = Path(binary).resolve().parent
        words = ["-D", str(folder / "data"), "-U", "polycall", "-A", "trust", "-N"]
        subprocess.run(
            [str(binaries / "initdb"), *words, "-E", "UTF8", "--locale=C"],
            stdout=subprocess.DEVNULL,
            check=True,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            cwd="/",
        )
        server = Postgres(folder, binaries, free_port(), user)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def redis() -> Generator[Redis]:
    """A running Redis or Valkey; skips the test where there is none."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        pytest.skip("no Redis server is installed (Debian: redis-server)")
    server = Redis(binary, free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return bound.getsockname()[1]


def _unprivileged_user() -> str | None:
    """Whom to run Postgres as: it refuses root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("Postgres does not run as root, and there is no other user")
