"""Try it: tools of MCP servers that are called from the page, and the same request as code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.console.browser import Browser
from tests.console.conftest import Served, serve
from tests.gateway.harness import KEY, sim_config
from tests.gateway.mcp_support import TOKEN, stock_table

pytest.importorskip("mcp")

EVIL = '<img src=x onerror="window.evil=1">'


@pytest.fixture(scope="module")
def tooled(console_sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with two MCP servers: one asks a person about everything."""
    folder = tmp_path_factory.mktemp("try")
    more = "[server]\nmcp_processes = true\n" + stock_table(
        "free", folder / "free", 'tools = ["greet"]'
    )
    more += stock_table("asks", folder / "asks", 'tools = ["greet"]', 'ask_for = "everything"')
    more += '[mcp.gone]\ncommand = ["/nonexistent/server"]\n'
    made = serve(folder, sim_config(console_sim, more))
    yield made
    assert made.gateway.stop() == 0, made.gateway.log


@pytest.fixture
def trying(tooled: Served, page: Browser) -> Browser:
    page.look(1280, "light")
    page.open(tooled.link())
    page.wait_for("document.querySelector('h1')?.textContent === 'Now'")
    page.go("#/try")
    page.wait_for("document.querySelector('fieldset')")
    page.fill("Model", "up-chat/sim-1")
    return page


def connect(page: Browser, server: str) -> None:
    page.evaluate("document.querySelector('main details').open = true")
    page.wait_for(
        f"(box => box && (box.click(), box.checked))(document.querySelector('[value={server}]'))"
    )


def acts(served: Served) -> list[Any]:
    found = served.ask("GET", "/audit").json()["acts"]
    return [act for act in found if act["action"] == "mcp.call"]


PROTOCOLS = {
    "curl": "openai-chat",
    "Python (openai)": "openai-chat",
    "Python (anthropic)": "anthropic",
    "Python (google-genai)": "gemini",
    "Python (polycall)": "openai-chat",
}


def await_row(served: Served, client: str) -> None:
    """The client's newest request, which nothing was wrong with."""
    ends_at = time.monotonic() + 5
    while True:
        rows = served.ask("GET", "/requests?key=first&since=-600").json()["requests"]
        if rows and rows[0]["id"] not in seen:
            break
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    seen.add(rows[0]["id"])
    assert (rows[0]["client"], rows[0]["outcome"]) == (client, "ok")


seen: set[str] = set()


def test_servers_and_tools_are_listed_and_what_is_wrong_is_said(tooled: Served) -> None:
    found = tooled.ask("GET", "/mcp", None, "reader").json()
    assert {one["name"]: one["tools"] for one in found["servers"]} == {
        "free": 1,
        "asks": 1,
        "gone": 0,
    }
    assert "cannot be reached" in found["servers"][2]["error"]
    needs = {tool["name"]: tool["needs_approval"] for tool in found["tools"]}
    assert needs == {"free_greet": False, "asks_greet": True}
    assert TOKEN not in json.dumps(found)


def test_calls_are_checked_and_written_down(tooled: Served) -> None:
    call = {"tool": "asks_greet", "arguments": {"name": EVIL}}
    assert tooled.ask("POST", "/mcp/call", call, "reader").status == 403
    before = len(acts(tooled))
    refused = tooled.ask("POST", "/mcp/call", call, "operator")
    assert refused.status == 403
    assert "needs a person's approval" in refused.json()["error"]["message"]
    assert len(acts(tooled)) == before
    made = tooled.ask("POST", "/mcp/call", {**call, "approved": True}, "operator").json()
    assert (EVIL in made["text"], made["is_error"]) == (True, False)
    wrong = tooled.ask("POST", "/mcp/call", {"tool": "free_greet", "arguments": {"nome": 1}})
    assert wrong.json()["is_error"] is True
    for tool in ("free_add", "free_", "nothing", "gone_x"):
        answer = tooled.ask("POST", "/mcp/call", {"tool": tool, "arguments": {}})
        assert answer.status == 404, answer.content
    act = acts(tooled)[1]
    assert act["target"] == "asks_greet"
    assert json.loads(act["detail"]) == {"arguments": {"name": EVIL}, "approved": True}
    ends_at = time.monotonic() + 5
    while True:
        rows = tooled.ask("GET", "/requests?client=mcp").json()["requests"]
        if len(rows) >= 2:
            break
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    assert {row["key"] for row in rows} == {"console: the operator", "console: the owner"}


