"""Words of wires for ends and errors as data: what the tables mean."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from polycall import errors
from polycall.translation import word_tables
from polycall.translation.word_tables import WordTables

WRITTEN = """
[finish]
stop = ["", "end"]
length = ["full"]

[ends]
stop = "end"
length = "full"

[errors]
RateLimitError = ["slow", "slower"]
NotFoundError = ["gone"]

[vague]
ServerError = ["bad"]

[wire]
RateLimitError = [429, "slow"]
PolycallError = [500]
"""


class Row(NamedTuple):
    status: int
    word: str = "bad"


def tables(written: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> WordTables:
    (folder / "words.toml").write_text(written, "utf-8")
    monkeypatch.setattr(word_tables, "files", {"a.dialect": folder}.__getitem__)
    return WordTables("a.dialect")


def test_words_mean_what_their_tables_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tables(WRITTEN, tmp_path, monkeypatch)
    assert words.finish() == {"": "stop", "end": "stop", "full": "length"}
    assert words.ends() == {"stop": "end", "length": "full"}
    limited, gone = errors.RateLimitError, errors.NotFoundError
    assert words.classes() == {"slow": limited, "slower": limited, "gone": gone}
    assert words.classes("vague") == {"bad": errors.ServerError}
    assert words.wire(Row) == {limited: Row(429, "slow"), errors.PolycallError: Row(500)}


def test_an_end_and_a_class_that_nobody_knows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = WRITTEN.replace("length", "lenght").replace("NotFoundError", "NoSuchError")
    words = tables(wrong, tmp_path, monkeypatch)
    for read in (words.finish, words.ends):
        with pytest.raises(msgspec.ValidationError, match="lenght"):
            read()
    with pytest.raises(AttributeError, match="NoSuchError"):
        words.classes()
