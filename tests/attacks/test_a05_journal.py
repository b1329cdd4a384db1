"""A5: a journal's file only grows: whatever happens while it is opened, no entry is lost."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.sandbox import Journal, JournalError

_OPENS = """
import sys
from polycall.sandbox import Journal
print("up", flush=True)
for _ in range(100_000):
    journal = Journal(sys.argv[1])
    if sys.argv[2] == "append":
        journal.append({"kind": "note", "filler": "y" * 500})
    journal.close()
"""


def filled(path: Path, count: int = 300) -> bytes:
    journal = Journal(path)
    journal.append({"kind": "session"})
    for number in range(count):
        journal.append({"kind": "run", "run": number, "code": "x" * 200})
    journal.close()
    return path.read_bytes()


@pytest.mark.parametrize("what", ["open", "append"])
def test_a05_killed_while_it_opens_it_loses_no_entry(tmp_path: Path, what: str) -> None:
    path = tmp_path / "journal"
    before = filled(path)
    chance = random.Random(5)
    for _ in range(15):
        process = subprocess.Popen(
            [sys.executable, "-c", _OPENS, str(path), what], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert path.read_bytes().startswith(before)
        journal = Journal(path)
        assert [entry["run"] for entry in journal.entries if entry["kind"] == "run"] == [
            *range(300)
        ]
        journal.close()


def test_a05_opening_changes_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for end in (b"", b'{"kind": "ca', b"\n\n", b"\x00\x00", b'{"kind":"whole"}'):
        path.unlink(missing_ok=True)
        before = filled(path, 3) + end
        path.write_bytes(before)
        journal = Journal(path)
        journal.close()
        assert path.read_bytes() == before
        inode = path.stat().st_ino
        journal = Journal(path)
        journal.append({"kind": "end"})
        journal.close()
        assert path.stat().st_ino == inode
        again = Journal(path)
        whole = [{"kind": "whole"}] if b"whole" in end else []
        assert again.entries[4:] == [*whole, {"kind": "end"}]
        again.close()


def test_a05_a_second_journal_at_the_same_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal(path)
    first.append({"kind": "session"})
    with pytest.raises(JournalError, match="in use"):
        Journal(path)
    code = "import sys; from polycall.sandbox import Journal; Journal(sys.argv[1])"
    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert "in use" in other.stderr
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(JournalError, match="in use"):
        Journal(link)
    first.close()
    Journal(path).close()


def test_a05_it_is_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        new = tmp_path / "new"
        Journal(new).close()
        old = tmp_path / "old"
        old.write_text('{"kind":"session"}\n')
        old.chmod(0o644)
        Journal(old).close()
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (new, old)] == [0o600, 0o600]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"kind":"a"}\nno\n{"kind":"b"}\n', "line 2"),
        (b'[1]\n{"kind":"b"}\n', "line 1"),
        (b'{"kind":"a"}\n\xff\xfe\n{"kind":"b"}\n', "line 2"),
    ],
)
def test_a05_what_is_broken_in_the_middle_is_refused_and_stays(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "journal"
    path.write_bytes(data)
    for _ in range(2):  # and the lock is given back
        with pytest.raises(JournalError, match=words):
            Journal(path)
    assert path.read_bytes() == data


def test_a05_a_path_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "journal"):
        with pytest.raises(JournalError, match="cannot be opened"):
            Journal(path)


def test_a05_a_full_disk_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.append({"kind": "session"})
    real = os.pwrite
    left = [10]

    def full(descriptor: int, data: Any, place: int) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "no space left on device")
        count = real(descriptor, bytes(data)[: left[0]], place)
        left[0] -= count
        return count

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="no space"):
        journal.append({"kind": "run", "run": 1})
    monkeypatch.undo()
    assert journal.entries == [{"kind": "session"}]
    assert path.read_bytes() == b'{"kind":"session"}\n'
    journal.append({"kind": "run", "run": 2})
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append({"kind": "run", "run": 3})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"kind": "session"},
        {"kind": "run", "run": 2},
    ]


@given(st.integers(0, 400))
def test_a05_law_wherever_a_crash_cut_it_the_whole_entries_are_there(cut: int) -> None:
    lines = [json.dumps({"kind": "run", "run": number, "x": "é\n"}) + "\n" for number in range(8)]
    data = "".join(lines).encode()[:cut]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(data)
        journal = Journal(path)
        seen = [entry["run"] for entry in journal.entries]
        journal.append({"kind": "run", "run": 99})
        journal.close()
        again = Journal(path)
        assert [entry["run"] for entry in again.entries] == [*seen, 99]
        again.close()
    assert seen == [*range(len(seen))]
    assert len(seen) >= data.count(b"\n")
