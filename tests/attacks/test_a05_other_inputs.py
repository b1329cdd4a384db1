"""A4 and A5 again, by other ways: what lies in files and pipes runs nothing and loses nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import msgspec
import pytest

from polycall.errors import StoreError
from polycall.gateway.store.reading_process import operation_of
from polycall.sandbox import Journal, JournalError
from tests.attacks.test_a04_unpickling import Bomb


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a04_a_journal_that_is_a_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "journal"
    data = pickle.dumps(Bomb(tmp_path / "mark"), protocol=protocol) + b'\n{"kind":"a"}\n'
    path.write_bytes(data)
    with pytest.raises(JournalError):
        Journal(path)
    assert path.read_bytes() == data
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["os:system", "polycall.cli:main", "subprocess:run", "x"])
def test_a04_a_question_about_the_ledger_names_no_other_code(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(StoreError):
        operation_of(msgspec.msgpack.encode((name, [f"touch {mark}"], {})))
    assert not mark.exists()


def test_a05_a_journal_is_in_use_by_each_of_its_names(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal(path)
    first.append({"kind": "session", "말": "😀\ud83d"})
    os.link(path, tmp_path / "또")
    with pytest.raises(JournalError, match="in use"):
        Journal(tmp_path / "또")
    first.close()
    again = Journal(tmp_path / "또")
    assert again.entries == [{"kind": "session", "말": "😀\ud83d"}]
    again.close()


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a05_what_is_no_regular_file_is_no_journal(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    if kind == "device":
        path = Path("/dev/null")
    mode = path.stat().st_mode
    with pytest.raises(JournalError, match="no regular file"):
        Journal(path)  # a pipe was waited for without end
    assert path.stat().st_mode == mode  # and a device of root's was closed to all others
