"""polycall calls tools through any language model.

The names here are the public ones; each loads its module on first use, so that `import polycall`
costs next to nothing, reads no network and writes no file.  The middle language is `polycall.ir`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polycall.agents import (
        Agent,
        AgentContext,
        Handoff,
        History,
        Knowledge,
        Memory,
        Router,
        ToolTree,
        WrittenTools,
    )

    # From where they are made: a type checker takes the packages' names for the modules.
    from polycall.agents.routing import triage
    from polycall.client import Client
    from polycall.loop import Limits, run_tools
    from polycall.tools import ToolContext, Toolset
    from polycall.tools.function_tool import tool

__all__ = [
    "Agent",
    "AgentContext",
    "Client",
    "Handoff",
    "History",
    "Knowledge",
    "Limits",
    "Memory",
    "Router",
    "ToolContext",
    "ToolTree",
    "Toolset",
    "WrittenTools",
    "run_tools",
    "tool",
    "triage",
]

_HOMES = {
    "Agent": "polycall.agents",
    "AgentContext": "polycall.agents",
    "Client": "polycall.client",
    "Handoff": "polycall.agents",
    "History": "polycall.agents",
    "Knowledge": "polycall.agents",
    "Limits": "polycall.loop",
    "Memory": "polycall.agents",
    "Router": "polycall.agents",
    "ToolContext": "polycall.tools",
    "ToolTree": "polycall.agents",
    "Toolset": "polycall.tools",
    "WrittenTools": "polycall.agents",
    "run_tools": "polycall.loop",
    "tool": "polycall.tools",
    "triage": "polycall.agents",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'polycall' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
