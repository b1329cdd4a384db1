"""How many bytecodes and Python calls one request costs the gateway: figures that never vary.

    python -m bench.bytecodes                          # every row
    python -m bench.bytecodes --rows small --routes passed --functions 40
    python -m bench.bytecodes --limits                 # fails where a row is above its limit

The gateway runs in this process.  Of several requests the least is shown: what goes on each second
falls into others.  A bytecode may be a long call into C: `bench/instructions.py` tells more,
on a machine at rest.  Mock and payloads as in `bench/gateway.py`.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bench.gateway import HOME, SHARED, prepare_tools
from bench.instructions import MODELS, bodies_of, running, send, wait_until_ready
from polycall.cli import main as polycall

PORT, UPSTREAM = 8617, 9024
WARM, COUNTED = 60, 20
ROWS = ("small", "burst", "big")
# A twentieth above what was counted when they were last changed.
LIMITS: dict[tuple[str, str], int] = {
    **{("small", "passed"): 6_900, ("small", "anthropic"): 11_930, ("small", "gemini"): 14_500},
    **{("burst", "passed"): 18_040, ("burst", "anthropic"): 55_200, ("burst", "gemini"): 48_520},
    **{("big", "passed"): 9_690, ("big", "anthropic"): 28_240, ("big", "gemini"): 28_810},
}


class Tracer:
    """Counts bytecodes and calls of the thread that serves, from `on` to `off`."""

    def __init__(self) -> None:
        self.bytecodes: Counter[CodeType] = Counter()
        self.calls: Counter[CodeType] = Counter()

    def on(self, *_: object) -> None:
        sys.settrace(self._enter)

    def off(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        if event != "call":
            return None
        self.calls[frame.f_code] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self.bytecodes[frame.f_code] += 1
        return self._step


def main() -> int:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--routes", default=",".join(MODELS))
    parser.add_argument("--functions", type=int, default=0, help="show so many of the dearest")
    parser.add_argument("--limits", action="store_true", help="fail above the limits")
    options = parser.parse_args()
    if not (SHARED / "bench" / "bench.py").exists():
        print(f"no bench data at {SHARED}; set POLYCALL_SHARED", file=sys.stderr)
        return 2
    prepare_tools()
    asked = [(row, route) for row in options.rows.split(",") for route in options.routes.split(",")]
    found: dict[tuple[str, str], tuple[int, int]] = {}
    tracer = Tracer()
    signal.signal(signal.SIGUSR1, tracer.on)
    signal.signal(signal.SIGUSR2, tracer.off)

    def ask() -> None:
        try:
            wait_until_ready(PORT)
            for row, route in asked:
                found[row, route] = least(tracer, bodies_of(row, MODELS[route]))
                if options.functions:
                    show(tracer, f"{row} {route}", options.functions)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    mock = [str(HOME / "mock"), str(UPSTREAM), str(HOME / "payloads" / "mock")]
    with tempfile.TemporaryDirectory() as folder, running(mock):
        config = Path(folder) / "polycall.toml"
        text = (HOME / "cfg" / "polycall.toml").read_text()
        config.write_text(text.replace("9009", str(UPSTREAM)))
        threading.Thread(target=ask, daemon=True).start()
        polycall(["serve", "--config", str(config), "--port", str(PORT)])
    print("| bytecodes (calls) a request |" + "|".join(f" {route} " for route in MODELS) + "|")
    print("|---|" + "---|" * len(MODELS))
    for row in options.rows.split(","):
        cells = [found.get((row, route)) for route in MODELS]
        shown = [f" {each[0]:,} ({each[1]:,}) " if each else " " for each in cells]
        print(f"| {row} |" + "|".join(shown) + "|")
    above = [key for key, (count, _) in found.items() if count > LIMITS.get(key, count)]
    for key in above if options.limits else []:
        print(f"{' '.join(key)}: {found[key][0]:,}, limit {LIMITS[key]:,}")
    return 1 if above and options.limits else 0


def least(tracer: Tracer, bodies: Iterator[bytes]) -> tuple[int, int]:
    """The bytecodes and calls of the cheapest of several requests."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
    for _ in range(WARM):
        send(connection, next(bodies))
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.1)
    counts: list[tuple[int, int]] = []
    cheapest = None
    for _ in range(COUNTED):
        tracer.bytecodes.clear()
        tracer.calls.clear()
        send(connection, next(bodies))
        time.sleep(0.01)  # what follows the answer's last byte counts, too
        counts.append((tracer.bytecodes.total(), tracer.calls.total()))
        if cheapest is None or counts[-1] == min(counts):
            cheapest = tracer.bytecodes.copy(), tracer.calls.copy()
    os.kill(os.getpid(), signal.SIGUSR2)
    assert cheapest is not None
    tracer.bytecodes, tracer.calls = cheapest
    return min(counts)


def show(tracer: Tracer, title: str, most: int) -> None:
    """The functions in which most bytecodes run."""
    print(f"\n{title}: bytecodes, calls, function")
    for code, count in tracer.bytecodes.most_common(most):
        place = "/".join(Path(code.co_filename).parts[-2:])
        print(f"{count:7} {tracer.calls[code]:4}  {code.co_qualname}  {place}")
    print()


if __name__ == "__main__":
    sys.exit(main())
