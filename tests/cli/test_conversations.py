"""Conversations of the command line: continued, searched, with files, schemas and a default."""

from __future__ import annotations

import base64
import io
import json
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent
from polycall.cli import main
from polycall.cli.attachments import attached
from polycall.cli.conversation_log import ConversationLog
from polycall.cli.output_schema import output_schema
from polycall.errors import RequestError
from polycall.ir import Media, Text
from polycall.testing import ScriptedModel

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
AGENT = '''
from polycall import Agent, tool
@tool
async def opening_hours(day: str) -> str:
    """Opening hours of the shop on a day."""
    return f"{day}: 9 to 18"
desk = Agent("claude/sim-1", name="desk", tools=[opening_hours])
'''


@pytest.fixture
def log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own log and configuration."""
    monkeypatch.setenv("POLYCALL_LOG", str(folder / "log.db"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    return folder / "log.db"


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main(words) == status, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def texts(run: Any) -> list[str]:
    return [
        part["text"]
        for message in run["messages"]
        if message["role"] == "user"
        for part in message["parts"]
        if part["type"] == "text"
    ]


def test_n16_a_run_is_continued_with_its_model_and_its_instructions(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = told(capsys, "run", "claude/sim-1", "내 이름은 민아", "-s", "Be brief.", "--json")
    again = told(capsys, "run", "-c", "and again", "--json")
    assert (texts(again), again["conversation"]) == (
        ["내 이름은 민아", "and again"],
        first["conversation"],
    )
    other = told(capsys, "run", "acme/sim-1", "another one", "--json")
    assert texts(other) == ["another one"]
    back = told(
        capsys,
        "run",
        "--conversation",
        first["conversation"],
        "-m",
        "acme/sim-1",
        "third",
        "--json",
    )
    assert texts(back)[-1] == "third"
    assert len(texts(back)) == 3
    turns = told(capsys, "log", "show", first["conversation"], "--json")
    assert [(each["model"], each["system"]) for each in turns] == [
        ("claude/sim-1", "Be brief."),
        ("claude/sim-1", "Be brief."),
        ("acme/sim-1", "Be brief."),
    ]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_n16_the_log_is_searched_by_words_in_any_language(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ("the teapots came broken", "환불을 받고 싶어요", 'emoji 🫖 and "quotes" or *'):
        assert main(["run", "claude/sim-1", words, "--quiet"]) == 0
    assert [each["prompt"] for each in told(capsys, "log", "search", "teapot", "--json")] == [
        "the teapots came broken"
    ]
    assert len(told(capsys, "log", "search", "환불", "--json")) == 1
    assert len(told(capsys, "log", "search", "quotes", "emoji", "--json")) == 1
    assert told(capsys, "log", "search", "teapot", "환불", "--json") == []
    assert (
        len(told(capsys, "log", "--json") if False else told(capsys, "log", "list", "--json")) == 3
    )
    assert main(["log", "search", "* \" ' )"]) == 1
    assert main(["log"]) == 0
    shown = capsys.readouterr().out
    assert "환불을 받고 싶어요" in shown
    oldest = told(capsys, "log", "list", "--json")[-1]["conversation"]
    assert told(capsys, "log", "delete", oldest, "--json") == {"deleted": 1}
    assert told(capsys, "log", "search", "teapot", "--json") == []
    assert told(capsys, "log", "delete", "--before", "2001-01-01", "--json") == {"deleted": 0}
    assert main(["log", "show", oldest]) == 1


@pytest.mark.parametrize("how", ["off", "--no-log"])
def test_n16_what_is_not_to_be_kept_is_not(
    log: Path, how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--no-log"]
    if how == "off":
        monkeypatch.setenv("POLYCALL_LOG", "off")
        more = []
    assert main(["run", "claude/sim-1", "secret", "--quiet", *more]) == 0
    assert not log.exists()
    assert main(["run", "-c", "and?", *more]) == 1
    assert "nothing to continue" in capsys.readouterr().err


def test_n16_a_log_that_cannot_be_kept_loses_no_answer(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (log.parent / "file").write_text("no folder")
    monkeypatch.setenv("POLYCALL_LOG", str(log.parent / "file" / "log.db"))
    assert main(["run", "claude/sim-1", "hello"]) == 0
    said = capsys.readouterr()
    assert "no language model here" in said.out
    assert "the conversation is not kept" in said.err


def test_n16_halves_of_characters_are_kept_as_escapes(log: Path) -> None:
    with closing(ConversationLog(str(log))) as kept, ScriptedModel(["ok \ud83d"]) as model:
        run = Agent("test/m", client=model).run_sync("what")
        kept.add("a", "test/m", "", "half \udce9", run)
        (turn,) = kept.turns("a")
        assert (turn.prompt, turn.answer) == ("half \\udce9", "ok \\ud83d")
        assert kept.search("half", 5) == [turn]


def test_n16_the_default_model_is_asked_where_none_is_named(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", "just a question"]) == 1
    assert "polycall models default" in capsys.readouterr().err
    assert main(["models", "default"]) == 1
    assert main(["models", "default", "nobody/x"]) == 1
    assert main(["models", "default", "claude/sim-1"]) == 0
    assert told(capsys, "models", "default", "--json") == "claude/sim-1"
    run = told(capsys, "run", "just a question", "--json")
    assert texts(run) == ["just a question"]
    assert texts(told(capsys, "run", "-m", "fast", "two", "words", "--json")) == ["two words"]
    assert texts(told(capsys, "run", "acme/sim-1", "--json", "after options")) == ["after options"]
    monkeypatch.setenv("POLYCALL_DEFAULT_MODEL", "acme/sim-1")
    assert told(capsys, "models", "default", "--json") == "acme/sim-1"
    monkeypatch.setattr("sys.stdin", io.StringIO("a file"))
    assert texts(told(capsys, "run", "explain", "--json")) == ["a file\n\nexplain"]


def test_n16_files_go_with_the_prompt(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (log.parent / "dot.png").write_bytes(PIXEL)
    (log.parent / "표.csv").write_text("도시,온도\n서울,3\n", "utf-8")
    (log.parent / "code.rs").write_text("fn main() {}\n")
    words = ["-a", "dot.png", "-a", "표.csv", "-a", "code.rs"]
    run = told(capsys, "run", "claude/sim-1", "what is there?", *words, "--json")
    parts = run["messages"][0]["parts"]
    assert [each["type"] for each in parts] == ["media", "text", "text", "text"]
    assert parts[0]["media_type"] == "image/png"
    assert parts[1]["text"] == "표.csv:\n\n도시,온도\n서울,3\n"
    shown = told(capsys, "log", "list", "--json")[0]["prompt"]
    assert shown.endswith("[+3 attached]")


@pytest.mark.parametrize(
    ("name", "data", "kind", "media_type"),
    [
        ("x.bin", b"%PDF-1.7\n\xff", "document", "application/pdf"),
        ("photo", b"\xff\xd8\xff\xe0", "image", "image/jpeg"),
        ("a.wav", b"RIFF\x24\0\0\0WAVEfmt ", "audio", "audio/wav"),
        ("a.zip", b"PK\x03\x04\xff\0", "document", "application/zip"),
    ],
)
def test_an_attachment_is_what_its_bytes_say(
    tmp_path: Path, name: str, data: bytes, kind: str, media_type: str
) -> None:
    (tmp_path / name).write_bytes(data)
    (part,) = attached([str(tmp_path / name)])
    assert isinstance(part, Media)
    assert (part.kind, part.media_type, part.filename) == (kind, media_type, name)
    assert base64.b64decode(part.data) == data


def test_an_attachment_by_address_and_those_that_are_refused(tmp_path: Path) -> None:
    (part,) = attached(["https://example.com/a/b.jpg?x=1"])
    assert part == Media("image", "image/jpeg", url="https://example.com/a/b.jpg?x=1")
    (tmp_path / "empty").write_bytes(b"")
    for name in (str(tmp_path / "missing"), str(tmp_path / "empty"), str(tmp_path)):
        with pytest.raises(RequestError, match="attachment"):
            attached([name])
    with pytest.raises(RequestError, match="once"):
        attached(["-", "-"])


def test_an_attachment_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("한국어".encode())))
    assert attached(["-"]) == [Text("standard input:\n\n한국어")]
    sys.stdin.close()


@pytest.mark.parametrize(
    ("words", "properties"),
    [
        ("name, age int", {"name": {"type": "string"}, "age": {"type": "integer"}}),
        (
            "price float: in euros, with tax\nsold bool",
            {
                "price": {"type": "number", "description": "in euros, with tax"},
                "sold": {"type": "boolean"},
            },
        ),
        ('{"type": "object", "properties": {"a": {}}}', {"a": {}}),
        ("도시", {"도시": {"type": "string"}}),
    ],
)
def test_n16_a_schema_in_few_words(words: str, properties: Any) -> None:
    assert output_schema(words)["properties"] == properties


@pytest.mark.parametrize("words", ["name text", "a-b", "{", "[1]", ",", "missing.json", "{1}"])
def test_n16_a_schema_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(RequestError, match="schema"):
        output_schema(words)


def test_n16_an_answer_has_the_schema_that_was_asked_for(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
    Path("numbers.json").write_text(json.dumps(schema))
    run = told(capsys, "run", "claude/sim-1", "numbers", "--schema", "numbers.json", "--json")
    assert run["output"]
    assert all(isinstance(each, int) for each in run["output"])
    run = told(capsys, "run", "acme/sim-1", "a person", "--schema", "name, age int", "--json")
    assert isinstance(run["output"]["age"], int)
    assert main(["run", "claude/sim-1", "x", "--schema", '{"type": "nonsense"}']) == 1
    assert "is not valid" in capsys.readouterr().err


def test_an_agent_of_ones_own_is_run_with_all_it_has(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own_shop.py").write_text(AGENT)
    run = told(capsys, "run", "--agent", "own_shop.py:desk", "Opening hours on Sunday?", "--json")
    assert "9 to 18" in run["text"]
    again = told(capsys, "run", "-c", "--agent", "own_shop:desk", "and Monday?", "--json")
    assert len(texts(again)) == 2
    assert main(["run", "--agent", "own_shop:desk", "x", "-s", "words"]) == 1
    assert "brings its own" in capsys.readouterr().err
    assert main(["run", "--agent", "own_shop:AGENT", "x"]) == 1
