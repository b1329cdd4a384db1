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
)
# The cells that do not work, and what to do there instead.
REFUSED: dict[tuple[str, str], str] = {}


def rendered() -> str:
    """The table as it stands in the page."""
    lines = ["| | " + " | ".join(FEATURES) + " |", "|---" * (len(FEATURES) + 1) + "|"]
    for face in FACES:
        cells = [REFUSED.get((face, feature), "works") for feature in FEATURES]
        lines.append(f"| {face} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
