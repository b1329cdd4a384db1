"""Talks under faults: so many seeds on each voice, and the laws that hold for all.

`python -m bench.realtime_faults [SEEDS]`: a line for each talk that breaks a law, which
`violations(voice, seed)` of `tests.realtime.faulty_talks` makes again.
"""

from __future__ import annotations

import os
import sys
import time

from tests.realtime.faulty_talks import VOICES, violations

SEEDS = 200


def main(seeds: int = SEEDS, first: int = 0) -> int:
    """Hold the talks; the number of broken laws."""
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        os.environ.setdefault(name, "simulated")
    began, broken = time.monotonic(), 0
    for voice in VOICES:
        for seed in range(first, first + seeds):
            for line in violations(voice, seed):
                broken += 1
                print(line, flush=True)
        print(f"{voice}: {seeds} talks, {time.monotonic() - began:.0f} s so far", flush=True)
    print(f"{seeds} seeds, {len(VOICES)} voices: {broken} laws broken")
    return broken


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:])) else 0)
