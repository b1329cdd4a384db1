"""The console in a real browser: every page, both sizes and colours, what people do there."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from polycall import Agent
from polycall.durable import Durable
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel
from polycall.tools import tool
from tests.console.browser import Browser
from tests.console.conftest import Served
from tests.gateway.harness import KEY
from tests.packages import from_npm

DOCS = Path(__file__).parents[2] / "docs"
PAGE = Path(__file__).parents[2] / "src" / "polycall" / "admin" / "page"
PLACES = ("now", "requests", "keys", "providers", "runs", "try", "people")
EVIL = '<img src=x onerror="window.evil=1">\'"</script><script>window.evil=1</script>'
BODY = {"model": "up-chat/sim-1", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> str:
    """axe-core, from the registry into pytest's cache on first use."""
    script = "axe-core/axe.min.js"
    folder = from_npm(request, "axe", "axe-core@4", has=script)
    return (folder / "node_modules" / script).read_text("utf-8")


@pytest.fixture(scope="module")
def run_waits(served: Served) -> Iterator[list[Any]]:
    """A durable run of another process' agent, which waits for a person; gives its results."""
    paid: list[Any] = []

    @tool(needs_approval=True)
    async def refund(amount: int, note: str) -> str:
        """Pay back."""
        paid.append(amount)
        return f"{amount} paid"

    calls = [ToolCall("a", "refund", json.dumps({"amount": 400, "note": EVIL}))]
    over = threading.Event()

    async def work() -> None:
        model = ScriptedModel([calls, "It is on its way."])
        if model:
            agent = Agent("test/m", name="desk", tools=[refund], client=model)
            url = f"sqlite:///{served.gateway.folder / 'runs.db'}"
            async with Durable(url, agents=[agent], poll_s=0.05) as here:
                await here.start("desk", f"my teapot is broken {EVIL}", run_id="r1")
                await asyncio.to_thread(over.wait, 120)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    yield paid
    over.set()
    thread.join(30)


@pytest.fixture(scope="module")
def signed_in(served: Served, page: Browser) -> Browser:
    """The page after the link was used, with some requests in the ledger."""
    gateway = served.gateway
    page.look(1280, "light")
    page.open(gateway.url + "/console")
    page.wait_for("document.body.innerText.includes('polycall console')")
    assert page.errors == []
    ask(served)
    ask(served, model=f"up-chat/{EVIL}")
    ask(served, model="up-anthropic/sim-1", seed=7)
    served.ask("POST", "/keys", {"name": EVIL[:100], "owner": EVIL, "models": [EVIL]})
    page.open(served.link())
    page.wait_for("document.querySelector('h1')?.textContent === 'Now'")
    assert page.evaluate("location.href") == gateway.url + "/console#/now"
    return page


def ask(served: Served, key: str = KEY, **body: Any) -> int:
    return served.gateway.request("POST", "/v1/chat/completions", {**BODY, **body}, key=key).status


def test_the_whole_page_is_small_and_builds_no_html_of_text() -> None:
    files = list(PAGE.iterdir())
    assert sum(path.stat().st_size for path in files) < 150_000
    for path in files:
        text = path.read_text("utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
            assert word not in text, (path.name, word)
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "").replace(
            "http://127", ""
        )


def test_a_link_works_once(served: Served, signed_in: Browser) -> None:
    link = served.link().rpartition("link=")[2]
    first = served.gateway.request("POST", "/admin/v1/sign-in", {"link": link}, key=None)
    again = served.gateway.request("POST", "/admin/v1/sign-in", {"link": link}, key=None)
    assert (first.status, again.status) == (200, 401)


def test_odd_addresses_and_long_names_break_no_page(served: Served, signed_in: Browser) -> None:
    page = signed_in
    page.errors.clear()
    for place in ("#/%", "#/%E0%A4%A", "#/no-such-page/<script>", "#/now/%/x"):
        page.go("#/keys")
        page.go(place)
        page.wait_for("document.querySelector('h1').textContent === 'Now'")
    assert page.errors == []
    ask(served, model="up-chat/" + "아주-긴-이름-" * 30)
    ends_at = time.monotonic() + 5
    path = f"/requests?model={quote('아주-긴-이름-' * 30)}"
    while not (found := served.ask("GET", path).json())["requests"]:
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    page.look(380, "light")
    page.go(f"#/requests/{found['requests'][0]['id']}")
    page.wait_for("document.querySelector('.waterfall')")
    ends = "[...document.querySelectorAll('.waterfall text')].map(t => t.getBBox().width)"
    assert max(page.evaluate(ends)) <= 480
    page.look(1280, "light")
    page.go("#/now")


