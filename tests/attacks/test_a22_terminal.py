"""A22: what others wrote reaches the terminal cleaned, by whatever command and stream."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from polycall import cli
from polycall.cli.show import Show
from polycall.cli.text import CleanStream, cleaned
from polycall.ir import PartDelta, PartStart, Text, ToolCall, ToolResult
from polycall.loop import CallEnd, CallStart, ModelEvent
from tests.origins import Handler, serving

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\x00\x08\r"
BAD = set("\x1b\x07\x9b\u202e\u2066\x00\x08\x7f\ud800\udc80")


def test_a22_every_stream_of_a_command_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with cleaned():
        print(EVIL, end="")
        print(EVIL, file=sys.stderr)
        sys.stdout.writelines([EVIL, "\ud800"])
        sys.stdout.flush()
    assert (sys.stdout, sys.stderr) == before
    captured = capsys.readouterr()
    assert not BAD & {*captured.out, *captured.err}
    assert "\\u001b[2J" in captured.out


def test_a22_cleaning_twice_is_cleaning_once(capsys: pytest.CaptureFixture[str]) -> None:
    with cleaned(), cleaned():
        assert isinstance(sys.stdout, CleanStream)
        print("a\x1bb\\u001b")
    assert capsys.readouterr().out == "a\\u001bb\\u001b\n"


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_a22_no_command_prints_what_it_was_given_uncleaned(
    command: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "\x1b[2J\u202eevil"
    for words in ([command, f"--{evil}"], [command, evil, "--nonsense", evil]):
        with contextlib.suppress(SystemExit):
            cli.main(words)
        captured = capsys.readouterr()
        assert not BAD & {*captured.out, *captured.err}


class Provider(Handler):
    """Writes escapes wherever it writes a text: the model's name says where."""

    def do_POST(self) -> None:
        body = json.loads(self.read())
        where = body["model"]
        if where == "error":
            error = {"message": EVIL, "type": EVIL, "code": EVIL, "param": EVIL}
            self.answer({"error": error}, 400, **{"x-request-id": "\x9b2J"})
        elif where == "garbage":
            self.answer(EVIL.encode(), 502, kind="text/html")
        else:
            call = {"id": EVIL, "type": "function", "function": {"name": EVIL, "arguments": EVIL}}
            message: Any = {"role": "assistant", "content": EVIL, "reasoning_content": EVIL}
            if where == "call" and len(body["messages"]) == 1:
                message["tool_calls"] = [call]
            choice = {"index": 0, "message": message, "finish_reason": EVIL}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            head = {"id": EVIL, "object": "chat.completion", "created": 1, "model": EVIL}
            self.answer({**head, "choices": [choice], "usage": usage})


@pytest.mark.parametrize("more", [[], ["--json"], ["--quiet"]], ids=str)
@pytest.mark.parametrize("where", ["text", "call", "error", "garbage"])
def test_a22_what_a_provider_writes_does_not_steer_the_terminal(
    where: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Provider) as url:
        config = tmp_path / "polycall.toml"
        config.write_text(
            f'[providers.up]\ndialect = "openai-chat"\nbase_url = "{url}"\napi_key = "k"\n'
        )
        words = ["run", "--model", f"up/{where}", "--config", str(config), "--no-stream", "hi"]
        cli.main([*words, "--no-log", "--max-steps", "2", *more])
    captured = capsys.readouterr()
    assert "\\u001b" in captured.out + captured.err
    assert not BAD & {*captured.out, *captured.err}


def test_a22_the_names_of_files_are_cleaned(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    evil = tmp_path / "\x1b[2J\u202e.py"
    assert cli.main(["run-code", str(evil), "--tier", "monty"]) == 1
    captured = capsys.readouterr()
    assert "\\u001b[2J" in captured.err
    assert not BAD & {*captured.err}


def test_a22_the_events_of_a_run_are_cleaned_and_colours_are_ours() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    show = Show(out)
    call = ToolCall("c", f"name\n{EVIL}", '{"a\\u001b": "\\u001b[2J"}')
    for event in (
        ModelEvent(1, PartStart(0, Text(EVIL))),
        ModelEvent(1, PartDelta(0, EVIL)),
        CallStart(1, call),
        CallEnd(1, call, ToolResult("c", [Text(EVIL)])),
    ):
        show.event(event)
    text = out.getvalue().replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert not BAD & {*text}
    assert "\x1b[2m" in out.getvalue()
