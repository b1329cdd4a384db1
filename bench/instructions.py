"""How many instructions a request costs the gateway: what a busy machine cannot blur.

    python -m bench.instructions                      # every row, in thousands a request
    python -m bench.instructions --rows small,burst --bare
    python -m bench.instructions --limits             # fails where a row is above its limit

The gateway runs under callgrind: requests one after the other, the lesser of two rounds, since
what goes on each second is spread over fewer requests where the machine is busy.  The kernel's work
is not counted.  `--bare` counts the bare proxy of the shared data, too, and shows ratios to it.
Mock and payloads as in `bench/gateway.py`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.conversation import KEY, TOOLS, conversation_of, encoded, step
from bench.gateway import HOME, SHARED, prepare_tools

PORT, BARE_PORT, UPSTREAM = 8615, 8616, 9023
MODELS = {
    "passed": "up-openai/gpt-mock",
    "anthropic": "up-anthropic/claude-mock",
    "gemini": "up-gemini/gemini-mock",
}
STEP_BYTES = {"early": 15_000, "step": 150_000}  # what was said before
ROUNDS = 2
# Row: payload, whether it streams, requests to warm up, requests that are counted.
ROWS: dict[str, tuple[str, bool, int, int]] = {
    "small": ("small", False, 200, 40),
    "burst": ("small", True, 40, 20),
    "big": ("big", False, 20, 10),
    "early": ("", False, 6, 10),
    "step": ("", False, 6, 10),
}
# Thousands a request, a tenth above what was counted when they were last changed.
LIMITS: dict[tuple[str, str], int] = {
    **{("small", "passed"): 800, ("small", "anthropic"): 1_240, ("small", "gemini"): 1_430},
    **{("burst", "passed"): 3_050, ("burst", "anthropic"): 5_300, ("burst", "gemini"): 5_490},
    **{("big", "passed"): 1_860, ("big", "anthropic"): 4_570, ("big", "gemini"): 4_520},
    **{("step", "passed"): 2_140, ("step", "anthropic"): 5_000, ("step", "gemini"): 5_100},
    **{("early", "anthropic"): 4_100, ("early", "gemini"): 4_250},
}


def main() -> int:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--routes", default=",".join(MODELS))
    parser.add_argument("--bare", action="store_true", help="count the bare proxy, too")
    parser.add_argument("--limits", action="store_true", help="fail above the limits")
    parser.add_argument("--keep", default="", help="a folder for callgrind's files")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is not installed", file=sys.stderr)
        return 2
    if not (SHARED / "bench" / "bench.py").exists():
        print(f"no bench data at {SHARED}; set POLYCALL_SHARED", file=sys.stderr)
        return 2
    prepare_tools()
    rows, routes = options.rows.split(","), options.routes.split(",")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(options.keep or folder)
        place.mkdir(parents=True, exist_ok=True)
        found = count_all(rows, routes, place, with_bare=options.bare)
    print(table(found, rows, routes))
    if options.limits:
        above = [key for key, count in found.items() if count > LIMITS.get(key, count)]
        for key in above:
            print(f"{' '.join(key)}: {found[key]:,}, limit {LIMITS[key]:,}")
        return 1 if above else 0
    return 0


def count_all(
    rows: list[str], routes: list[str], place: Path, *, with_bare: bool
) -> dict[tuple[str, str], int]:
    """Thousands of instructions a request, by row and route."""
    found: dict[tuple[str, str], int] = {}
    mock = [str(HOME / "mock"), str(UPSTREAM), str(HOME / "payloads" / "mock")]
    with running(mock):
        config = place / "polycall.toml"
        text = (HOME / "cfg" / "polycall.toml").read_text()
        # In memory: a disk that is slow for a moment would have rows written to a file as well.
        store = '\n[store]\nurl = "sqlite://"\n'
        config.write_text(text.replace("9009", str(UPSTREAM)) + store)
        serve = ["-m", "polycall", "serve", "--config", str(config), "--port", str(PORT)]
        with counted([sys.executable, *serve], PORT, place / "polycall") as counter:
            for row in rows:
                for route in routes:
                    found[row, route] = counter.count(row, MODELS[route])
        if with_bare:
            floors = place / "floors.py"
            text = (SHARED / "bench" / "floors.py").read_text()
            floors.write_text(text.replace("9009", str(UPSTREAM)))
            bare = [bare_python(), str(floors), "raw", "raw", str(BARE_PORT), "json"]
            with counted(bare, BARE_PORT, place / "bare") as counter:
                for row in rows:
                    found[row, "bare"] = counter.count(row, MODELS["passed"])
    return found


def bare_python() -> str:
    """The interpreter of the bare proxy, in an environment made for it once."""
    folder = HOME / "v_floors"
    if not any(folder.glob("lib/*/site-packages/uvloop")):
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet"]
        subprocess.run([*pip, "uvloop", "httptools", "orjson", "msgspec"], check=True)
    return str(folder / "bin" / "python")


class Counter:
    """A server under callgrind."""

    def __init__(self, pid: int, port: int, out: Path) -> None:
        self._pid = pid
        self._port = port
        self._out = out
        self._parts = 0

    def count(self, row: str, model: str) -> int:
        """Thousands of instructions that a request of this row costs."""
        _, _, warm, counted_requests = ROWS[row]
        bodies = bodies_of(row, model)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        for _ in range(warm):
            send(connection, next(bodies))
        least = 0
        for _ in range(ROUNDS):
            self._control("-i", "on")
            self._control("-z")
            for _ in range(counted_requests):
                send(connection, next(bodies))
            self._control(f"--dump={row}")
            self._control("-i", "off")
            self._parts += 1
            dumped = Path(f"{self._out}.{self._parts}")
            total = re.search(r"^(?:summary|totals): (\d+)", dumped.read_text(), re.MULTILINE)
            assert total is not None, dumped
            least = min(least or int(total[1]), int(total[1]))
        return round(least / counted_requests / 1000)

    def _control(self, *options: str) -> None:
        command = ["callgrind_control", *options, str(self._pid)]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def counted(command: list[str], port: int, out: Path) -> Generator[Counter]:
    """The server of this command under callgrind, once it answers."""
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "-q"]
    valgrind.append(f"--callgrind-out-file={out}")
    # One seed: dicts and sets are walked in the same order in each run.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with running([*valgrind, *command], env=environment) as process:
        wait_until_ready(port, process)
        yield Counter(process.pid, port, out)


@contextmanager
def running(
    command: list[str], env: dict[str, str] | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """A process until the block ends."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until the server takes connections and answers."""
    for _ in range(600):
        if process is not None and process.poll() is not None:
            break
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            send(connection, next(bodies_of("small", MODELS["passed"])))
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the server did not start")