def test_every_page_in_both_sizes_colours_and_languages(
    served: Served, signed_in: Browser, run_waits: list[Any], axe: str, tmp_path: Path
) -> None:
    page = signed_in
    page.wait_for("fetch('/admin/v1/runs').then(r => r.json()).then(a => a.runs.length)")
    request = served.ask("GET", "/requests?warned=true").json()["requests"][0]["id"]
    page.evaluate(axe)
    pictures = DOCS if os.environ.get("POLYCALL_DRAW") else tmp_path
    for place in (*PLACES, f"requests/{request}", "runs/r1"):
        for width, scheme in ((1280, "light"), (380, "dark")):
            page.look(width, scheme)
            page.go(f"#/{place}")
            page.wait_for("document.getElementById('main').children.length > 1")
            time.sleep(0.3)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{place} is {wide} px wide at {width}"
            found = page.evaluate(
                "axe.run({resultTypes: ['violations']}).then(r => r.violations.map(v => v.id + "
                "': ' + v.nodes.map(n => n.html + n.failureSummary).slice(0, 3).join(' | ')))"
            )
            assert found == [], (place, width, found)
            name = place.partition("/")[0] + ("-one" if "/" in place else "")
            if (name, width) == ("requests-one", 1280):
                page.picture(pictures / f"console-{name}.png")
    assert page.evaluate("window.evil") is None
    assert page.evaluate("document.querySelector('img, iframe, object')") is None
    page.look(380, "light")
    page.go("#/keys")
    page.evaluate("document.querySelectorAll('header select')[1].value = 'ko'")
    page.evaluate(
        "document.querySelectorAll('header select')[1].dispatchEvent(new Event('change'))"
    )
    page.wait_for("document.querySelector('h1')?.textContent === '키와 팀'")
    assert page.evaluate("document.documentElement.lang") == "ko"
    page.wait_for("document.querySelector('main table')")
    page.evaluate("document.querySelectorAll('header select')[1].value = 'en'")
    page.evaluate(
        "document.querySelectorAll('header select')[1].dispatchEvent(new Event('change'))"
    )
    page.wait_for("document.querySelector('h1')?.textContent === 'Keys and teams'")
    assert page.errors == []
    assert {url.split("#")[0].split("/")[2] for url in page.requests if "://" in url} == {
        f"127.0.0.1:{served.gateway.port}"
    }


def test_every_word_has_korean() -> None:
    import re

    words = (PAGE / "words.js").read_text("utf-8")
    known = set(re.findall(r'"((?:[^"\\]|\\.)*)":', words))
    used: set[str] = set()
    for path in PAGE.glob("*.js"):
        text = path.read_text("utf-8")
        used |= set(re.findall(r'\bt\("((?:[^"\\]|\\.)*)"\)', text))
        for names in re.findall(r"\[((?:\"[^\"]*\",? ?)+)\]\.map\(t\)", text):
            used |= set(re.findall(r'"([^"]*)"', names))
    assert len(used) > 150
    assert used - known == set()


def test_a_key_is_created_and_used(served: Served, signed_in: Browser) -> None:
    page = signed_in
    page.look(1280, "light")
    page.go("#/keys")
    page.click("Create a key")
    page.fill("name", "made 여기")
    page.fill("models", "up-chat/*")
    page.fill("requests_per_minute", "many")
    page.click("Create", "dialog")
    page.wait_for("document.querySelector('dialog [role=alert]')")
    page.fill("requests_per_minute", "100")
    page.click("Create", "dialog")
    key = page.wait_for("document.querySelector('[data-testid=secret]')?.textContent")
    page.click("Close", "dialog")
    page.wait_for("document.querySelector('main table')?.textContent.includes('made 여기')")
    assert key not in page.evaluate("document.body.innerText")
    ends_at = time.monotonic() + 5
    while ask(served, key) != 200:
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    page.click("Revoke made 여기")
    page.click("Revoke", "dialog")
    page.wait_for(
        "[...document.querySelectorAll('main tr')]"
        ".find(r => r.textContent.includes('made 여기'))?.textContent.includes('revoked')"
    )
    assert page.errors == []


