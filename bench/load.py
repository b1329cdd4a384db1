"""The gateway under load: latency at half the capacity, many connections, two workers.

    python -m bench.load                                  # all three: two minutes
    python -m bench.load --only half --rounds 5
    python -m bench.load --only connections,workers --routes passed

One worker runs on the first core; mock and load generator (as in `bench/gateway.py`) run on the
second.  `half`: the capacity with 32 connections is measured, then half of it comes at an even
rate, and a reply's time counts from when its request was due.  `connections`: 8,000 requests over
256 and 2,048 connections that come at once.  `workers`: one worker, then two.  Two need both cores,
of which mock and generator take a part, so `cores` is what two make of the time that they had,
2 x (CPU a reply of one) / (CPU a reply of two); `replies` is the plain ratio of replies a second.
Fails where an answer is no success.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.conversation import KEY, cpu_s, encoded
from bench.gateway import HOME, SHARED, prepare_tools

MODELS = {
    "passed": "up-openai/gpt-mock",
    "anthropic": "up-anthropic/claude-mock",
    "gemini": "up-gemini/gemini-mock",
}
MANY = (256, 2048)
PARTS = ("half", "connections", "workers")


class Load(Struct, frozen=True):
    """What the load generator said of one run."""

    replies: int
    failed: int
    first_error: str
    per_s: float
    p50_ms: float
    p99_ms: float


class Served(Struct, frozen=True):
    """A gateway that runs: its first process, its processes that serve, its port."""

    pid: int
    workers: list[int]
    port: int
    folder: Path

    def cpu_s(self) -> float:
        """CPU time of all that serve."""
        return sum(cpu_s(pid) for pid in self.workers)


def main() -> int:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="by comma: " + ", ".join(PARTS))
    parser.add_argument("--routes", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    options = parser.parse_args()
    if not (SHARED / "bench" / "bench.py").exists():
        print(f"no bench data at {SHARED}; set POLYCALL_SHARED", file=sys.stderr)
        return 2
    prepare_tools()
    parts, routes = options.only.split(","), options.routes.split(",")
    failed = 0
    with tempfile.TemporaryDirectory() as folder, mock() as upstream:
        place = Path(folder)
        if "half" in parts or "connections" in parts:
            with gateway(place, upstream, cores={0}) as served:
                if "half" in parts:
                    for route in routes:
                        failed += half(served, route, options.rounds, options.seconds)
                if "connections" in parts:
                    for route in routes:
                        failed += connections(served, route)
        if "workers" in parts:
            for route in routes:
                failed += workers(place, upstream, route, options.rounds, options.seconds)
    print(f"answers that were no success: {failed}")
    return 1 if failed else 0


def half(served: Served, route: str, rounds: int, seconds: float) -> int:
    """Print the latencies at half the capacity."""
    best: tuple[float, Load, float] | None = None
    failed = 0
    for _ in range(rounds):
        full = load(served, route, connections=32, seconds=seconds)
        asked = load(served, route, connections=128, seconds=seconds, rate=full.per_s / 2)
        failed += failures(full) + failures(asked)
        ratio = asked.p99_ms / asked.p50_ms
        if best is None or ratio < best[0]:
            best = ratio, asked, full.per_s
    assert best is not None
    ratio, asked, capacity = best
    print(
        f"half of {capacity:,.0f}/s, {route}: p50 {asked.p50_ms:.2f} ms, p99 {asked.p99_ms:.2f} ms,"
        f" {ratio:.1f} times (goal 5)",
        flush=True,
    )
    return failed


def connections(served: Served, route: str) -> int:
    """Print what many connections get that come at once."""
    failed = 0
    for count in MANY:
        found = load(served, route, connections=count, seconds=60, requests=8000)
        failed += failures(found)
        print(
            f"{count:,} connections, {route}: {found.replies} replies, {found.failed} failed, "
            f"p50 {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f} ms, {found.per_s:,.0f}/s",
            flush=True,
        )
    return failed


def workers(place: Path, upstream: int, route: str, rounds: int, seconds: float) -> int:
    """Print how much more two workers do than one."""
    failed = 0
    best: dict[int, tuple[float, float, float]] = {}
    for _ in range(rounds):
        for count in (1, 2):
            with gateway(
                place, upstream, cores={0} if count == 1 else {0, 1}, count=count
            ) as served:
                failed += failures(load(served, route, connections=32, seconds=1))
                before = [cpu_s(pid) for pid in served.workers]
                found = load(served, route, connections=32, seconds=seconds)
                spent = [cpu_s(pid) - one for pid, one in zip(served.workers, before, strict=True)]
            failed += failures(found)
            each_ms = sum(spent) / found.replies * 1000
            if count not in best or each_ms < best[count][0]:
                best[count] = each_ms, found.per_s, max(spent) / sum(spent)
    (one_ms, one_s, _), (two_ms, two_s, share) = best[1], best[2]
    print(
        f"two workers, {route}: cores {2 * one_ms / two_ms:.2f} times (goal 1.9), "
        f"replies {two_s / one_s:.2f} times ({one_s:,.0f}/s, {two_s:,.0f}/s); "
        f"CPU a reply {one_ms:.3f}, {two_ms:.3f} ms; the busier one has {share:.0%}",
        flush=True,
    )
    return failed


def failures(found: Load) -> int:
    """How many failed; the first of them is told."""
    if found.failed:
        print(f"  {found.failed} failed, first: {found.first_error}", file=sys.stderr)
    return found.failed


# What runs


@contextmanager
def mock() -> Generator[int]:
    """The upstream, on the second core."""
    port = free_port()
    with process([str(HOME / "mock"), str(port), str(HOME / "payloads" / "mock")], {1}):
        yield port


@contextmanager
def gateway(place: Path, upstream: int, *, cores: set[int], count: int = 1) -> Generator[Served]:
    """A gateway with its ledger in a file, once it serves."""
    config = place / "polycall.toml"
    text = (HOME / "cfg" / "polycall.toml").read_text().replace("9009", str(upstream))
    config.write_text(f'{text}\n[store]\nurl = "sqlite:///{place / "polycall.db"}"\n')
    port = free_port()
    options = ["--config", str(config), "--port", str(port), "--workers", str(count)]
    command = [sys.executable, "-m", "polycall", "serve", *options]
    with process(command, cores, says_ready=True) as running:
        pid = running.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        serving = [pid] if count == 1 else [int(child) for child in children]
        yield Served(pid, serving, port, place)


@contextmanager
def process(
    command: list[str], cores: set[int], *, says_ready: bool = False
) -> Generator[subprocess.Popen[str]]:
    """A process on these cores until the block ends."""
    running = subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, sorted(cores))), *command],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert running.stdout is not None
        if says_ready and not running.stdout.readline():
            raise SystemExit("the gateway did not start")
        yield running
    finally:
        running.terminate()
        running.communicate(timeout=60)


def load(
    served: Served,
    route: str,
    *,
    connections: int,
    seconds: float,
    requests: int = 0,
    rate: float = 0,
    payload: str = "small",
    streams: bool = False,
) -> Load:
    """Run the load generator on the second core: `requests` at most, at a rate or all at once."""
    file = served.folder / f"{route}.{payload}.{streams}.request"
    file.write_bytes(request_of(MODELS[route], payload, streams=streams))
    command = ["taskset", "-c", "1", str(HOME / "lg"), "127.0.0.1", str(served.port), str(file)]
    given = (connections, seconds, requests, rate, 0, "get_weather")
    found = subprocess.run(
        command + [str(each) for each in given],
        check=True, capture_output=True, text=True, timeout=seconds + 90,
    )  # fmt: skip
    told = json.loads(found.stdout)
    failed = told["conn_err"] + told["non200"] + told["noexpect"]
    times = told["lat_us"]
    return Load(
        told["ok"], failed, told["firsterr"], told["rps"], times["p50"] / 1e3, times["p99"] / 1e3
    )


def request_of(model: str, payload: str, *, streams: bool = False) -> bytes:
    """One request as it is on the wire."""
    body: dict[str, Any] = json.loads(
        (HOME / "payloads" / "requests" / f"{payload}.json").read_text()
    )
    body = {"model": model, **body}
    if streams:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    data = encoded(body)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n"
        f"user-agent: lg/1\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


if __name__ == "__main__":
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("two cores are needed: one for the gateway, one for the load")
    sys.exit(main())
