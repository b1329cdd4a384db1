"""Completion in real shells: what is offered is what the commands accept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from polycall.cli import COMMANDS, main
from polycall.cli.completion import script

DRIVER = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_polycall
printf '%s\\n' "${COMPREPLY[@]}"
"""


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "polycall"
    path.write_text(script("bash"), encoding="utf-8")
    return path


def offered_by_bash(path: Path, *words: str) -> list[str]:
    done = subprocess.run(
        [shell("bash"), "--norc", "-c", DRIVER, "bash", path, "polycall", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.split("\n")))


BASH: list[tuple[tuple[str, ...], list[str]]] = [
    (("",), sorted(COMMANDS)),
    (("ke",), ["keys"]),
    (("ru",), ["run", "run-code", "runs"]),
    (("--",), ["--help", "--version"]),
    (("keys", ""), ["create", "limit", "list", "revoke", "rotate", "show"]),
    (("keys", "cr"), ["create"]),
    (("keys", "rotate", "--gr"), ["--grace"]),
    # The word after an option with a value is its value, whatever it looks like.
    (("runs", "--db", "keys", ""), ["allow", "cancel", "deny", "list", "resume", "save", "show"]),
    (("runs", "list", "--state", "wa"), ["waiting"]),
    (("runs", "list", "--state", "=", "wa"), ["waiting"]),
    (
        ("runs", "list", "--state", "="),
        sorted(["queued", "running", "waiting", "finished", "failed", "cancelled"]),
    ),
    (("runs", "list", "--state", "=", "failed", "--li"), ["--limit"]),
    (("completion", ""), ["bash", "fish", "zsh"]),
    (("config", ""), ["check", "schema"]),
    (("no-such-command", ""), []),
    # After `sim` comes a command of its own.
    (("sim", "--as"), ["--as-of"]),
    (("sim", "python", "--as"), []),
    (("run", "--config", ""), []),  # a file: bash completes it
]


@pytest.mark.parametrize(("words", "expected"), BASH)
def test_bash_offers(bash_script: Path, words: tuple[str, ...], expected: list[str]) -> None:
    assert offered_by_bash(bash_script, *words) == expected


def test_bash_offers_a_command_after_sim(bash_script: Path) -> None:
    assert "bash" in offered_by_bash(bash_script, "sim", "bas")


ODD_NAMES = [
    "poly$(touch ran)",
    "poly`touch ran`",
    'poly"; touch ran; "',
    "poly'; touch ran #",
    "poly;touch ran",
    "poly && touch ran",
    "poly${PATH}",
    "poly*",
    "poly name",
    "poly\x1b[2J",
    "poly\u202eevil",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_commands_name_runs_nothing_and_is_one_word(
    bash_script: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any program that installs itself chooses the name of its file."""
    places = tmp_path / "bin"
    places.mkdir()
    (places / name.replace("/", "")).write_text("#!/bin/sh\n")
    (places / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{places}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (offered,) = offered_by_bash(bash_script, "sim", "poly")
    assert not (tmp_path / "ran").exists()
    # What is put on the line is that one word to the shell.
    command = [shell("bash"), "--norc", "-c", f"printf %s {offered}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == name
    assert not (tmp_path / "ran").exists()
    assert "\x1b" not in offered


@pytest.mark.parametrize(
    "word", ["$(touch ran)", "`touch ran`", "'", '"; touch ran', "\x1b[2J", "*"]
)
def test_what_stands_on_the_line_runs_nothing(
    bash_script: Path, tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ((word,), ("run", word, "--mo"), ("sim", word), ("run", "--model", word)):
        offered_by_bash(bash_script, *words)
    assert list(tmp_path.glob("ran")) == []


def test_every_option_that_is_offered_is_in_the_help(
    bash_script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("serve", "sim", "usage", "doctor", "models"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        text = capsys.readouterr().out
        offered = offered_by_bash(bash_script, name, "--")
        assert offered
        assert [each for each in offered if each not in text] == []


def test_a_file_is_completed_by_bash_itself(bash_script: Path) -> None:
    command = [shell("bash"), "--norc", "-c", f"source {bash_script}; complete -p polycall"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "complete -o default -F _polycall polycall\n"


def test_zsh_reads_its_script(tmp_path: Path) -> None:
    path = tmp_path / "_polycall"
    path.write_text(script("zsh"), encoding="utf-8")
    done = subprocess.run(
        [shell("zsh"), "-f", "-n", path], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("polycall ke", ["keys"]),
        ("polycall keys ", ["create", "limit", "list", "revoke", "rotate", "show"]),
        ("polycall runs --db x list --state wa", ["waiting"]),
        ("polycall keys rotate --gr", ["--grace"]),
    ],
)
def test_fish_offers(tmp_path: Path, line: str, expected: list[str]) -> None:
    path = tmp_path / "polycall.fish"
    path.write_text(script("fish"), encoding="utf-8")
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", f"source {path}; complete -C '{line}'"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert sorted(each.split("\t")[0] for each in done.stdout.splitlines()) == expected


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == script("bash")
    with pytest.raises(SystemExit) as ended:
        main(["completion", "powershell"])
    assert ended.value.code == 2