def test_a_gateway_without_servers_has_no_tools(served: Served) -> None:
    assert served.ask("GET", "/mcp").json() == {"servers": [], "tools": []}
    answer = served.ask("POST", "/mcp/call", {"tool": "a_b", "arguments": {}})
    assert answer.status == 400


def test_a_chat_calls_a_servers_tool_by_itself(tooled: Served, trying: Browser) -> None:
    page = trying
    connect(page, "free")
    page.fill("Message", "Greet Kim (김).")
    page.click("Send")
    page.wait_for("document.querySelectorAll('.message').length >= 4", deadline_s=20)
    words = page.evaluate("document.querySelector('[role=log]').innerText")
    assert "free_greet(" in words
    assert "안녕하세요" in words
    assert page.evaluate("window.evil") is None
    assert page.errors == []


def test_a_person_allows_or_denies_what_needs_a_word(tooled: Served, trying: Browser) -> None:
    page = trying
    connect(page, "asks")
    before = len(acts(tooled))
    page.fill("Message", "Greet Kim (김).")
    page.click("Send")
    page.click("Deny asks_greet")
    page.wait_for("document.querySelectorAll('.message').length >= 4", deadline_s=20)
    assert len(acts(tooled)) == before
    page.click("Begin again")
    page.fill("Message", "Greet Kim (김).")
    page.click("Send")
    page.wait_for(
        "[...document.querySelectorAll('button')].some(b => b.textContent === 'Allow asks_greet')",
        deadline_s=20,
    )
    # Before the call has its result there is nothing more to send.
    assert page.evaluate(
        "[...document.querySelectorAll('button')].find(b => b.textContent === 'Send').disabled"
    )
    page.click("Allow asks_greet")
    page.wait_for("document.querySelector('[role=log]').innerText.includes('안녕하세요')")
    assert len(acts(tooled)) == before + 1
    assert page.errors == []


# Digits that a browser's numbers do not have, and characters that nobody sees.
GIVEN = '{"account": 12345678901234567890, "amount": 0.10000000000000000555, "to": "a\\u202eb"}'
FAKED = """
(() => {
  const real = window.fetch, streams = %s;
  window.sent = [];
  window.fetch = (url, options) => {
    if (String(url).endsWith("/mcp/call")) {
      window.sent.push(options.body);
      return Promise.resolve(new Response('{"text": "done"}'));
    }
    if (String(url).includes("/try/")) return Promise.resolve(new Response(streams.shift()));
    return real(url, options);
  };
})()
"""


