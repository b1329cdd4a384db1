"""Many that open a new file at once all get it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polycall._support.write_ahead import write_ahead

OPENERS, FILES = 4, 20
# Each opens the same new files at the same moments.
OPENER = """
import sqlite3, sys, time
from polycall._support.write_ahead import write_ahead
folder, start = sys.argv[1], float(sys.argv[2])
for number in range(int(sys.argv[3])):
    connection = sqlite3.connect(f"{folder}/{number}.db", timeout=20, isolation_level=None)
    while time.time() < start + number * 0.05:
        pass
    write_ahead(connection, wait_s=20)
    connection.execute("CREATE TABLE IF NOT EXISTS noted (number INTEGER)")
    connection.execute("INSERT INTO noted VALUES (1)")
    connection.close()
"""


def test_all_of_many_open_a_new_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENER, str(tmp_path), str(time.time() + 1), str(FILES)]
    openers = [subprocess.Popen(command) for _ in range(OPENERS)]
    assert [opener.wait(60) for opener in openers] == [0] * OPENERS
    for number in range(FILES):
        connection = sqlite3.connect(tmp_path / f"{number}.db")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM noted").fetchone() == (OPENERS,)
        connection.close()


def test_what_is_locked_for_good_is_an_error(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "held.db", isolation_level=None)
    holder.execute("CREATE TABLE noted (number INTEGER)")
    holder.execute("BEGIN EXCLUSIVE")
    waiting = sqlite3.connect(tmp_path / "held.db", timeout=0.01)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write_ahead(waiting, wait_s=0.05)
    waiting.close()
    holder.close()
