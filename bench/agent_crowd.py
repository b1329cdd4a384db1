"""Many runs at once of an agent of `agent_loop_peers.py`; a script, as that is.

Prints the MiB that they hold at most, over what the process held before.  `bench.agent_loop` starts
it.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

_AGENTS = Path(__file__).with_name("agent_loop_peers.py")


def resident_mib(name: str) -> float:
    """`VmRSS` (now) or `VmHWM` (the most so far) of this process."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024


def main() -> None:
    """Run once to warm up, then as often at once as is asked."""
    name, url, tools, before, _, streamed, at_once = sys.argv[1:8]
    if name == "smolagents":
        raise SystemExit("runs one after the other")
    known: dict[str, Any] = runpy.run_path(str(_AGENTS))
    functions = [known["tool_named"](f"tool_{number}") for number in range(int(tools))]
    run: Callable[[], Awaitable[str]] = known[name](
        url, functions, int(before), streamed == "streamed"
    )

    async def together() -> float:
        assert await run() == "done"
        held = resident_mib("VmRSS")
        assert set(await asyncio.gather(*(run() for _ in range(int(at_once))))) == {"done"}
        return resident_mib("VmHWM") - held

    print(asyncio.run(together()))


if __name__ == "__main__":
    main()