@pytest.mark.parametrize("given", [GIVEN, '{"ids": [9007199254740993, -0.0, 1e400]}'])
def test_a21_what_was_shown_and_allowed_is_what_is_sent(trying: Browser, given: str) -> None:
    page = trying
    connect(page, "asks")
    call = {"index": 0, "id": "c", "function": {"name": "asks_greet", "arguments": given}}
    deltas = [{"content": "pay \u202e\u200bnothing"}, {"tool_calls": [call]}]
    streams = [
        "".join(f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n" for delta in deltas),
        'data: {"choices": [{"delta": {"content": "ended"}}]}\n\n',
    ]
    page.evaluate(FAKED % json.dumps(streams))
    page.fill("Message", "Pay.")
    page.click("Send")
    page.click("Allow asks_greet")
    page.wait_for("document.querySelector('[role=log]').innerText.includes('ended')")
    (sent,) = page.evaluate("window.sent")
    assert sent.partition('"arguments":')[2] == given + "}"
    shown = page.evaluate("document.querySelector('[role=log]').innerText")
    assert given in shown
    assert "pay \\u202e\\u200bnothing" in shown
    assert page.errors == []


def streamed(*calls: dict[str, Any]) -> str:
    """A stream of Chat Completions with these calls, an event each."""
    deltas = [{"choices": [{"delta": {"tool_calls": [call]}}]} for call in calls]
    return "".join(f"data: {json.dumps(each)}\n\n" for each in deltas)


def named(index: Any, name: str = "give", given: str = "{}") -> dict[str, Any]:
    return {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": given}}


@pytest.mark.parametrize(
    "indexes", [[4294967294, 0], [2**53], ["length", "__proto__"], [-1, 0.5], [None, 3]]
)
def test_a_call_of_any_index_is_shown_as_it_came(trying: Browser, indexes: list[Any]) -> None:
    page = trying
    parts = [named(index, "", "1}") for index in reversed(indexes)]
    calls = [named(index, f"give{place}", '{"a":') for place, index in enumerate(indexes)]
    page.evaluate(FAKED % json.dumps([streamed(*calls, *parts)]))
    page.fill("Message", "Call.")
    page.click("Send")
    page.wait_for("[...document.querySelectorAll('label')].some(l => l.innerText.includes('give'))")
    shown = page.evaluate("[...document.querySelectorAll('.message pre')].map(p => p.textContent)")
    assert shown == [f'give{place}({{"a":1}})' for place in range(len(indexes))]
    assert page.errors == []


def test_calls_without_end_end_with_an_error(trying: Browser) -> None:
    page = trying
    page.evaluate(FAKED % json.dumps([streamed(*map(named, range(600)))]))
    page.fill("Message", "Call.")
    page.click("Send")
    page.wait_for("document.querySelector('.notice.error')")
    assert page.evaluate("document.querySelector('.notice.error').innerText") == (
        "The model made too many calls."
    )
    assert page.evaluate("document.querySelectorAll('.message pre').length") == 500
    assert page.errors == []


@pytest.mark.slow
def test_the_code_runs_and_says_the_same(tooled: Served, trying: Browser, tmp_path: Path) -> None:
    """Each language that runs here, with instructions, tools, a call and its result."""
    page = trying
    connect(page, "free")
    page.fill("Instructions", "Say \"hello\", and \\'bye\\' for $5.")
    page.fill("Message", "Greet Kim (김).")
    page.click("Send")
    page.wait_for("document.querySelectorAll('.message').length >= 4", deadline_s=20)
    page.wait_for("document.querySelectorAll('.message a').length >= 2", deadline_s=20)
    page.fill("Message", "And now Lee, please: true, false, null?")
    names = page.evaluate(
        "[...[...document.querySelectorAll('label')].find(l => l.textContent.startsWith("
        "'Language')).querySelectorAll('option')].map(o => o.value)"
    )
    ran = 0
    for name in names:
        page.fill("Language", name)
        code = page.evaluate("[...document.querySelectorAll('main > pre')].pop().textContent")
        for words in ("Greet Kim (김).", "free_greet", "안녕하세요"):
            assert words in code, (name, words)
        command = ["bash", "-c", code] if name == "curl" else [sys.executable, "-c", code]
        if name.startswith("JavaScript"):
            continue
        settings = "\n".join(
            line.removeprefix("#").strip() for line in code.splitlines() if line.startswith("#")
        )
        (tmp_path / "polycall.toml").write_text(settings.partition("\n")[2], encoding="utf-8")
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "POLYCALL_KEY": KEY},
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (name, code, done.stderr[-2000:])
        await_row(tooled, PROTOCOLS[name])
        ran += 1
    assert ran >= 5
