"""The record of a session: programs, seed, calls and results, in order.

Replaying it on another process brings the session to where it was without running a tool again.
Entries are plain JSON objects, one to a line; `docs/sandbox.md` lists them.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from .errors import DivergenceError, JournalError, JournalFullError
from .inside import plain
from .limits import Limits
from .text import ascii_json

try:
    import fcntl
except ImportError:  # not on Windows, where nobody learns of a second journal
    fcntl = None

VERSION = 1
Entry = dict[str, Any]


class Journal:
    """Entries in memory, and in a file as well where one is given.

    Each entry is with the system before what it tells of continues, so a host that is killed loses
    nothing.  With `fsync` not even a power failure does; that costs a disk write per call.

    The file is its owner's alone (0600), only ever grows, and is held with a lock until `close`:
    a second journal at the same path raises `JournalError`.  A last line that was cut off by a
    crash is left out; the next entry takes its place.  A file that is more than a session of these
    `limits` may have is not read: give those of its sandbox, where they are not the usual ones.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        fsync: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.entries: list[Entry] = []
        self.size_bytes = 0
        self._file = None if path is None else _File(path, fsync=fsync)
        if self._file is not None:
            for entry, size in self._file.read(limits or Limits()):
                self._keep(entry, size)

    @classmethod
    def from_json(cls, text: str, limits: Limits | None = None) -> Self:
        """The journal that `to_json` gave; `JournalError` where `limits` do not allow it."""
        if limits is not None:
            check_size(len(text), text.count("\n"), limits)
        journal = cls()
        for entry in _parsed(text.splitlines()):
            journal.append(entry)
        return journal

    def to_json(self) -> str:
        """One entry to a line."""
        return "".join(f"{ascii_json(entry).decode()}\n" for entry in self.entries)

    def append(self, entry: Entry, limits: Limits | None = None) -> None:
        """Add an entry; `OSError` where the file takes none, which then is as it was.

        `JournalFullError` where `limits` are given and it is more than they allow.
        """
        text = ascii_json(entry)
        if limits is not None:
            self._check_room(len(text), limits)
        if self._file is not None:
            self._file.append(text + b"\n")
        self._keep(entry, len(text))

    def adopt(self, other: Journal) -> None:
        """Begins with what another journal holds."""
        if other is not self:
            for entry in other.entries:
                self.append(entry)

    def _check_room(self, size: int, limits: Limits) -> None:
        what = ""
        if self.size_bytes + size > limits.journal_bytes:
            what = f"{limits.journal_bytes} bytes"
        elif len(self.entries) >= limits.journal_entries:
            what = f"{limits.journal_entries} entries"
        if what:
            raise JournalFullError(
                f"the session's calls and their results are more than {what}, which is what its "
                "journal holds; begin another session, and have tools give less"
            )

    def _keep(self, entry: Entry, size: int) -> None:
        self.entries.append(entry)
        self.size_bytes += size

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self.entries)

    def header(self) -> Entry:
        """The entry about the session, which comes first."""
        if not self.entries or self.entries[0].get("kind") != "session":
            raise JournalError("the journal does not begin with its session")
        if self.entries[0].get("version") != VERSION:
            version = self.entries[0].get("version")
            raise JournalError(f"the journal has version {version!r}; {VERSION} can be replayed")
        header = self.entries[0]
        for name, kinds in _HEADER.items():
            _checked(header, name, kinds)
        return header

    def runs(self) -> list[RecordedRun]:
        """The runs in order."""
        runs: dict[int, RecordedRun] = {}
        for entry in self.entries[1:]:
            number = entry.get("run")
            if not isinstance(number, int) or isinstance(number, bool):
                raise JournalError(f"an entry without its run: {entry.get('kind')!r:.80}")
            for name, kinds in _FIELDS.get(str(entry.get("kind")), {}).items():
                _checked(entry, name, kinds)
            _check_inner(entry)
            if entry.get("kind") == "run":
                runs[number] = RecordedRun.begun(entry)
            elif number not in runs:
                raise JournalError(f"run {number} does not begin")
            else:
                runs[number].add(entry)
        for run in runs.values():
            if untold := run.delivered - run.done.keys():
                raise JournalError(
                    f"run {run.number}: results of calls {sorted(untold)} are missing"
                )
        return list(runs.values())


def check_size(size: int, entries: int, limits: Limits) -> None:
    """Raise `JournalError` where a journal is more than a session of these limits may have."""
    # A run's end is written to a full one, too; escapes may make the text longer than it was.
    bytes_max, entries_max = 2 * limits.journal_bytes, 2 * limits.journal_entries
    if size > bytes_max or entries > entries_max:
        raise JournalError(
            f"the journal has {size} bytes and {entries} entries; "
            f"{bytes_max} and {entries_max} are read: twice what the limits allow. Give the limits "
            "that it was written under: `Journal(path, limits=...)`, `Sandbox(limits=...)`"
        )


# What entries have to have, by kind; anyone who can write a journal is not believed.
_HEADER: dict[str, tuple[type, ...]] = {
    "tier": (str,),
    "python": (str,),
    "seed": (int,),
    "began": (int, float),
}
_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "run": {"code": (str,), "now": (int, float), "tools": (list,)},
    "call": {"id": (int,), "name": (str,), "args": (list,), "kwargs": (dict,)},
    "done": {"id": (int,)},
    "turn": {"now": (int, float), "ids": (list,)},
    "pause": {"id": (int,)},
    "end": {"status": (str,)},
}
# Two of these, a session's beginning and the time since, are still a date.
SECONDS_MAX = 1e11


