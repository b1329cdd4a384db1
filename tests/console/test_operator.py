"""An operator's day at the console: by keyboard, over a slow line, through ends and restarts."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.console.browser import Browser
from tests.console.conftest import Served, serve
from tests.console.test_page import ask, axe
from tests.gateway.harness import sim_config

__all__ = ["axe"]

pytestmark = pytest.mark.slow

NAMES = ("👩‍💻 김영희", "naïve–κλειδί", "a/b?c#d&e=f%25", "\u202eevil", "مفتاح")
LOOKS = list(itertools.product((380, 1280), ("light", "dark"), ("en", "ko")))
PLACES = ("now", "requests", "keys", "providers", "runs", "try", "people")


@pytest.fixture(scope="module")
def office(console_sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway of two workers."""
    folder = tmp_path_factory.mktemp("office")
    more = '[server]\nworkers = 2\n[admin.content]\nrole = "reader"\n'
    made = serve(folder, sim_config(console_sim, more))
    for _ in range(6):
        ask(made)
    yield made
    assert made.gateway.stop() == 0, made.gateway.log
    assert "Traceback" not in made.gateway.log


def enter(page: Browser, served: Served, name: str = "") -> None:
    words = ("console", "--url", served.gateway.url, "--json")
    link = served.command(*words, *(("--name", name) if name else ()))["link"]
    page.call("Network.emulateNetworkConditions", **LINE)
    page.look(1280, "light")
    page.errors.clear()
    page.open("about:blank")
    page.open(link)
    page.wait_for("document.querySelector('h1')?.textContent === 'Now'")


LINE = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


def serious(page: Browser) -> list[str]:
    """What the console of the browser says, but for answers that an operator was told of."""
    return [each for each in page.errors if "Failed to load resource" not in each]


def h1(page: Browser, words: str, deadline_s: float = 15) -> None:
    page.wait_for(
        f"document.querySelector('h1')?.textContent === {json.dumps(words)}", deadline_s=deadline_s
    )


def type_in(page: Browser, text: str) -> None:
    page.call("Input.insertText", text=text)


def tab_to(page: Browser, words: str) -> None:
    """Press Tab until the element of these words has the focus."""
    for _ in range(80):
        page.press("Tab", 9)
        found = page.evaluate(
            "(e => [e.textContent, e.name, e.getAttribute('aria-label')])(document.activeElement)"
        )
        if words in found:
            return
    raise AssertionError(f"Tab does not reach {words!r}")


def enter_key(page: Browser) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key="Enter",
            code="Enter",
            text="\r" if kind == "keyDown" else "",
            windowsVirtualKeyCode=13,
        )


def test_a_key_is_made_by_the_keyboard_alone(office: Served, page: Browser) -> None:
    enter(page, office)
    tab_to(page, "Keys and teams")
    enter_key(page)
    h1(page, "Keys and teams")
    page.wait_for("document.querySelector('main button')")
    tab_to(page, "Create a key")
    enter_key(page)
    page.wait_for("document.querySelector('dialog[open]')")
    assert page.evaluate("document.activeElement.name") == "name"
    type_in(page, "by keyboard")
    tab_to(page, "owner")
    type_in(page, "김")
    enter_key(page)
    page.wait_for("document.querySelector('[data-testid=secret]')")
    enter_key(page)
    page.wait_for("!document.querySelector('dialog')")
    names = [key["name"] for key in office.ask("GET", "/keys").json()["keys"]]
    assert "by keyboard" in names
    assert serious(page) == []


