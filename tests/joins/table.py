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
    "voice",
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
    "user",
    "encrypted",
    "branch",
    "vendor's summary",
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
    ("run_tools", "user"): "no: `deps`",
    ("run_tools", "encrypted"): "no: `Session`",
    ("run_tools", "vendor's summary"): "no: `Agent(compaction=)`",
    **{
        (f"polycall {command}", feature): words
        for command in ("run", "chat")
        for feature, words in (
            ("user", "no: the machine's one user"),
            ("encrypted", "no: a private file"),
            ("branch", "no: `Sessions.branch`"),
        )
    },
    ("voice", "pause"): "refused: it asks while it continues",
    ("voice", "sync face"): "no: `async with`",
    ("voice", "typed output"): "refused: a voice speaks",
    ("voice", "hooks"): "warned: read its events",
    **{
        ("voice", feature): "refused: `history=`, `run.history`"
        for feature in ("session kept", "encrypted", "branch")
    },
    ("voice", "vendor's summary"): "warned: the vendor shortens",
}


def rendered() -> str:
    """The table as it stands in the page."""
    lines = ["| | " + " | ".join(FEATURES) + " |", "|---" * (len(FEATURES) + 1) + "|"]
    for face in FACES:
        cells = [REFUSED.get((face, feature), "works") for feature in FEATURES]
        lines.append(f"| {face} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
