"""`polycall sim diff` and `--as-of`: what breaks between two days."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polycall.cli import main

USER = {"role": "user", "content": "hi"}
BREAKS = {"model": "claude-opus-4-1", "max_tokens": 9, "messages": [USER]}
STAYS = {"model": "claude-opus-5", "max_tokens": 9, "messages": [USER]}
DAYS = ["--as-of", "2026-08-01", "2026-11-29"]


def lines(path: Path, *records: object) -> str:
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n", encoding="utf-8")
    return str(path)


def test_what_breaks_is_listed_and_the_status_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lines(tmp_path / "r.jsonl", STAYS, BREAKS)
    assert main(["sim", "diff", file, *DAYS]) == 1
    assert capsys.readouterr().out == (
        "line 2: claude-opus-4-1 (anthropic) breaks: 404 model: claude-opus-4-1\n"
        "2 requests: 1 break between 2026-08-01 and 2026-11-29, 0 are refused on both days\n"
    )
    assert main(["sim", "diff", lines(tmp_path / "s.jsonl", STAYS), *DAYS]) == 0


def test_all_rows_as_json_with_the_rule_and_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forced = {
        **STAYS,
        "model": "claude-fable-5",
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
    }
    path = (
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
    )
    body = {
        "contents": [{"parts": [{"text": "x"}]}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 99_999}},
    }
    chat = {
        "url": "https://api.openai.com/v1/chat/completions",
        "body": {"model": "o3-mini", "messages": [USER]},
    }
    file = lines(tmp_path / "r.jsonl", forced, {"url": path, "body": body}, chat)
    assert main(["sim", "diff", file, *DAYS, "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["wire"], row["model"], row["change"]) for row in rows] == [
        ("anthropic", "claude-fable-5", "mends"),
        ("gemini", "gemini-2.5-flash", "refused"),
        ("openai-chat", "o3-mini", "breaks"),
    ]
    assert rows[0]["before"]["rule"] == "forced-choice-fable-5"
    assert rows[0]["before"]["source"].startswith("https://")
    assert rows[0]["after"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1: Expecting property name"),
        ("[]", "line 1: expected a JSON object, got array"),
        ('{"body": 3}', "line 1: 'body' must be a JSON object, got integer"),
        (
            '{"model": "x"}',
            "line 1: this is not a request: it has no 'messages', 'input' or 'contents'",
        ),
        ('{"wire": "smoke", "body": {}}', "line 1: no vendor speaks 'smoke'; known are anthropic,"),
        ('{"body": {"messages": []}, "headers": 1}', "line 1: 'headers' must be a JSON object"),
    ],
)
def test_bad_files_are_said_to_be_bad(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (tmp_path / "r.jsonl").write_text(text, encoding="utf-8")
    assert main(["sim", "diff", str(tmp_path / "r.jsonl"), *DAYS]) == 1
    assert words in capsys.readouterr().err


def test_bad_days_and_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = lines(tmp_path / "r.jsonl", STAYS)
    assert main(["sim", "diff", file, "--as-of", "2026-11-29", "2026-08-01"]) == 1
    assert "the earlier day comes first" in capsys.readouterr().err
    assert main(["sim", "diff", str(tmp_path / "none"), *DAYS]) == 1
    assert "none' cannot be read: No such file or directory" in capsys.readouterr().err
    for words in (
        ["sim", "diff", file, "--as-of", "1/2", "2026-08-01"],
        ["sim", "--as-of", "soon"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert "is not a day; write it as 2026-11-29" in capsys.readouterr().err


def har(*requests: dict[str, object]) -> str:
    return json.dumps({"log": {"version": "1.2", "entries": [{"request": r} for r in requests]}})


def posted(url: str, body: dict[str, object]) -> dict[str, object]:
    headers = [{"name": "Content-Type", "value": "application/json"}]
    return {
        "method": "POST",
        "url": url,
        "headers": headers,
        "postData": {"text": json.dumps(body)},
    }


def test_a_har_file_is_read_as_it_was_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "traffic.har"
    page = {"method": "GET", "url": "https://api.openai.com/v1/models", "headers": []}
    file.write_text(
        har(
            page,
            posted("https://api.anthropic.com/v1/messages", BREAKS),
            posted("https://api.groq.com/openai/v1/chat/completions", {**STAYS, "model": "qwen/x"}),
        ),
        encoding="utf-8",
    )
    assert main(["sim", "diff", str(file), *DAYS, "--all"]) == 1
    out = capsys.readouterr().out
    assert "line 2: claude-opus-4-1 (anthropic) breaks" in out
    assert "line 3: qwen/x (groq) is taken on both days" in out
    assert "2 requests" in out