def test_names_in_any_letters_are_shown_searched_and_changed(office: Served, page: Browser) -> None:
    made = []
    for name in NAMES:
        answer = office.ask("POST", "/keys", {"name": name})
        if name.isprintable() or "\u200d" in name:
            assert answer.status == 200, (name, answer.content)
            made.append((name, answer.json()["key"]))
        else:
            assert answer.status == 400
    assert len(made) >= 4
    for _, key in made:
        ends_at = time.monotonic() + 5
        while ask(office, key) != 200:
            assert time.monotonic() < ends_at
            time.sleep(0.1)
    enter(page, office)
    for name, _ in made:
        page.go("#/requests")
        page.fill("key", name)
        page.click("Search")
        page.wait_for(
            "[...document.querySelectorAll('tbody tr')].length > 0 && "
            "[...document.querySelectorAll('tbody tr')].every("
            f"r => r.children[1].textContent === {json.dumps(name)})"
        )
        page.go("#/keys")
        page.click(f"Limit {name}")
        page.fill("requests_per_minute", "77")
        page.click("Save", "dialog")
        page.wait_for(
            "[...document.querySelectorAll('main tr')]"
            f".find(r => r.textContent.includes({json.dumps(name)}))?.textContent.includes('77')"
        )
    assert serious(page) == []


def test_a_reader_who_clicks_everything_changes_nothing(office: Served, page: Browser) -> None:
    enter(page, office, "the reader")
    before = office.ask("GET", "/audit").json()["acts"][0]["number"]
    request = office.ask("GET", "/requests").json()["requests"][0]["id"]
    page.evaluate(
        "window.refused = 0; const plain = fetch; window.fetch = async (...a) => { const r = await "
        "plain(...a); if (r.status === 403) window.refused++; return r; }; 0"
    )
    clicked = 0
    for place in (*PLACES, f"requests/{request}"):
        page.go(f"#/{place}")
        page.wait_for("document.getElementById('main').children.length > 1")
        clicked += page.evaluate(
            "(all => { for (const one of all) one.click(); return all.length; })"
            "([...document.querySelectorAll('main button')])"
        )
        time.sleep(0.5)
        page.evaluate("document.querySelectorAll('dialog').forEach(d => d.close()); 0")
    assert clicked >= 5
    assert page.evaluate("window.refused") == 0
    assert office.ask("GET", "/audit").json()["acts"][0]["number"] == before
    assert serious(page) == []


def test_over_a_slow_line_pages_do_not_mix(office: Served, page: Browser) -> None:
    enter(page, office)
    page.call("Network.emulateNetworkConditions", **{**LINE, "latency": 700})
    for place in ("requests", "keys", "providers", "people", "runs", "now", "keys"):
        page.evaluate(f"location.hash = '#/{place}'; 0")
        time.sleep(0.1)
    page.wait_for("document.querySelector('main table')", deadline_s=30)
    time.sleep(3)
    headings = page.evaluate("[...document.querySelectorAll('h1')].map(h => h.textContent)")
    assert headings == ["Keys and teams"]
    assert page.evaluate("document.querySelectorAll('main figure, main form').length") == 0
    # A button that is pressed twice does it once.
    page.call("Network.emulateNetworkConditions", **LINE)
    page.click("Create a key")
    page.fill("name", "pressed twice")
    page.call("Network.emulateNetworkConditions", **{**LINE, "latency": 700})
    page.evaluate(
        "(b => { b.click(); b.click(); })(document.querySelector('dialog button.main')); 0"
    )
    page.wait_for("document.querySelector('[data-testid=secret]')", deadline_s=30)
    assert page.evaluate("document.querySelectorAll('dialog').length") == 1
    page.call("Network.emulateNetworkConditions", **LINE)
    assert serious(page) == []


def test_a_session_that_ends_asks_for_a_sign_in_and_goes_on_after_it(
    office: Served, page: Browser
) -> None:
    enter(page, office)
    page.go("#/keys")
    page.wait_for("document.querySelector('main table')")
    database = sqlite3.connect(office.gateway.folder / "polycall.db", timeout=10)
    database.execute("UPDATE admin_tokens SET expires = 1 WHERE kind = 'session'")
    database.commit()
    database.close()
    page.click("Create a key")
    page.fill("name", "too late")
    page.click("Create", "dialog")
    h1(page, "Sign in")
    names = [key["name"] for key in office.ask("GET", "/keys").json()["keys"]]
    assert "too late" not in names
    assert page.evaluate("document.querySelector('dialog')") is None
    link = office.link()
    page.evaluate(f"location.href = {json.dumps(link)}; 0")
    h1(page, "Now")
    assert serious(page) == []


