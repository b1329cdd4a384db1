"""The record of a session: programs, seed, calls and results, in order.

Replaying it on another process brings the session to where it was without running a tool again.
Entries are plain JSON objects, one to a line; `docs/sandbox.md` lists them.
"""

from __future__ import annotations

import io
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from .errors import DivergenceError, JournalError

VERSION = 1
Entry = dict[str, Any]


class Journal:
    """Entries in memory, and in a file as well where one is given.

    Each entry is with the system before what it tells of goes on, so a host that is killed loses
    nothing.  With `fsync` not even a power failure does; that costs a disk write per call.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, fsync: bool = False) -> None:
        self.entries: list[Entry] = []
        self.size_bytes = 0
        self._fsync = fsync
        self._file: io.FileIO | None = None
        if path is not None:
            for entry in _read_lines(Path(path)):
                self._keep(entry, len(json.dumps(entry)))
            # Unbuffered: a line is one write.  A torn last line is not kept.
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115  # owned until `close`
            for entry in self.entries:
                self._write(json.dumps(entry))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The journal that `to_json` gave."""
        journal = cls()
        for entry in _parsed(text.splitlines(), torn_end=False):
            journal.append(entry)
        return journal

    def to_json(self) -> str:
        """One entry to a line."""
        return "".join(f"{json.dumps(entry)}\n" for entry in self.entries)

    def append(self, entry: Entry) -> None:
        text = json.dumps(entry)
        self._keep(entry, len(text))
        self._write(text)

    def adopt(self, other: Journal) -> None:
        """Begins with what another journal holds."""
        if other is not self:
            for entry in other.entries:
                self.append(entry)

    def _keep(self, entry: Entry, size: int) -> None:
        self.entries.append(entry)
        self.size_bytes += size

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text.encode("ascii") + b"\n")
            if self._fsync:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self.entries)

    def header(self) -> Entry:
        """The entry about the session, which comes first."""
        if not self.entries or self.entries[0].get("kind") != "session":
            raise JournalError("the journal does not begin with its session")
        if self.entries[0].get("version") != VERSION:
            version = self.entries[0].get("version")
            raise JournalError(f"the journal has version {version!r}; {VERSION} can be replayed")
        return self.entries[0]

    def runs(self) -> list[RecordedRun]:
        """The runs in order."""
        runs: dict[int, RecordedRun] = {}
        for entry in self.entries[1:]:
            number = entry.get("run")
            if not isinstance(number, int):
                raise JournalError(f"an entry without its run: {entry.get('kind')!r}")
            if entry.get("kind") == "run":
                runs[number] = RecordedRun.begun(entry)
            elif number not in runs:
                raise JournalError(f"run {number} does not begin")
            else:
                runs[number].add(entry)
        return list(runs.values())


def _read_lines(path: Path) -> Iterator[Entry]:
    if path.exists():
        yield from _parsed(path.read_text("utf-8").splitlines(), torn_end=True)


def _parsed(lines: Iterable[str], *, torn_end: bool) -> Iterator[Entry]:
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, line in numbered:
        try:
            entry: Any = json.loads(line)
        except ValueError:
            # The host may have been killed in the middle of its last line.
            if torn_end and number == numbered[-1][0]:
                return
            raise JournalError(f"line {number} of the journal is not JSON") from None
        if not isinstance(entry, dict):
            raise JournalError(f"line {number} of the journal is not an object")
        yield cast(Entry, entry)


@dataclass
class RecordedRun:
    """What the journal knows of a run."""

    number: int
    code: str
    now: float
    calls: dict[int, Entry] = field(default_factory=dict[int, Entry])
    done: dict[int, Entry] = field(default_factory=dict[int, Entry])
    turns: deque[Entry] = field(default_factory=deque[Entry])
    paused: set[int] = field(default_factory=set[int])
    delivered: set[int] = field(default_factory=set[int])
    status: str = ""

    @classmethod
    def begun(cls, entry: Mapping[str, Any]) -> RecordedRun:
        return cls(number=entry["run"], code=entry["code"], now=entry["now"])

    def add(self, entry: Entry) -> None:
        match entry.get("kind"):
            case "call":
                self.calls[entry["id"]] = entry
            case "done":
                self.done[entry["id"]] = entry
            case "turn":
                self.turns.append(entry)
                self.delivered.update(entry["ids"])
            case "pause":
                self.paused.add(entry["id"])
            case "end":
                self.status = entry["status"]
            case kind:
                raise JournalError(f"an entry of unknown kind {kind!r}")

    @property
    def is_over(self) -> bool:
        return self.status not in {"", "paused"}

    @property
    def is_replayed_for_state(self) -> bool:
        """A run that was stopped from outside left no state to restore."""
        return self.status in {"finished", "failed"}

    def in_doubt(self) -> dict[int, Entry]:
        """Calls that began and did not end, as far as the journal knows."""
        return {
            call_id: call
            for call_id, call in self.calls.items()
            if call_id not in self.done and call_id not in self.paused
        }

    def check_call(self, call_id: int, name: str, args: object, kwargs: object) -> bool:
        """Whether the journal knows this call; raises where it knows another in its place."""
        recorded = self.calls.get(call_id)
        if recorded is None:
            if self.turns:
                raise DivergenceError(
                    f"run {self.number}: the program makes call {call_id}, {name!r}, "
                    "which the journal does not have",
                    call_id=call_id,
                )
            return False
        if (name, args, kwargs) != (recorded["name"], recorded["args"], recorded["kwargs"]):
            differs = "arguments" if name == recorded["name"] else f"name {name!r}"
            raise DivergenceError(
                f"run {self.number}: call {call_id} has other {differs} than in the journal, "
                f"where it is {recorded['name']!r}",
                call_id=call_id,
            )
        return True

    def check_end(self, made: int) -> None:
        """Raises where the program ended before it did all that the journal has."""
        if self.turns or len(self.calls) > made:
            raise DivergenceError(
                f"run {self.number}: the program ended after {made} of {len(self.calls)} calls "
                "that the journal has",
                call_id=made + 1,
            )
