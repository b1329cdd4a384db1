"""Whether the gateway's memory stays flat: mixed traffic for minutes, MiB a minute.

    python -m bench.soak --minutes 60
    python -m bench.soak --minutes 3 --workers 2
    python -m bench.soak --minutes 3 --only conversations

Turn by turn: small and large requests and bursts on each route, a conversation of its own that
grows step by step, requests that are refused (no JSON, an unknown model, a wrong key), streams
whose client hangs up, and 200 connections at once.  Each turn the resident memory of all workers is
noted.  The growth is a line through the second half of the points, since what is remembered for
repeated requests fills up first.  Fails where an answer is not what it should be, or where the
growth is above `--limit`.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.conversation import KEY, TOOLS, conversation_of, encoded, step
from bench.gateway import SHARED, prepare_tools
from bench.load import MODELS, Load, Served, failures, gateway, load, mock, request_of

_PATH = "/v1/chat/completions"
KINDS = ("requests", "conversations", "hang-ups", "connections", "refused")
_STEPS = 4  # of a conversation in each turn
_SAID_BYTES = 100_000  # before them: what is remembered of conversations is soon full
# What is wrong with a request: its key, its body, the status it must get.
REFUSED: dict[str, tuple[str, bytes, int]] = {
    "no JSON": (KEY, b'{"model": ', 400),
    "an unknown model": (KEY, b'{"model": "nobody/knows", "messages": []}', 404),
    "a wrong key": ("sk-wrong", b"{}", 401),
}


def main() -> int:
    """Send, note, and print a line for each minute and the growth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default=",".join(KINDS), help="by comma: " + ", ".join(KINDS))
    parser.add_argument("--limit", type=float, default=0.1, help="MiB a minute and worker")
    options = parser.parse_args()
    if not (SHARED / "bench" / "bench.py").exists():
        print(f"no bench data at {SHARED}; set POLYCALL_SHARED", file=sys.stderr)
        return 2
    prepare_tools()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock() as upstream,
        gateway(Path(folder), upstream, cores={0, 1}, count=options.workers) as served,
    ):
        points, failed = soaked(served, options.minutes, options.only.split(","))
    growth = slope(points[len(points) // 2 :]) / options.workers
    first, last = points[0][1], points[-1][1]
    print(
        f"{len(points)} turns: {first:.1f} MiB after the first, {last:.1f} after the last; "
        f"{growth:+.3f} MiB a minute and worker in the second half (limit {options.limit})"
    )
    print(f"answers that were not what they should be: {failed}")
    return 1 if failed or growth > options.limit else 0


def soaked(
    served: Served, minutes: float, kinds: list[str]
) -> tuple[list[tuple[float, float]], int]:
    """Minutes and MiB after each turn, and how many answers were wrong."""
    began = time.monotonic()
    points: list[tuple[float, float]] = []
    failed = said = 0
    for number in itertools.count():
        failed += turn(served, number, kinds)
        minute = (time.monotonic() - began) / 60
        points.append((minute, resident_mib(served)))
        if minute >= said:
            said = int(minute) + 1
            print(f"minute {minute:5.1f}, turn {number}: {points[-1][1]:.1f} MiB", flush=True)
        if minute >= minutes:
            break
    return points, failed


def turn(served: Served, number: int, kinds: list[str]) -> int:
    """Traffic of each of these kinds; how many answers were wrong."""
    failed = 0
    for route in MODELS:
        if "requests" in kinds:
            failed += sum(failures(found) for found in loads(served, route))
        if "conversations" in kinds:
            failed += conversation(served, route, number)
        if "hang-ups" in kinds:
            hang_up(served, route)
    if "connections" in kinds:
        found = load(served, "passed", connections=200, seconds=10, requests=400)
        failed += failures(found)
    return failed + (refused(served) if "refused" in kinds else 0)


def loads(served: Served, route: str) -> Iterator[Load]:
    """A second of each load of a route."""
    for payload, streams, rate in (("small", False, 150), ("big", False, 15), ("small", True, 40)):
        yield load(
            served, route, connections=16, seconds=1, rate=rate, payload=payload, streams=streams
        )


def conversation(served: Served, route: str, number: int) -> int:
    """A conversation that nobody had before, some steps long."""
    said = [*conversation_of(_SAID_BYTES), {"role": "user", "content": f"the turn {number}"}]
    wrong = 0
    for place in range(_STEPS):
        said = [*said, *step(number * 1000 + place)]
        body = {"model": MODELS[route], "messages": said, "tools": TOOLS}
        wrong += ask(served, KEY, encoded(body), 200)
    return wrong


def refused(served: Served) -> int:
    """Requests that must be refused."""
    return sum(ask(served, *case) for case in REFUSED.values() for _ in range(5))


def ask(served: Served, key: str, body: bytes, status: int) -> int:
    """Send one request on a connection of its own; whether the answer has another status."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", _PATH, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status != status:
        print(f"  {answer.status} instead of {status}: {data[:200]!r}", file=sys.stderr)
    return int(answer.status != status)


def hang_up(served: Served, route: str) -> None:
    """Streams whose client goes after the first bytes."""
    request = request_of(MODELS[route], "small", streams=True)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as peer:
            peer.sendall(request)
            peer.recv(1)


def resident_mib(served: Served) -> float:
    """What all workers hold."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in served.workers]
    return sum(int(each.split("VmRSS:")[1].split()[0]) for each in statuses) / 1024


def slope(points: list[tuple[float, float]]) -> float:
    """MiB a minute, by the line with the least squares."""
    if len(points) < 2:
        return 0.0
    found: Any = statistics.linear_regression(*zip(*points, strict=True))
    return float(found.slope)


if __name__ == "__main__":
    sys.exit(main())
