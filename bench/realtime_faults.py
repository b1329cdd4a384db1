"""Talks under faults: so many seeds on each voice, and the laws that hold for all.

`python -m bench.realtime_faults [SEEDS] [joined]`: a line for each talk that breaks a law, which
`violations(voice, seed)` of `tests.realtime.faulty_talks` makes again.  `joined` are talks with
handoffs, approvals by voice and typed text as well.
"""

from __future__ import annotations

import os
import sys
import time

from tests.realtime.faulty_talks import VOICES, FaultyTalk, violations
from tests.realtime.joined_talks import JoinedTalk

SEEDS = 200


def main(seeds: int = SEEDS, kind: type[FaultyTalk] = FaultyTalk) -> int:
    """Hold the talks; the number of broken laws."""
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        os.environ.setdefault(name, "simulated")
    began, broken = time.monotonic(), 0
    for voice in VOICES:
        for seed in range(seeds):
            for line in violations(voice, seed, kind):
                broken += 1
                print(line, flush=True)
        print(f"{voice}: {seeds} talks, {time.monotonic() - began:.0f} s so far", flush=True)
    print(f"{seeds} seeds, {len(VOICES)} voices: {broken} laws broken")
    return broken


if __name__ == "__main__":
    counts = [int(each) for each in sys.argv[1:] if each.isdigit()]
    sys.exit(1 if main(*counts, kind=JoinedTalk if "joined" in sys.argv else FaultyTalk) else 0)