def bodies_of(row: str, model: str) -> Iterator[bytes]:
    """The bodies of a row's requests; those of a step have one step more each time."""
    payload, streams, _, _ = ROWS[row]
    if payload:
        body: dict[str, Any] = json.loads(
            (HOME / "payloads" / "requests" / f"{payload}.json").read_text()
        )
        body = {"model": model, **body}
        if streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        data = encoded(body)
        while True:
            yield data
    conversation = conversation_of(STEP_BYTES[row])
    number = 100_000
    while True:
        conversation = [*conversation, *step(number)]
        number += 1
        yield encoded({"model": model, "messages": conversation, "tools": TOOLS})


def send(connection: http.client.HTTPConnection, body: bytes) -> None:
    """Send one request; it must go well."""
    headers = {
        "accept": "*/*",
        "user-agent": "lg/1",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
    }
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    data = answer.read()
    assert answer.status == 200, data[:500]


def table(found: dict[tuple[str, str], int], rows: list[str], routes: list[str]) -> str:
    """The figures as Markdown."""
    columns = [*routes, *(["bare"] if any(route == "bare" for _, route in found) else [])]
    lines = [
        "| thousands of instructions a request | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for row in rows:
        bare = found.get((row, "bare"))
        cells = [cell(found.get((row, route)), bare) for route in columns]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(count: int | None, bare: int | None) -> str:
    """A figure, and how many times that of the bare proxy it is."""
    if count is None:
        return ""
    return f"{count:,}" if bare is None or count == bare else f"{count:,} ({count / bare:.2f})"


if __name__ == "__main__":
    sys.exit(main())