def test_the_charts_move_and_are_tables_too(served: Served, signed_in: Browser) -> None:
    page = signed_in
    page.look(1280, "light")
    page.go("#/now")
    line = "document.querySelector('figure path.plot')?.getAttribute('d')"
    before = page.wait_for(line)
    page.evaluate("document.querySelector('figure details').open = true")
    rows = "document.querySelectorAll('figure tbody tr').length"
    page.wait_for(f"{rows} > 10")
    total = (
        "[...document.querySelectorAll('figure:first-child tbody td.n')]"
        ".reduce((sum, one) => sum + +one.textContent, 0)"
    )
    counted = page.evaluate(total)
    for _ in range(5):
        ask(served)
    page.wait_for(f"{total} >= {counted + 5}")
    assert page.evaluate(line) != before
    if os.environ.get("POLYCALL_DRAW"):
        for number in range(150):
            ask(served, model=("up-chat/sim-1", "up-anthropic/sim-1", "up-gemini/none")[number % 3])
            time.sleep(0.02 * (number % 11))
        page.fill("By", "provider")
        page.evaluate("document.querySelector('figure details').open = false")
        time.sleep(3)
        page.picture(DOCS / "console-now.png")
    assert page.errors == []


def test_an_approval_with_edited_arguments(
    served: Served, signed_in: Browser, run_waits: list[Any]
) -> None:
    page = signed_in
    page.go("#/runs/r1")
    page.wait_for("document.querySelector('section textarea')")
    page.evaluate(
        "document.querySelector('section textarea').value = "
        "JSON.stringify({amount: 40, note: 'checked'})"
    )
    page.click("Allow")
    page.wait_for("!document.querySelector('section textarea')")
    ends_at = time.monotonic() + 20
    while run_waits != [40]:
        assert time.monotonic() < ends_at, run_waits
        time.sleep(0.05)
    acts = served.ask("GET", "/audit").json()["acts"]
    act = next(act for act in acts if act["action"] == "run.allow")
    assert json.loads(act["detail"])["arguments"] == {"amount": 40, "note": "checked"}
    assert (act["actor"], act["via"]) == ("the owner", "session")
    assert page.errors == []


def test_a_chat_with_a_tool(signed_in: Browser) -> None:
    page = signed_in
    page.look(1280, "light")
    page.go("#/try")
    page.fill("Model", "up-chat/sim-1")
    page.click("A tool to try")
    page.fill("Message", "What is the weather in Seoul (서울)?")
    page.click("Send")
    page.click("Give the result")
    page.wait_for("document.querySelectorAll('.message').length >= 4", deadline_s=20)
    page.wait_for(
        "[...document.querySelectorAll('.message')].pop().querySelector('.text:nth-of-type(3)')"
        "?.textContent.length > 3"
    )
    page.wait_for("[...document.querySelectorAll('.message a')].length >= 2", deadline_s=20)
    assert "get_weather" in page.evaluate("document.querySelector('.message pre').textContent")
    options = page.evaluate(
        "[...[...document.querySelectorAll('label')].find(l => l.textContent.startsWith("
        "'Language')).querySelectorAll('option')].map(o => o.value)"
    )
    assert len(options) >= 6
    for name in options:
        page.fill("Language", name)
        code = page.evaluate("[...document.querySelectorAll('main > pre')].pop().textContent")
        assert "up-chat/sim-1" in code
        if name.startswith("Python"):
            compile(code, name, "exec")
    if os.environ.get("POLYCALL_DRAW"):
        page.picture(DOCS / "console-try.png")
    assert page.errors == []


def test_the_keyboard_reaches_everything(signed_in: Browser) -> None:
    page = signed_in
    page.look(1280, "light")
    page.go("#/keys")
    page.wait_for("document.querySelector('main button')")
    page.evaluate("document.activeElement.blur()")
    reached: list[str] = []
    for _ in range(40):
        page.press("Tab", 9)
        reached.append(page.evaluate("document.activeElement.textContent.slice(0, 30)"))
    for words in ("Skip to the content", "Now", "Requests", "Sign out", "Create a key"):
        assert words in reached
    page.evaluate("[...document.querySelectorAll('main button')][0].focus()")
    page.press("Enter", 13)
    page.evaluate("[...document.querySelectorAll('main button')][0].click()")
    page.wait_for("document.querySelector('dialog[open]')")
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    page.press("Escape", 27)
    page.wait_for("!document.querySelector('dialog[open]')")


def test_signing_out_ends_the_session(served: Served, signed_in: Browser) -> None:
    page = signed_in
    page.go("#/now")
    page.click("Sign out")
    page.wait_for("document.body.innerText.includes('polycall console')")
    status = page.evaluate("fetch('/admin/v1/me').then(r => r.status)")
    assert status == 401
