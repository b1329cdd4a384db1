"""What the gateway costs: CPU a request of its whole process tree, against the targets.

    python bench/gateway.py                      # polycall alone, all scenarios
    python bench/gateway.py --beside nginx,litellm-tuned,portkey --rounds 3
    python bench/gateway.py --beside f:raw+raw:json      # ratios to a bare proxy
    python bench/gateway.py --soak 50000

The mock upstream, the load generator and the peers' set-ups are in the shared data
(`POLYCALL_SHARED`, its folder `bench`); tools are built under `BENCH_HOME` on first use, peers
only by its `setup.sh`.  Figures of gateways are comparable within one run alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("POLYCALL_SHARED", ROOT / ".." / "shared")).resolve()
HOME = Path(os.environ.get("BENCH_HOME", ROOT / ".bench")).resolve()

# Scenario and route, what it is, the limit and the goal in milliseconds of CPU a request.  The
# client speaks Chat: the route `openai` is passed through, the others are translated.
TARGETS: list[tuple[str, str, str, float, float]] = [
    ("c16", "openai", "small, passed through", 0.22, 0.12),
    ("c16", "anthropic", "small, translated (Anthropic)", 0.30, 0.20),
    ("c16", "gemini", "small, translated (Gemini)", 0.30, 0.20),
    ("big", "openai", "220 KB and 100 tools, passed through", 1.2, 0.6),
    ("big", "anthropic", "220 KB and 100 tools, translated (Anthropic)", 3.0, 2.0),
    ("big", "gemini", "220 KB and 100 tools, translated (Gemini)", 3.0, 2.0),
    ("s_burst", "openai", "100 events in a burst, passed through", 0.7, 0.4),
    ("s_burst", "anthropic", "100 events in a burst, translated (Anthropic)", 1.2, 0.8),
    ("s_burst", "gemini", "100 events in a burst, translated (Gemini)", 1.2, 0.8),
    ("s_paced", "openai", "100 paced events, passed through", 6.0, 4.5),
    ("s_paced", "anthropic", "100 paced events, translated (Anthropic)", 6.0, 4.5),
]
# The bare proxy of the shared set-up, on httptools and uvloop: it decodes and encodes each body and
# event, and does nothing else.  Where it runs alongside, figures are shown as ratios to it, too.
BARE = "f:raw+raw:json"
SCENARIOS = ("c1", "c16", "c256", "big", "s_burst", "s_paced")


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--beside", default="", help="peers of the shared set-up, by comma")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scale", type=float, default=0.6, help="shortens every scenario")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--routes", default="openai,anthropic,gemini")
    parser.add_argument("--soak", type=int, default=0, help="requests, with the memory sampled")
    options = parser.parse_args()
    driver = SHARED / "bench" / "bench.py"
    if not driver.exists():
        print(f"no bench data at {driver.parent}; set POLYCALL_SHARED", file=sys.stderr)
        return 2
    environment = {**os.environ, "BENCH_HOME": str(HOME), "POLYCALL_BIN": polycall_command()}
    prepare_tools()
    results = HOME / "results" / "gateway.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    gateways = ",".join(["polycall", *options.beside.split(",")]).rstrip(",")
    command = [
        sys.executable, str(driver), "--gateway", gateways,
        "--scenario", options.scenarios, "--routes", options.routes, "--out", str(results),
        "--rounds", str(options.rounds), "--scale", str(options.scale), "--starts", "3",
    ]  # fmt: skip
    if options.soak:
        command += ["--soak", str(options.soak)]
    subprocess.run(command, check=True, env=environment)
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    print(table(rows))
    return 0


def prepare_tools() -> None:
    """Build the mock upstream, the load generator and their payloads, once."""
    if not (HOME / "mock").exists():
        setup = ["bash", str(SHARED / "bench" / "setup.sh"), "tools"]
        subprocess.run(setup, check=True, env={**os.environ, "BENCH_HOME": str(HOME)})


def polycall_command() -> str:
    """The command of this checkout's environment."""
    beside = Path(sys.executable).with_name("polycall")
    return str(beside) if beside.exists() else shutil.which("polycall") or "polycall"


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown: the least CPU over the rounds, whatever else the box was doing."""
    best: dict[tuple[str, str, str], float] = defaultdict(lambda: float("inf"))
    bad = 0
    for row in rows:
        if "cpu_ms_per_req" in row:
            key = (row["gateway"], row["scenario"], row["route"])
            best[key] = min(best[key], row["cpu_ms_per_req"])
            bad += row["bad"]
    gateways = list(dict.fromkeys(row["gateway"] for row in rows if "gateway" in row))
    lines = [
        "| CPU ms a request | limit | goal | " + " | ".join(gateways) + " |",
        "|---|---|---|" + "---|" * len(gateways),
    ]
    for scenario, route, title, limit, goal in TARGETS:
        cells = [best.get((name, scenario, route)) for name in gateways]
        if any(cell is not None for cell in cells):
            bare = best.get((BARE, scenario, "openai"))
            shown = " | ".join("" if cell is None else _cell(cell, bare) for cell in cells)
            lines.append(f"| {title} | {limit} | {goal} | {shown} |")
    for row in rows:
        if row.get("scenario") == "start":
            name, cold, rss = row["gateway"], row["cold_start_s"], row["rss_idle_mb"]
            lines.append(f"\n{name}: first answer {cold} s after start, {rss} MB then")
        if row.get("scenario") == "soak":
            lines.append(f"\n{row['gateway']}: memory by requests: {row['points']}")
    lines.append(f"\nanswers that were no success: {bad}")
    return "\n".join(lines)


def _cell(cell: float, bare: float | None) -> str:
    """The figure, and how many times that of the bare proxy it is."""
    return f"{cell:.3f}" if bare is None else f"{cell:.3f} ({cell / bare:.1f})"


if __name__ == "__main__":
    sys.exit(main())
