"""polycall calls tools through any language model.

The names here are the public ones; each loads its module on first use, so that `import polycall`
costs next to nothing, reads no network and writes no file.  The middle language is `polycall.ir`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polycall._support.later import load_later

if TYPE_CHECKING:
    from polycall import errors, testing
    from polycall.agents import (
        Agent,
        AgentContext,
        Guarded,
        Handoff,
        History,
        Knowledge,
        Memory,
        Router,
        Sessions,
        ToolTree,
        WrittenTools,
    )

    # From where they are made: a type checker takes the packages' names for the modules.
    from polycall.agents.routing import triage
    from polycall.client import Client
    from polycall.durable import Durable as Durable  # not in `__all__`: it needs an extra
    from polycall.errors import (
        AuthenticationError,
        ConfigError,
        PolycallError,
        ProtocolError,
        RateLimitError,
        RequestError,
        ToolError,
        UnsupportedError,
        UpstreamError,
    )
    from polycall.loop import Limits, run_tools
    from polycall.sandbox import Sandbox
    from polycall.tools import ToolContext, Toolset
    from polycall.tools.function_tool import tool

    __version__: str

__all__ = [
    "Agent",
    "AgentContext",
    "AuthenticationError",
    "Client",
    "ConfigError",
    "Guarded",
    "Handoff",
    "History",
    "Knowledge",
    "Limits",
    "Memory",
    "PolycallError",
    "ProtocolError",
    "RateLimitError",
    "RequestError",
    "Router",
    "Sandbox",
    "Sessions",
    "ToolContext",
    "ToolError",
    "ToolTree",
    "Toolset",
    "UnsupportedError",
    "UpstreamError",
    "WrittenTools",
    "__version__",
    "errors",
    "run_tools",
    "testing",
    "tool",
    "triage",
]

_HOMES = {
    "polycall.agents": (
        "Agent AgentContext Guarded Handoff History Knowledge Memory Router Sessions "
        "ToolTree WrittenTools triage"
    ),
    "polycall.client": "Client",
    "polycall.durable": "Durable",
    "polycall.errors": (
        "AuthenticationError ConfigError PolycallError ProtocolError RateLimitError "
        "RequestError ToolError UnsupportedError UpstreamError errors"
    ),
    "polycall.loop": "Limits run_tools",
    "polycall.sandbox": "Sandbox",
    "polycall.testing": "testing",
    "polycall.tools": "ToolContext Toolset tool",
}


if not TYPE_CHECKING:  # a checker would take any name
    _get, __dir__ = load_later(__name__, _HOMES)

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - 10 ms that only this needs

            return version("polycall")
        return _get(name)
