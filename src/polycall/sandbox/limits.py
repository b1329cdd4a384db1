"""The limits of a run and of a session.  Every limit has its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass, fields

# An error with its traceback, and what was cut: 20,000 characters, each of them escaped.
_WORDS_BYTES = 250_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one session and of each of its runs; a program cannot raise them."""

    wall_s: float = 10.0
    """Seconds a run may take, waiting for tools included."""
    cpu_s: float = 10.0
    """Seconds of processor that a run may use."""
    memory_mib: int = 256
    """What the program may hold, beside what the interpreter holds before it starts."""
    code_chars: int = 250_000
    """Text of a program; a longer one is not run."""
    stdout_bytes: int = 64_000
    """What is kept of the standard output; the middle of a longer one is cut."""
    stderr_bytes: int = 16_000
    value_bytes: int = 256_000
    """Size of the last value as JSON; a larger one is cut in its structure."""
    calls: int = 1_000
    """Tool calls of a run."""
    concurrent_calls: int = 64
    """Tool calls at work at a time; further ones wait."""
    argument_bytes: int = 1_000_000
    """Arguments of a call as JSON."""
    result_bytes: int = 8_000_000
    """Result of a call as JSON."""
    files_mib: int = 16
    """What the program may write to its private `/tmp`."""
    files: int = 2_000
    """Files and folders there; the kernel's memory for them is counted in nothing else."""
    open_files: int = 128
    threads: int = 32
    frames_per_s: int = 2_000
    """What a program's process may send on average, after twice as many at once; more waits."""
    journal_bytes: int = 64_000_000
    """What a session's journal may hold; a run that would pass it is stopped."""
    journal_entries: int = 50_000
    """Entries of a session's journal: a call has two or three."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"Limits.{field.name} must be more than 0, not {value!r}")

    @property
    def frame_bytes(self) -> int:
        """The largest frame that a program's process may send; printed text is escaped in it."""
        arguments = 2 * self.argument_bytes  # those with names are counted by themselves
        printed = 6 * max(self.stdout_bytes, self.stderr_bytes)
        return max(arguments, 2 * self.value_bytes, printed) + _WORDS_BYTES
