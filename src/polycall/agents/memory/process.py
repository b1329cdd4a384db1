"""Memory in this process, and in a JSON file that processes share."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from polycall._support import jsontext
from polycall._support.private_files import open_private
from polycall.agents.memory.entry import Entry, full
from polycall.agents.text_search import TermIndex, query_terms, terms
from polycall.errors import RequestError, ToolError


class _Shelf:
    """The entries of one scope, by id, oldest change first."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.index: TermIndex[str] = TermIndex()

    def put(self, entry: Entry) -> None:
        self.entries.pop(entry.id, None)
        self.entries[entry.id] = entry
        self.index.add(entry.id, terms(entry.text))

    def take(self, entry_id: str) -> None:
        del self.entries[entry_id]
        self.index.remove(entry_id)


class ProcessStore:
    """Entries in memory; they end with the process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._shelves: dict[str, _Shelf] = {}

    def __deepcopy__(self, memo: object) -> ProcessStore:
        """A copy of an agent remembers what the agent does."""
        return self

    def __reduce__(self) -> Any:
        """Refuse: what it holds would be another process's own from then on."""
        raise TypeError(
            "a Memory() without a store ends with its process and cannot be pickled; "
            "give it a path: Memory('memory.db')"
        )

    def add(self, entries: Sequence[Entry], *, entries_max: int, now: float) -> None:
        with self._changing():
            for scope, count in Counter(entry.scope for entry in entries).items():
                if len(self._shelf(scope).entries) + count > entries_max:
                    self._purge(scope, now)
                    if len(self._shelf(scope).entries) + count > entries_max:
                        raise full(scope, entries_max)
            for entry in entries:
                self._shelf(entry.scope).put(entry)

    def update(
        self, scopes: Sequence[str], entry_id: str, text: str, expires: float | None, now: float
    ) -> Entry | None:
        with self._changing():
            found = self._find(scopes, entry_id, now)
            if found is None:
                return None
            changed = replace(found, text=text, expires=expires, updated=now)
            self._shelf(found.scope).put(changed)
            return changed

    def remove(self, scopes: Sequence[str], entry_id: str, now: float) -> bool:
        with self._changing():
            found = self._find(scopes, entry_id, now)
            if found is not None:
                self._shelf(found.scope).take(entry_id)
            return found is not None

    def search(self, scopes: Sequence[str], query: str, limit: int, now: float) -> list[Entry]:
        with self._reading():
            wanted = query_terms(query)
            scored: list[tuple[float, Entry]] = []
            for scope in scopes:
                shelf = self._shelf(scope)
                scores = shelf.index.scores(wanted)
                scored += [(score, shelf.entries[key]) for key, score in scores.items()]
            alive = [(score, entry) for score, entry in scored if entry.is_alive(now)]
            alive.sort(key=lambda pair: (-pair[0], -pair[1].updated))
            return [entry for _, entry in alive[:limit]]

    def recent(self, scopes: Sequence[str], limit: int, now: float) -> list[Entry]:
        with self._reading():
            found = [entry for scope in scopes for entry in self._shelf(scope).entries.values()]
            alive = [entry for entry in found if entry.is_alive(now)]
            return sorted(alive, key=lambda entry: -entry.updated)[:limit]

    def purge(self, now: float) -> int:
        with self._changing():
            return sum(self._purge(scope, now) for scope in list(self._shelves))

    def close(self) -> None:
        pass

    @contextlib.contextmanager
    def _reading(self) -> Generator[None]:
        with self._lock:
            yield

    @contextlib.contextmanager
    def _changing(self) -> Generator[None]:
        with self._lock:
            yield

    def _shelf(self, scope: str) -> _Shelf:
        return self._shelves.setdefault(scope, _Shelf())

    def _find(self, scopes: Sequence[str], entry_id: str, now: float) -> Entry | None:
        for scope in scopes:
            entry = self._shelf(scope).entries.get(entry_id)
            if entry is not None and entry.is_alive(now):
                return entry
        return None

    def _purge(self, scope: str, now: float) -> int:
        shelf = self._shelf(scope)
        dead = [entry.id for entry in shelf.entries.values() if not entry.is_alive(now)]
        for entry_id in dead:
            shelf.take(entry_id)
        return len(dead)


class JSONFileStore(ProcessStore):
    """Entries in one JSON file, which processes may share.

    Every change takes a lock alongside the file, reads what others changed, writes a new file and
    puts it in the old one's place: a reader, and a crash, find the old one or the new one whole.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        if sys.platform == "win32":
            raise RequestError(
                "a memory in a JSON file needs locks of files that Windows has not; "
                "name the file otherwise (memory.db), which makes it a database"
            )
        self._path = Path(path)
        self._lock_path = self._path.with_name(self._path.name + ".lock")
        self._seen: tuple[int, int, int] | None = None
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def __reduce__(self) -> Any:
        """Elsewhere it is the same file."""
        return JSONFileStore, (self._path,)

    @contextlib.contextmanager
    def _reading(self) -> Generator[None]:
        with self._lock:
            self._refresh()
            yield

    @contextlib.contextmanager
    def _changing(self) -> Generator[None]:
        import fcntl  # noqa: PLC0415 - not on every system

        with self._lock, open(open_private(self._lock_path, os.O_RDWR), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._refresh()
            try:
                yield
                self._write()
            except BaseException:
                # What was changed in memory alone must not be seen.
                self._seen = None
                self._shelves.clear()
                raise

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._seen = None
            self._shelves.clear()
            return
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return
        self._shelves.clear()
        for entry in self._read():
            self._shelf(entry.scope).put(entry)
        self._seen = seen

    def _read(self) -> Iterable[Entry]:
        try:
            return msgspec.convert(jsontext.decode(self._path.read_bytes()), list[Entry])
        except (ValueError, msgspec.ValidationError) as error:
            raise ToolError(f"{self._path.name} is not a memory file: {error}") from None

    def _write(self) -> None:
        entries = [entry for shelf in self._shelves.values() for entry in shelf.entries.values()]
        # The lock is ours: what lies there was left by somebody who crashed.
        for left in self._path.parent.glob(f".{self._path.name}.*.tmp"):
            left.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(
            "wb",
            dir=self._path.parent,
            prefix=f".{self._path.name}.",
            suffix=".tmp",
            delete=False,
        ) as file:
            file.write(jsontext.encode_bytes(entries))
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self._path)
        status = self._path.stat()
        self._seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
