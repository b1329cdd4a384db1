"""Starts what compose.yaml names by hand on loopback, sends load through nginx and kills a replica.

From the root of the repository, in its development environment:  python deploy/try_it.py

Postgres, Redis or Valkey, and nginx come from the system's packages.  The gateways and nginx run
with the files of this folder; only addresses are changed.  The vendors are simulated.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DEPLOY = Path(__file__).parent
sys.path.insert(0, str(DEPLOY.parent))  # for the servers that the tests start, too

from tests.servers import free_port, postgres, redis  # noqa: E402

from polycall.sim import Simulation  # noqa: E402

KEY = "key-of-the-operator-for-trying"
CLIENTS = 12
MESSAGES = [{"role": "user", "content": "Say something about Seoul."}]


class Sent(NamedTuple):
    """One request and what became of it."""

    began_at: float
    ended_at: float
    failure: str  # empty where the answer was whole


class Result(NamedTuple):
    """What the load met."""

    sent: list[Sent]
    kill_at: float  # when the replica was sent the signal
    killed_at: float  # when no process of it was left
    back_at: float  # when it served again
    rows: int  # of the ledger, with the outcome "ok"

    @property
    def in_flight(self) -> list[Sent]:
        """The requests that were under way at the kill."""
        return [
            one
            for one in self.sent
            if one.began_at < self.killed_at and one.ended_at > self.kill_at
        ]

    @property
    def failures(self) -> list[Sent]:
        """The requests that failed."""
        return [one for one in self.sent if one.failure]

    @property
    def failures_after(self) -> list[Sent]:
        """Those of them that began when the replica was already gone."""
        return [one for one in self.failures if one.began_at > self.killed_at]


class Replica:
    """One `polycall serve` with its workers."""

    def __init__(self, folder: Path, environment: dict[str, str], port: int) -> None:
        self.port = port
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and wait until it serves."""
        command = [sys.executable, "-m", "polycall", "serve", "--host", "127.0.0.1"]
        path = str(self._folder / "polycall.toml")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), "--config", path],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        if "http://" not in self._process.stdout.readline():
            raise AssertionError((self._folder / "log").read_text(encoding="utf-8"))

    def kill(self) -> None:
        """Kill all of its processes, as the end of a container does; returns when they are gone."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        workers = [int(pid) for pid in children.read_text().split()]
        for pid in (self._process.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while any(map(_is_alive, workers)):
            time.sleep(0.001)
        self._close()

    def stop(self) -> None:
        """Drain and end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._close()

    def _close(self) -> None:
        assert self._process is not None
        if self._process.stdout is not None:
            self._process.stdout.close()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def try_it(*, seconds: float = 6.0) -> Result:
    """Kill the first replica after a third of the time, and start it again after two thirds."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres())
        counters = stack.enter_context(redis())
        sim = stack.enter_context(Simulation(seed=5))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polycall-try-")))
        store = database.database()
        environment = {
            "POLYCALL_STORE": store,
            "POLYCALL_COUNTERS": counters.url,
            "POLYCALL_SECRET": "secret-of-all-replicas-for-trying",
            "POLYCALL_KEY": KEY,
            "OPENAI_API_KEY": "sk-simulated-openai",
            "ANTHROPIC_API_KEY": "sk-simulated-anthropic",
        }
        replicas = [Replica(_folder(folder, n, sim), environment, free_port()) for n in (1, 2)]
        for replica in replicas:
            replica.start()
            stack.callback(replica.stop)
        port = stack.enter_context(_nginx(folder, [replica.port for replica in replicas]))
        load = Load(port)
        load.start()
        time.sleep(seconds / 3)
        kill_at = time.monotonic()
        replicas[0].kill()
        killed_at = time.monotonic()
        time.sleep(seconds / 3)
        replicas[0].start()
        back_at = time.monotonic()
        time.sleep(seconds / 3)
        sent = load.stop()
        for replica in replicas:
            replica.stop()
        rows = database.query("SELECT count(*) FROM ledger WHERE outcome = 'ok'", store)
        return Result(sent, kill_at, killed_at, back_at, int(rows))


def _folder(root: Path, number: int, sim: Simulation) -> Path:
    """A replica's folder, with the configuration of this folder and simulated vendors."""
    text = (DEPLOY / "polycall.toml").read_text(encoding="utf-8")
    for vendor in ("openai", "anthropic"):
        table = f"[providers.{vendor}]\n"
        text = text.replace(table, f'{table}base_url = "{sim.base_url(vendor)}"\n')
    folder = root / f"gateway-{number}"
    folder.mkdir()
    (folder / "polycall.toml").write_text(text, encoding="utf-8")
    return folder


def nginx_configuration(folder: Path, port: int, replicas: list[int]) -> Path:
    """The nginx.conf of this folder for addresses of loopback."""
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for number, replica in enumerate(replicas, 1):
        text = text.replace(f"gateway-{number}:8080", f"127.0.0.1:{replica}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("/tmp/", f"{folder}/")
    path = folder / "nginx.conf"
    path.write_text(text.replace("/dev/stdout", f"{folder}/access.log"), encoding="utf-8")
    return path


@contextlib.contextmanager
def _nginx(folder: Path, replicas: list[int]) -> Iterator[int]:
    port = free_port()
    path = nginx_configuration(folder, port, replicas)
    # nginx gives its workers another user where it is started by root.
    folder.chmod(0o755)
    process = subprocess.Popen(
        ["nginx", "-c", str(path), "-g", "daemon off;"],
        stderr=subprocess.DEVNULL,
    )
    try:
        ends_at = time.monotonic() + 10
        while _ask(port, "GET", "/readyz", None)[0] != 200:
            if time.monotonic() > ends_at or process.poll() is not None:
                raise AssertionError("nginx did not start")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


# The load


class Load:
    """Clients that send one request after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sent: list[Sent] = []
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,)) for number in range(CLIENTS)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Sent]:
        """End after the requests that are under way."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        return self._sent

    def _send(self, number: int) -> None:
        streams, is_anthropic = number % 2 == 0, number % 4 < 2
        body: dict[str, Any] = {"messages": MESSAGES, "stream": streams, "max_tokens": 200}
        if is_anthropic:
            path, end = "/v1/messages", b"message_stop"
            body["model"] = "openai/sim-1"  # translated
        else:
            path, end = "/v1/chat/completions", b"data: [DONE]"
            body["model"] = "openai/sim-1"
        while not self._is_over.is_set():
            began_at = time.monotonic()
            failure = ""
            try:
                status, data = _ask(self._port, "POST", path, body)
                if status != 200:
                    failure = f"status {status}: {data[:200]!r}"
                elif streams and end not in data:
                    failure = "the stream was cut"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
            self._sent.append(Sent(began_at, time.monotonic(), failure))


def _ask(port: int, method: str, path: str, body: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionRefusedError:
        return 0, b""
    finally:
        connection.close()


def main() -> int:
    """Print what happened; 1 where a request failed that need not have."""
    result = try_it()
    print(f"{len(result.sent)} requests through nginx, by {CLIENTS} clients at a time")
    print(f"{len(result.in_flight)} were in flight when the first replica was killed")
    print(f"{len(result.failures)} failed, {len(result.failures_after)} of them sent afterwards")
    print(
        f"{len(result.sent) - len(result.failures)} whole answers, {result.rows} rows of the ledger"
    )
    for one in result.failures_after[:5]:
        print(f"  {one.began_at - result.killed_at:.3f} s after: {one.failure}")
    return 1 if result.failures_after else 0


if __name__ == "__main__":
    sys.exit(main())
