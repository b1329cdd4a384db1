"""Every client against every simulated provider, and docs/compatibility.md written from it.

    python -m bench.compatibility

The cells are those of tests/gateway/test_compatibility.py.  A cell that fails is said on standard
error, stands on the page, and makes the exit status 1.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.gateway.compatibility import (
    CASES,
    CELLS,
    CLIENTS,
    KILLED,
    Cell,
    opener,
    render_page,
    run_cycle,
    survive_kills,
)
from tests.gateway.harness import Gateway, sim_config
from tests.gateway.node_drivers import Node

from polycall.sim import Simulation

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("BENCH_HOME", ROOT / ".bench")).resolve()


def main() -> int:
    failed: list[tuple[Cell, str]] = []
    modules = HOME / "node-sdks"
    modules.mkdir(parents=True, exist_ok=True)
    node = cache(lambda: Node(modules))
    with Simulation(seed=11) as sim, tempfile.TemporaryDirectory() as folder:
        gateways = [Gateway(Path(folder), sim_config(sim)).start() for _ in range(2)]
        first, second = gateways
        try:
            for cell in CELLS:
                for case in CASES:
                    problem = _problem(sim, first, cell, case, node)
                    if problem:
                        failed.append((cell, case))
                        print(*cell, case, problem, sep=" | ", file=sys.stderr)
            openers = {client: opener(client, node) for client in CLIENTS}
            for cell, problem in survive_kills(sim, (first, second), openers).items():
                if problem:
                    failed.append((cell, KILLED))
                    print(*cell, KILLED, problem, sep=" | ", file=sys.stderr)
        finally:
            for gateway in gateways:
                gateway.stop()
            node().close()
    (ROOT / "docs" / "compatibility.md").write_text(render_page(failed), encoding="utf-8")
    total = len(CELLS) * (len(CASES) + 1)
    print(f"{total - len(failed)} of {total} cells passed, each whole and streamed")
    return 1 if failed else 0


def _problem(
    sim: Simulation, gateway: Gateway, cell: Cell, case: str, node: Callable[[], Node]
) -> str:
    try:
        for streamed in (False, True):
            opened = opener(cell.client, node)
            run_cycle(sim, gateway, cell, case, opened, streamed=streamed)
    except Exception as error:  # noqa: BLE001 - any SDK's own; the cell fails, not the run
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
