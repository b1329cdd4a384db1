"""What importing costs: CPU time and resident memory of a fresh interpreter, beside the SDKs."""

from __future__ import annotations

import statistics
import subprocess
import sys

STATEMENTS = (
    "pass",
    "import polycall",
    "from polycall import Client",
    "import openai",
    "import anthropic",
    "from google import genai",
)
ROUNDS = 5

PROGRAM = """
import time
started = time.process_time()
{statement}
cpu_s = time.process_time() - started
with open("/proc/self/status") as status:  # the usual call counts the parent's memory too
    kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(cpu_s, kib / 1024)
"""


def main() -> None:
    """Print the table; the median of a few fresh processes each."""
    print(f"{'import':<32}{'CPU ms':>10}{'resident MiB':>14}")
    for statement in STATEMENTS:
        rows = [_measure(statement) for _ in range(ROUNDS)]
        cpu_ms = statistics.median(row[0] for row in rows) * 1000
        memory_mib = statistics.median(row[1] for row in rows)
        print(f"{statement:<32}{cpu_ms:>10.0f}{memory_mib:>14.1f}")


def _measure(statement: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
    )
    cpu_s, memory_mib = done.stdout.split()
    return float(cpu_s), float(memory_mib)
