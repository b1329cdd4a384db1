"""Summaries on demand: a request with `compaction` is answered by a signed block, and by no more.

The block comes first in later requests, in the place of what it sums up; thinking of the turns
after it still fits, if what it stands for was said to a model that checks that.

Read 2026-11-29: https://platform.claude.com/docs/en/build-with-claude/compaction-thinking-blocks,
and anthropic 2.14, BetaCompactionConfigParam and BetaCompactionBlock.
"""

from __future__ import annotations

from polycall.sim import signing
from polycall.sim.script import ModelSpec
from polycall.sim.shape import JSON
from polycall.sim.vendors.anthropic_thinking import referred_in
from polycall.sim.vendors.anthropic_turns import SCOPE, Turns, prefix_digest, refuse

FIELD = "compaction"


def summary(body: JSON, turns: Turns, model: ModelSpec) -> JSON | None:
    """The block that is the answer to such a request; `None` for another request."""
    if body.get(FIELD) is None:
        return None
    if body.get("context_management") is not None:
        raise refuse("compaction: cannot be combined with `context_management`")
    if any(block["type"] == "tool_use" for block in turns[-1][1]):
        raise refuse("compaction: the last assistant turn has tool calls without results")
    text = f"[simulated] {sum(len(blocks) for _, blocks, _ in turns)} blocks were said."
    prefix = prefix_digest(turns) if model.binds_thinking else ""
    return {
        "type": "compaction",
        "content": text,
        "encrypted_content": None,
        "signature": signing.issue(SCOPE, {"scope": SCOPE, "prefix": prefix}, "compaction", text),
        "tool_changes": [
            {"type": "tool_addition", "tool": {"type": "tool_reference", "name": name}}
            for name in sorted(referred_in(turns))
        ],
    }
