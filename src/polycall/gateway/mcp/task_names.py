"""Names of tasks in the store; without the protocol's library, which is loaded when needed."""

from __future__ import annotations

from polycall._support import jsontext

LIVE = ("working", "input_required")
HEAD = "mcp-task:"
TTL_S_MAX = 24 * 3600.0


def is_live(value: bytes) -> bool:
    """Whether the task of a record has not ended."""
    return jsontext.decode(value).get("status") in LIVE
