"""The table of docs/joins.md: which cells work, and what is said of those that are refused."""

from __future__ import annotations

FACES = (
    "Agent.run",
    "run_sync",
    "stream",
    "resume",
    "Session",
    "Guarded",
    "Router",
    "handoff target",
    "delegate",
    "program",
    "run_tools",
    "Durable",
    "polycall run",
    "polycall chat",
)
FEATURES = (
    "allow",
    "deny",
    "always",
    "edited arguments",
    "pause",
    "streaming",
    "sync face",
    "limits",
    "typed output",
    "hooks",
    "client",
    "background",
    "cancel",
    "exception",
    "another loop",
    "fork",
    "MCP",
    "session kept",
)
# The cells that do not work, and what to do there instead.
REFUSED: dict[tuple[str, str], str] = {
    ("run_tools", "always"): "no: `approved` is asked each time",
    ("run_tools", "sync face"): "no: `Agent.run_sync`",
    ("run_tools", "typed output"): "no: `Agent(output=)`",
    ("Durable", "fork"): "refused: fork before it is opened",
    ("polycall run", "pause"): "no: asks at once",
    ("polycall chat", "pause"): "no: asks at once",
    ("polycall run", "sync face"): "a command",
    ("polycall chat", "sync face"): "a command",
}


def rendered() -> str:
    """The table as it stands in the page."""
    lines = ["| | " + " | ".join(FEATURES) + " |", "|---" * (len(FEATURES) + 1) + "|"]
    for face in FACES:
        cells = [REFUSED.get((face, feature), "works") for feature in FEATURES]
        lines.append(f"| {face} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
