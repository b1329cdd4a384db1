"""The commands, run as a person runs them."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polycall.cli import COMMANDS, main
from polycall.cli.show import AnswerShow
from polycall.fold import unfold
from polycall.ir import Message, Response, Text, ToolCall, Usage
from polycall.loop import ModelEvent, RunEnd, Step, StepEnd

POLYCALL = [sys.executable, "-m", "polycall"]


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*POLYCALL, *words], capture_output=True, text=True, input=stdin, check=False, timeout=60
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "Example: polycall" in capsys.readouterr().out


def test_no_command_and_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    with pytest.raises(SystemExit) as caught:
        main(["dance"])
    assert caught.value.code == 2
    assert "no command is called 'dance'" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("polycall ")


def test_an_own_vendor_by_ten_lines_of_configuration(folder: Path) -> None:
    done = run("run", "acme/sim-1", "서울 날씨 알려줘", "--tools", "city_tools:get_weather")
    assert done.returncode == 0
    notes = done.stderr.splitlines()
    assert notes[0] == '→ get_weather(city="서울")'
    assert notes[1] == '← get_weather: {"city":"서울","sky":"맑음"}'
    assert "cost unknown; 2 steps" in notes[-1]
    assert "- get_weather(서울): city: 서울, sky: 맑음" in done.stdout.splitlines()
    assert not {"→", "←", "cost"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "stdin", "asked"),
    [
        (["say this again"], "one\ntwo\n", "one\ntwo\n\nsay this again"),
        ([], "only this\n", "only this"),
        (["no input"], "", "no input"),
        (["-"], "as it is\n", "as it is\n"),
        (["설명해 줘"], "한국어", "한국어\n\n설명해 줘"),
    ],
)
def test_n11_what_is_piped_in_stands_before_the_prompt(
    folder: Path, words: list[str], stdin: str, asked: str
) -> None:
    done = run("run", "claude/sim-1", *words, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["messages"][0]["parts"] == [{"type": "text", "text": asked}]


def test_n11_without_prompt_and_input_a_run_is_refused(folder: Path) -> None:
    done = run("run", "claude/sim-1", stdin="")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no prompt" in done.stderr


@pytest.mark.parametrize("words", ["explain", "-", "explain | caf\udce9"])
def test_n11_what_is_not_text_is_refused_before_it_is_sent(folder: Path, words: str) -> None:
    given, _, prompt = words.rpartition(" | ")
    stdin = b"" if given else "caf\u00e9".encode("latin-1")
    done = subprocess.run(
        [*POLYCALL, "run", "claude/sim-1", prompt],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )
    what = b"the prompt" if given else b"standard input"
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"polycall run: " + what + b" is not text in UTF-8; convert it")


def test_n11_an_output_that_is_closed_is_no_error(folder: Path) -> None:
    shell = f"{shlex.quote(sys.executable)} -m polycall run claude/sim-1 hello --no-log >&-"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"1 step" in done.stderr


def test_n11_a_run_that_is_redirected_holds_the_answer_alone(folder: Path) -> None:
    plain = run("run", "claude/sim-1", "hello")
    quiet = run("run", "claude/sim-1", "hello", "--quiet")
    whole = run("run", "claude/sim-1", "hello", "--no-stream")
    assert plain.stdout == quiet.stdout == whole.stdout
    assert quiet.stderr == ""
    assert "1 step" in plain.stderr


def test_n11_words_before_a_call_are_notes_and_an_error_leaves_no_output() -> None:
    out, notes = io.StringIO(), io.StringIO()
    show = AnswerShow(out, notes)
    called = Response(
        "r", "m", Message("assistant", [Text("Let me look."), ToolCall("1", "f")]), "tool_calls"
    )
    said = Response("r", "m", Message("assistant", [Text("It snows.")]), "stop")
    for number, response in enumerate((called, said), 1):
        for event in unfold(response):
            show.event(ModelEvent(number, event))
        show.event(StepEnd(number, Step(response)))
    show.event(RunEnd("finished", [], [Step(called), Step(said)], Usage(), None))
    assert out.getvalue() == "It snows.\n"
    assert "Let me look." in notes.getvalue()


def test_a_chain_goes_on_where_one_is_overloaded(folder: Path) -> None:
    done = run("run", "fast", "서울 날씨 알려줘", "--tools", "city_tools:both", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["reason"] == "finished"
    assert [m["role"] for m in told["messages"]] == ["user", "assistant", "tool", "assistant"]
    details = [w["detail"] for w in told["warnings"] if w["feature"] == "model"]
    assert details[0] == ("acme/fault-503 failed (OverloadedError), claude/sim-1 was asked instead")


def test_quiet_and_standard_input(folder: Path) -> None:
    done = run("run", "claude/sim-1", "-", "--quiet", stdin="hello\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no language model here" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "acme/none", "x"], "model 'none' not found"),
        (["run", "acme/sim-1", "x", "--tools", "city_tools"], "--tools takes MODULE:NAME"),
        (["run", "acme/sim-1", "x", "--tools", "nowhere:f"], "No module named 'nowhere'"),
        (["run", "acme/sim-1", "x", "--tools", "city_tools:get"], "city_tools has no 'get'"),
        (["run", "acme/sim-1", "x", "--tools", "city_tools:number"], "neither tool nor function"),
        (["run", "acme/sim-1", "x", "--max-cost", "much"], "--max-cost takes US dollars"),
        (["run", "nobody/x", "x"], "no provider is called 'nobody'"),
        (["run", "openai/gpt-5.4", "x"], "set OPENAI_API_KEY"),
        (["models", "--provider", "nobody"], "no provider is called 'nobody'"),
        (["models", "--supports", "tolls"], "'tolls' is not a capability"),
        (["run", "acme/sim-1", "x", "--config", "missing.toml"], "missing.toml"),
    ],
)
def test_mistakes_are_one_line_and_a_status(
    folder: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = run(*words)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "acme-secret" not in done.stderr + done.stdout


def test_models_lists_what_is_known_and_what_is_not(folder: Path) -> None:
    done = run("models", "--provider", "anthropic", "--supports", "tools,images", "--json")
    rows = json.loads(done.stdout)
    assert rows
    assert all(row["tools"] is True and row["images"] is True for row in rows)
    groq = json.loads(run("models", "--provider", "groq", "--json").stdout)
    assert any(row["tools"] is None for row in groq)
    assert any(row["price_usd_per_million"] is None for row in groq)


def test_the_reader_may_leave(folder: Path) -> None:
    done = subprocess.run(
        f"{' '.join(POLYCALL)} models | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("model ")
    assert done.stderr == ""


def test_n3_the_demo_fits_on_a_screen_and_begins_in_english(folder: Path) -> None:
    done = run("demo", "--offline")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert lines[0].startswith("What is the weather in Seoul?")
    assert len(lines) <= 30
    assert max(len(line) for line in lines) <= 120
    assert "|" not in done.stdout
    for line in ("get_weather(Seoul)", "get_weather(서울)", "get_weather(Paris)", "curl -s"):
        assert line in done.stdout
    whole = run("demo", "--offline", "--verbose")
    assert len(whole.stdout.splitlines()) > 100
    assert "  result  " in whole.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"), [("PYTHONIOENCODING", "ascii"), ("TERM", "dumb"), ("COLUMNS", "40")]
)
def test_n3_the_demo_is_one_screen_on_any_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    done = run("demo", "--offline")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.strip().splitlines()
    assert lines[0].startswith("What is the weather in Seoul?")
    assert len(lines) <= 30
    assert "\x1b" not in done.stdout


def test_demo_offline(folder: Path) -> None:
    done = run("demo", "--offline", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    rows, through_gateway = rows[:15], rows[15:]
    said = (
        "Here is what the tools returned.\n"
        "- get_weather(Seoul): city: Seoul, temperature: 3, sky: clear"
    )
    assert through_gateway == [
        {"model": f"{name}/sim-1", "client": "curl", "calls": 1, "text": said, "ok": True}
        for name in ("openai", "anthropic", "google", "deepseek")
    ]
    assert len(rows) == 15
    assert {row["model"].partition("/")[0] for row in rows} == {
        "openai",
        "anthropic",
        "google",
        "deepseek",
        "compatible",
    }
    for row in rows:
        cities = [call["arguments"]["city"] for call in row["calls"]]
        asked = {"W": ["Seoul"], "서": ["서울"]}[row["prompt"][0]]
        assert cities == (["Seoul", "Tokyo", "Paris"] if "Tokyo" in row["prompt"] else asked)
        assert row["text"]
        assert row["input_tokens"] > 0
        assert float(row["cost_usd"]) > 0