def test_two_tabs_are_one_session(office: Served, page: Browser) -> None:
    enter(page, office)
    page.go("#/keys")
    first = page.session
    target = page.call("Target.createTarget", url=office.gateway.url + "/console#/keys")
    page.session = ""
    made = page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page.session = made["sessionId"]
    try:
        page.call("Runtime.enable")
        h1(page, "Keys and teams")
        page.click("Create a key")
        page.fill("name", "of the second tab")
        page.click("Create", "dialog")
        page.wait_for("document.querySelector('[data-testid=secret]')")
        page.click("Close", "dialog")
        page.click("Sign out")
        h1(page, "Sign in")
    finally:
        page.session = first
        page.call("Target.closeTarget", targetId=target["targetId"])
        page.call("Page.bringToFront")
    page.evaluate("location.hash = '#/people'; 0")
    h1(page, "Sign in")
    assert "of the second tab" in office.ask("GET", "/keys").content.decode()


def test_both_workers_show_the_same(office: Served) -> None:
    for _ in range(4):
        ask(office)
    ends_at = time.monotonic() + 10
    while True:
        time.sleep(1)
        seen = [office.ask("GET", "/live").json()["requests"] for _ in range(12)]
        rows = [len(office.ask("GET", "/requests?limit=200").json()["requests"]) for _ in range(4)]
        if len(set(seen)) == 1 and len(set(rows)) == 1:
            break
        assert time.monotonic() < ends_at, (seen, rows)
    workers = {row["worker"] for row in office.ask("GET", "/requests").json()["requests"]}
    assert len(workers) >= 1


def test_the_page_goes_on_after_a_restart(
    console_sim: Simulation, tmp_path: Path, page: Browser
) -> None:
    served = serve(tmp_path, sim_config(console_sim))
    port = served.gateway.port
    try:
        enter(page, served)
        page.wait_for("document.querySelector('.tile')")
        served.gateway.kill()
        page.wait_for("document.querySelector('main [role=alert]')")
        served.gateway.start(port)
        ask(served)
        page.wait_for("!document.querySelector('main [role=alert]')", deadline_s=20)
        page.wait_for("document.querySelectorAll('.tile dd')[1].textContent === '1'")
        h1(page, "Now")
        page.go("#/keys")
        page.wait_for("document.querySelector('main table')")
        assert serious(page) == []
    finally:
        assert served.gateway.stop() == 0


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_in_every_look(
    office: Served, page: Browser, axe: str, look: tuple[int, str, str], tmp_path: Path
) -> None:
    width, scheme, language = look
    enter(page, office)
    served: Any = office.ask("GET", "/requests?limit=1").json()["requests"][0]["id"]
    page.evaluate(f"localStorage.setItem('polycall.language', {json.dumps(language)}); 0")
    try:
        page.look(width, scheme)
        page.call("Page.reload")
        page.wait_for(
            f"document.querySelector('h1') && document.documentElement.lang === '{language}'"
        )
        page.evaluate(axe)
        for place in (*PLACES, f"requests/{served}"):
            page.go(f"#/{place}")
            page.wait_for("document.getElementById('main').children.length > 1")
            time.sleep(0.3)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place
            found = page.evaluate(
                "axe.run({resultTypes: ['violations']}).then(r => r.violations.map(v => v.id + "
                "': ' + v.nodes.map(n => n.html + n.failureSummary).slice(0, 3).join(' | ')))"
            )
            assert found == [], (place, found)
            page.picture(tmp_path / f"{place.partition('/')[0]}-{width}-{scheme}-{language}.png")
        assert serious(page) == []
    finally:
        page.evaluate("localStorage.removeItem('polycall.language'); 0")
