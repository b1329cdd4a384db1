"""A21: who decides about a call sees all of it, cleaned, and what was approved is what runs."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import stat
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent
from polycall._support.printable import _UNSAFE, printable, printable_line
from polycall.agents import ApprovalRequest, PausedRun
from polycall.agents.approval import AskingToolset
from polycall.agents.approval_backend import call_digest
from polycall.agents.signing_key import VARIABLE
from polycall.cli.asking import call_lines
from polycall.durable import Durable
from polycall.errors import RequestError
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel
from polycall.tools import ToolContext, Toolset, tool

from ..durable.test_commands import polycall

paid: list[Any] = []
EVIL = {
    "note": "x" * 500,
    "amount": 90_000,
    "to": "\x1b[2K\rsafe\u202egro.live",
    "a\nb": "c\x9b2Jd\u200b",
}


@tool(needs_approval=True)
async def pay(note: str, amount: int, to: str = "") -> str:
    """Pay."""
    paid.append(amount)
    return "paid"


def dirty(text: str) -> list[str]:
    return [
        c for c in text if c in "\x1b\r\x9b\u202e\u200b\u2028\x07\x7f" or "\ud800" <= c <= "\udfff"
    ]


def test_a21_a_call_is_shown_whole_a_line_for_each_argument() -> None:
    lines = call_lines("pay\nwaits other", EVIL)
    assert lines[0] == "tool: pay\\nwaits other"
    assert len(lines) == 5
    assert "x" * 500 in lines[1]
    assert lines[2] == '"amount": 90000'
    assert all("\n" not in line and dirty(line) == [] for line in lines)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\u001b[31mred"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\x9bb\x7f", "a\\u009bb\\u007f"),
        ("\ud83d", "\\ud83d"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("a\rb", "a\\u000db"),
        (
            "서울 \u3000é\u00a0👨\u200d👩 می\u200cخواهم\r\n\t",
            "서울 \u3000é\u00a0👨\u200d👩 می\u200cخواهم\r\n\t",
        ),
    ],
)
def test_a21_text_is_cleaned_and_json_stays_the_same_json(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert json.loads(printable(json.dumps({"a": text}, ensure_ascii=False))) == {"a": text}
    assert "\n" not in printable_line(text)


async def test_a21_a_durable_run_is_shown_whole_and_allowed_by_its_digest(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    paid.clear()
    arguments = json.dumps({key: EVIL[key] for key in ("note", "amount", "to")})
    calls = [ToolCall("b\x1b[2K\nwaits call/1/good", "pay", arguments)]
    with ScriptedModel([calls, "done"]) as model:
        agent = Agent("test/m", name="desk", tools=[pay], client=model)
        async with Durable(url, agents=[agent], poll_s=0.02) as here:
            handle = await here.start("desk", "pay", run_id="r1")
            async with asyncio.timeout(20):
                while not (await handle.info()).approvals:
                    await asyncio.sleep(0.02)
            (approval,) = (await handle.info()).approvals
            db = ("--db", url)
            _, out, _ = await polycall("runs", "show", "r1", *db)
            assert dirty(out) == []
            assert "x" * 500 in out
            assert '"amount": 90000' in out
            assert [
                line for line in out.splitlines() if line.strip().startswith("waits call/1/good")
            ] == []
            assert approval.digest in out
            _, out, _ = await polycall("runs", "show", "r1", "--json", *db)
            assert dirty(out) == []
            shown = json.loads(out)
            assert shown["run"]["approvals"][0]["arguments"]["to"] == EVIL["to"]
            assert shown["digests"] == {approval.id: approval.digest}
            with pytest.raises(RequestError, match="digest"):
                await here.allow("r1", approval.id, digest="0" * 32)
            assert paid == []
            await here.allow("r1", approval.id, digest=approval.digest)
            async with asyncio.timeout(20):
                await handle.result()
    assert paid == [90_000]


@pytest.mark.parametrize("change", ["arguments", "tool", "agents"])
async def test_a21_a_yes_to_another_call_runs_nothing(tmp_path: Path, change: str) -> None:
    """Somebody changes what the person is shown; the run has the call that the model made."""
    path = tmp_path / "runs.db"
    paid.clear()
    calls = [ToolCall("b", "pay", '{"note": "n", "amount": 90000}')]
    with ScriptedModel([calls, "done"]) as model:
        agent = Agent("test/m", name="desk", tools=[pay], client=model)
        async with Durable(f"sqlite:///{path}", agents=[agent], poll_s=0.02) as here:
            handle = await here.start("desk", "pay", run_id="r1")
            async with asyncio.timeout(20):
                while not (await handle.info()).approvals:
                    await asyncio.sleep(0.02)
            with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as database:
                ((text,),) = database.execute("select request from polycall_approvals").fetchall()
                request = json.loads(text)
                request["arguments"]["amount"] = 5 if change == "arguments" else 90_000
                request["tool"] = "look" if change == "tool" else "pay"
                request["agents"] = ["other"] if change == "agents" else ["desk"]
                database.execute(
                    "update polycall_approvals set request = ?", (json.dumps(request),)
                )
            await here.allow("r1", "call/1/b")
            async with asyncio.timeout(20):
                result = await handle.result()
    assert paid == []
    assert "another call was approved" in str(result.history.messages[2])


async def test_a21_what_a_person_was_asked_about_cannot_be_changed_meanwhile() -> None:
    paid.clear()
    seen: list[dict[str, Any]] = []

    def approve(request: ApprovalRequest) -> bool:
        seen.append(dict(request.arguments))
        request.arguments["amount"] = 1
        return True

    with ScriptedModel([[ToolCall("b", "pay", '{"note": "n", "amount": 7}')], "done"]) as model:
        agent = Agent("test/m", name="desk", tools=[pay], client=model)
        await agent.run("pay", approve=approve)
    assert paid == [7]
    assert seen[0]["amount"] == 7


async def test_a21_what_is_changed_while_a_person_looks_does_not_run() -> None:
    """A tool that asks for another one keeps the arguments that it gave."""
    paid.clear()
    arguments = {"note": "n", "amount": 7}
    asked = AskingToolset(Toolset([pay]))

    @tool
    async def indirect(context: ToolContext[Any]) -> str:
        """Pay by another hand."""
        return await asked.run("pay", arguments, context)

    def approve(request: ApprovalRequest) -> bool:
        assert request.arguments == {"note": "n", "amount": 7}
        arguments["amount"] = 90_000
        return True

    with ScriptedModel([[ToolCall("b", "indirect", "{}")], "done"]) as model:
        run = await Agent("test/m", tools=[indirect], client=model).run("pay", approve=approve)
    assert paid == []
    assert "changed while a person was asked" in str(run.messages[2])


def test_a21_a_digest_is_of_the_values_and_of_nothing_else() -> None:
    one = call_digest("pay", {"a": 1, "b": [True, None, "é"]}, ["x", "y"])
    assert one == call_digest("pay", {"b": [True, None, "é"], "a": 1}, ("x", "y"))
    others = [
        call_digest("pay", {"a": 2, "b": [True, None, "é"]}, ["x", "y"]),
        call_digest("pay", {"a": "1", "b": [True, None, "é"]}, ["x", "y"]),
        call_digest("pax", {"a": 1, "b": [True, None, "é"]}, ["x", "y"]),
        call_digest("pay", {"a": 1, "b": [True, None, "é"]}, ["x"]),
        call_digest("pay", {"a": 1.0, "b": [True, None, "é"]}, ["x", "y"]),
    ]
    assert len({one, *others}) == 6


async def paused() -> PausedRun:
    with ScriptedModel([[ToolCall("b", "pay", '{"note": "n", "amount": 7}')]]) as model:
        agent = Agent("test/m", name="desk", tools=[pay], client=model)
        run = await agent.run("pay", approve="pause")
    assert run.paused is not None
    return run.paused


async def test_a25_a_paused_run_is_signed_by_default_and_refused_when_tampered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "state" / "signing.key"
    monkeypatch.setenv(VARIABLE, str(key))
    text = (await paused()).to_json()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert PausedRun.from_json(text).waiting[0].arguments["amount"] == 7
    unsigned = json.dumps({**json.loads(text), "signature": None})
    for changed in (
        text.replace("7", "9"),
        unsigned,
        text.replace('"signature":"', '"signature":"0'),
    ):
        with pytest.raises(RequestError, match="was changed"):
            PausedRun.from_json(changed)
    with pytest.raises(RequestError, match="was changed"):
        PausedRun.from_json(text, "a secret of another")
    key.unlink()
    with pytest.raises(RequestError, match="another key"):
        PausedRun.from_json(text)
    key.chmod(0o644)
    with pytest.raises(RequestError, match="others may read"):
        PausedRun.from_json(text)
    key.chmod(0o600)
    key.write_bytes(b"short")
    monkeypatch.setattr("polycall.agents.signing_key._WAIT_S", 0.05)
    with pytest.raises(RequestError, match="5 bytes instead of 32"):
        PausedRun.from_json(text)
    monkeypatch.setenv(VARIABLE, "/proc/none/key")
    with pytest.raises(RequestError, match="give a secret"):
        PausedRun.from_json(text)


def test_a21_the_console_cleans_what_a_terminal_cleans() -> None:
    page = (files("polycall.admin") / "page" / "console.js").read_text("utf-8")
    (written,) = re.findall(r"^const UNSAFE = /(.+)/gu;$", page, re.MULTILINE)
    pattern = re.compile(
        re.sub(r"\\u\{(\w+)\}", lambda found: f"\\U{int(found[1], 16):08x}", written)
    )
    every = "".join(map(chr, range(0x110000)))
    assert pattern.findall(every) == _UNSAFE.findall(every)
    assert "value: visible(JSON.stringify(each.arguments" in (
        files("polycall.admin") / "page" / "pages.js"
    ).read_text("utf-8")


@pytest.mark.parametrize("text", ["pay\u3164", "a\u115f\u1160b", "\uffa0", "a\u034fb", "x\u180bx"])
def test_a21_letters_that_nobody_sees_are_shown(text: str) -> None:
    assert printable(text).isascii()
    assert json.loads(f'"{printable(text)}"') == text