def _checked(entry: Entry, name: str, kinds: tuple[type, ...]) -> None:
    value = entry.get(name)
    is_number = isinstance(value, (int, float))
    is_wrong = not isinstance(value, kinds) or isinstance(value, bool)
    # A time, a number of a call: none is negative, none is endless.
    if is_wrong or (is_number and name != "seed" and not 0 <= value < SECONDS_MAX):  # pyright: ignore[reportOperatorIssue]
        raise JournalError(f"an entry {entry.get('kind')!r:.40} whose {name!r} is {value!r:.80}")


def _check_inner(entry: Entry) -> None:
    """Check the contents of an entry, where it is used."""
    for name in ("ids", "tools"):
        kind = int if name == "ids" else str
        if any(type(each) is not kind for each in entry.get(name) or ()):
            raise JournalError(f"an entry with malformed {name!r}")
    error: Any = entry.get("error")
    if entry.get("kind") != "done" or entry.get("cancelled") is True:
        return
    if "cancelled" in entry:
        raise JournalError(f"call {entry['id']} is cancelled: {entry['cancelled']!r:.80}")
    if error is None and "value" not in entry:
        raise JournalError(f"call {entry['id']} is done without value and without error")
    if "error" in entry and not (
        isinstance(error, dict)
        and isinstance(error.get("name"), str)  # pyright: ignore[reportUnknownMemberType]
        and isinstance(error.get("message"), str)  # pyright: ignore[reportUnknownMemberType]
        and isinstance(error.get("args"), list)  # pyright: ignore[reportUnknownMemberType]
    ):
        raise JournalError(f"call {entry['id']} ended with a malformed error: {error!r:.80}")


def _open_private(path: str | os.PathLike[str]) -> int:
    """A descriptor of the file, made where it is missing, for its owner's eyes alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    try:
        if hasattr(os, "geteuid") and os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class _File:
    """The file of a journal, opened and locked."""

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool) -> None:
        self._fsync = fsync
        # Where the next line begins: after the last whole one.
        self._end = 0
        self._is_line_open = False
        try:
            self._descriptor = _open_private(path)
        except OSError as error:
            raise JournalError(
                f"the journal {os.fspath(path)!r} cannot be opened: {error.strerror}"
            ) from None
        try:
            _lock(self._descriptor, path)
        except BaseException:
            self.close()
            raise

    def read(self, limits: Limits) -> Iterator[tuple[Entry, int]]:
        """The entries with their sizes; closes the file where it holds something else, or more."""
        try:
            yield from self._read(limits)
        except BaseException:
            self.close()
            raise

    def _read(self, limits: Limits) -> Iterator[tuple[Entry, int]]:
        size, entries, blank, broken = os.fstat(self._descriptor).st_size, 0, 0, 0
        check_size(size, 0, limits)
        with open(self._descriptor, "rb", closefd=False) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    blank += len(line)
                    continue
                if broken:
                    raise JournalError(f"line {broken} of the journal is not a JSON object")
                entry = _entry(line)
                if entry is None:  # cut off, where it is the last one
                    broken = number
                    continue
                entries += 1
                check_size(size, entries, limits)
                self._is_line_open = not line.endswith(b"\n")
                self._end += blank + len(line)
                blank = 0
                yield entry, len(line)

    def append(self, line: bytes) -> None:
        """Write a line after the last whole one: all of it, or none."""
        if self._descriptor < 0:
            raise JournalError("the journal is closed")
        if os.fstat(self._descriptor).st_size > self._end:
            # What a crash cut off, or a full disk; no entry.
            os.ftruncate(self._descriptor, self._end)
        left = memoryview(b"\n" + line if self._is_line_open else line)
        place = self._end
        try:
            while left:
                count = os.pwrite(self._descriptor, left, place)
                left, place = left[count:], place + count
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end, self._is_line_open = place, False

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _lock(descriptor: int, path: str | os.PathLike[str]) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise JournalError(
            f"the journal {os.fspath(path)!r} is in use, by another process or another Journal; "
            "close that one first"
        ) from None


def _entry(line: bytes) -> Entry | None:
    """The entry of a line; `None` where it is no JSON object."""
    try:
        return next(_parsed([line.decode("utf-8")]))
    except (ValueError, JournalError):
        return None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _parsed(lines: Iterable[str]) -> Iterator[Entry]:
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, line in numbered:
        try:
            entry: Any = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise JournalError(f"line {number} of the journal is not JSON") from None
        if not isinstance(entry, dict):
            raise JournalError(f"line {number} of the journal is not an object")
        if any(plain.depth_of(value) > plain.DEPTH_MAX for value in cast(Entry, entry).values()):
            raise JournalError(
                f"line {number} of the journal is nested deeper than {plain.DEPTH_MAX}"
            )
        yield cast(Entry, entry)


@dataclass
class RecordedRun:
    """The journal's record of a run."""

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
                ids = set(entry["ids"])
                if len(ids) < len(entry["ids"]) or ids & self.delivered:
                    raise JournalError(f"run {self.number}: a result is delivered twice: {ids}")
                self.turns.append(entry)
                self.delivered |= ids
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
