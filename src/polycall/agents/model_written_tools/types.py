"""Types of code that is not run here, checked by the checker that comes with `polycall[monty]`.

Where that is not installed nothing is checked here; the arguments and results of every call are,
by their schemas.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from polycall.tools.threads import run_in_thread

# The checker knows fewer modules than the sandbox has, and names are checked elsewhere.
_IGNORED = ("unresolved-import", "unresolved-reference", "unresolved-attribute")
_PROBLEM = re.compile(r"^error\[([\w-]+)\]: ", re.MULTILINE)
_LIMITS = {"max_feed_duration_secs": 2, "max_memory": 64 << 20, "max_suspensions": 1}


async def type_problems(code: str, stubs: str) -> list[str]:
    """What does not fit, with its lines; `stubs` declares the functions that the code may call."""
    if importlib.util.find_spec("pydantic_monty") is None:
        return []
    return await run_in_thread(lambda: _checked(code, stubs))


def _checked(code: str, stubs: str) -> list[str]:
    monty: Any = importlib.import_module("pydantic_monty")
    # Annotations alone are looked at: the code is inside a function that nobody calls.
    body = "\n".join(f"    {line}" for line in code.splitlines())
    with (
        monty.Monty(min_processes=0, max_processes=1) as pool,
        pool.checkout(
            script_name="tool.py", type_check=True, type_check_stubs=stubs, limits=_LIMITS
        ) as session,
    ):
        try:
            session.feed_run(f"def _unused() -> None:\n{body}\n")
        except monty.MontyTypingError as error:
            return _told(str(error))
        except monty.MontyError:
            # Python that the checker's interpreter does not know; the sandbox's may.
            return []
    return []


def _told(report: str) -> list[str]:
    starts = [match.start() for match in _PROBLEM.finditer(report)]
    ends = [*starts[1:], len(report)]
    problems = [report[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return [
        problem
        for problem in problems
        if not any(problem.startswith(f"error[{rule}]") for rule in _IGNORED)
    ]
