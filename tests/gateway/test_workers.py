"""Several workers are one gateway: one port, one set of counts, one life."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from polycall._support.listening import listen
from tests.gateway.harness import KEY, Answer, Gateway, provider_table
from tests.gateway.upstream import BadUpstream, bad_upstream

ASK = {"model": "up/plain", "messages": [{"role": "user", "content": "hi"}]}
SERVER = "[server]\nworkers = {workers}\ndrain_s = 5\n"


@contextmanager
def group(folder: Path, upstream: BadUpstream, workers: int = 3) -> Generator[Gateway]:
    table = provider_table("up", upstream.base_url, "openai-chat", 'quirks = "openai"')
    key = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'
    served = Gateway(folder, SERVER.format(workers=workers) + table + key).start()
    try:
        yield served
    finally:
        served.stop()


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def metric(served: Gateway, name: str) -> dict[str, float]:
    """The values of a metric by their labels."""
    lines = served.request("GET", "/metrics").content.decode().splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
    return {labels.removeprefix(name): float(value) for labels, _, value in found}


def counted(served: Gateway) -> float:
    """How many requests there were, as one of the workers knows."""
    return sum(metric(served, "polycall_requests_total").values())


def until(condition: Callable[[], bool], deadline_s: float = 5) -> bool:
    ends_at = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.05)
    return True


def test_workers_count_together(folder: Path) -> None:
    with bad_upstream() as upstream, group(folder, upstream) as served:
        with ThreadPoolExecutor(12) as pool:
            asking = [pool.submit(served.post, "/v1/chat/completions", ASK) for _ in range(60)]
            answers = [each.result() for each in asking]
        assert {answer.status for answer in answers} == {200}
        labels = '{client="openai-chat",provider="up",model="plain",status="200",outcome="ok"}'
        # Whoever is asked says the same, once it has seen what the others last published.
        for _ in range(12):
            assert until(lambda: metric(served, "polycall_requests_total") == {labels: 60})
            assert metric(served, "polycall_workers") == {"": 3}
        assert metric(served, "polycall_in_flight") == {"": 0}
        assert served.request("GET", "/readyz").json() == {"status": "ok", "workers": 3}
        assert len(served.ledger(60)) == 60


def test_a_dead_worker_is_replaced_and_its_counts_are_kept(folder: Path) -> None:
    with bad_upstream() as upstream, group(folder, upstream) as served:
        for _ in range(30):
            assert served.post("/v1/chat/completions", ASK).status == 200
        # Whoever is asked says so: none has counts that it has not published yet.
        assert until(lambda: all(counted(served) == 30 for _ in range(12)))
        first = workers_of(served.pid)
        os.kill(first[0], signal.SIGKILL)
        # The others serve meanwhile, and nobody's counts go back.
        for _ in range(30):
            assert served.post("/v1/chat/completions", ASK).status == 200
            assert counted(served) >= 30
        assert until(lambda: metric(served, "polycall_workers") == {"": 3})
        assert until(lambda: counted(served) == 60)
        assert metric(served, "polycall_worker_restarts_total") == {"": 1}
        now = workers_of(served.pid)
        assert len(now) == 3
        assert set(first) - set(now) == {first[0]}
        assert f"(process {first[0]}) died; another starts" in served.log


def test_only_what_was_in_flight_on_a_killed_worker_fails(folder: Path) -> None:
    slow = {**ASK, "model": "up/late-1.5", "stream": True}

    def ask(_: int) -> Answer | None:
        try:
            return served.post("/v1/chat/completions", slow)
        except OSError:
            return None

    with bad_upstream() as upstream, group(folder, upstream) as served:
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(ask, number) for number in range(12)]
            assert until(lambda: metric(served, "polycall_in_flight") == {"": 12})
            # How many each had: the upstream's own connections tell it apart by process.
            victim = workers_of(served.pid)[1]
            held = connections_to(victim, upstream.port)
            os.kill(victim, signal.SIGKILL)
            found = [answer.result() for answer in answers]
        whole = [a for a in found if a is not None and a.content.endswith(b"data: [DONE]\n\n")]
        assert len(whole) == 12 - held


def connections_to(pid: int, port: int) -> int:
    """How many open connections of a process lead to a port of this machine."""
    inodes = {
        os.readlink(link)
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if "socket:" in os.readlink(link)
    }
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(
        f"socket:[{field[9]}]" in inodes and int(field[2].split(":")[1], 16) == port
        for field in fields
    )


def test_no_worker_outlives_its_supervisor(folder: Path) -> None:
    with bad_upstream() as upstream, group(folder, upstream) as served:
        workers = workers_of(served.pid)
        served.kill()
        assert until(lambda: not any(map(is_alive, workers)))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may be there to bury it


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_group_after_its_streams(folder: Path, number: int) -> None:
    slow = {**ASK, "model": "up/late-0.8", "stream": True}
    with (
        bad_upstream() as upstream,
        group(folder, upstream) as served,
        ThreadPoolExecutor(9) as pool,
    ):
        answers = [pool.submit(served.post, "/v1/chat/completions", slow) for _ in range(9)]
        assert until(lambda: metric(served, "polycall_in_flight") == {"": 9})
        served.signal(number)
        for answer in answers:
            assert answer.result().content.endswith(b"data: [DONE]\n\n")
        assert served.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", served.port), timeout=2)


def refused(folder: Path, config: str) -> subprocess.CompletedProcess[str]:
    path = folder / "polycall.toml"
    path.write_text(config, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("polycall")), "serve", "--config", str(path)]
    return subprocess.run(
        [*command, "--port", "0"], capture_output=True, text=True, timeout=20, check=False
    )


def test_a_store_that_cannot_be_opened_is_reported_once_before_any_worker_starts(
    folder: Path,
) -> None:
    (folder / "dir.db").mkdir()
    ended = refused(folder, '[server]\nworkers = 2\n[store]\nurl = "sqlite:///dir.db"\n')
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "cannot be opened" in ended.stderr
    assert "a worker ended" not in ended.stderr


def test_workers_do_not_share_a_store_in_memory(folder: Path) -> None:
    ended = refused(folder, '[server]\nworkers = 2\n[store]\nurl = "sqlite://"\n')
    assert ended.returncode == 1
    assert "2 workers cannot share a store in memory" in ended.stderr


def test_a_worker_that_starts_does_not_make_the_others_wait() -> None:
    # Whether `accept` waits belongs to the socket, not to the process: a starting worker's copy
    # must not change it under the others.
    with listen("127.0.0.1", 0) as bound, bound.dup() as copy:
        assert not os.get_blocking(bound.fileno())
        assert not os.get_blocking(copy.fileno())


# A supervisor of two workers: the first ones serve and die, those after them die at once.
DYING = """
import asyncio
from polycall._support.listening import listen
from polycall.config import parse_config
from polycall.errors import RequestError
from polycall.gateway.observability.metrics import ModelCounters, Snapshot
from polycall.gateway.processes.workers import Supervisor

def work(config, post):
    if not post.slot.counts().attempts:
        asyncio.run(serve(post.slot))

async def serve(slot):
    counts = ModelCounters()
    counts.attempts["p", "ok"] = 1
    slot.serve(lambda: Snapshot(counts))
    await asyncio.sleep(1)

with listen("127.0.0.1", 0) as bound:
    try:
        config = parse_config("[server]\\nworkers = 2\\n")
        Supervisor(config, bound, work=work, reread=lambda _: None, announce=print).run()
    except RequestError as error:
        print("error", error)
"""


@pytest.mark.slow
def test_workers_that_die_at_once_are_started_later_each_time_and_not_for_ever() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING], capture_output=True, text=True, timeout=60, check=True
    )
    waits = re.findall(r"worker 0 .* starts in ([\d.]+) s", done.stderr)
    assert waits == ["0.2", "0.4", "0.8", "1.6", "3.2"][: len(waits)]
    assert len(waits) >= 4
    assert "error no worker stays alive" in done.stdout


@pytest.mark.slow
def test_workers_open_a_new_store_at_once(folder: Path) -> None:
    for number in range(3):
        own = folder / str(number)
        own.mkdir()
        with bad_upstream() as upstream, group(own, upstream, workers=6) as served:
            assert served.request("GET", "/readyz").json() == {"status": "ok", "workers": 6}
