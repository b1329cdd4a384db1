"""The administration's API: who may do what, and that it does it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from polycall.admin.people import ROLES as ALL_ROLES
from polycall.admin.routes import ROUTES, Route
from polycall.sim import Simulation
from tests.console.conftest import ROLES, Served, serve
from tests.gateway.harness import KEY, Answer, Gateway, sim_config

BODY = {"model": "up-chat/sim-1", "messages": [{"role": "user", "content": "hi"}]}


def path_of(route: Route) -> str:
    return (
        route.path.replace("{rest}", "/v1/chat/completions")
        .replace("{", "no-such-")
        .replace("}", "")
        .removeprefix("/admin/v1")
    )


def message(answer: Answer) -> str:
    return answer.json()["error"]["message"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_refuses_strangers_clients_and_small_roles(
    served: Served, route: Route
) -> None:
    path = f"/admin/v1{path_of(route)}"
    if not route.role:
        answer = served.gateway.request(route.method, path, {"link": "x"}, key=None)
        assert answer.status in (401, 404, 429) or answer.json() == {"openid": None}
        assert "set-cookie" not in answer.headers
        return
    body: Any = None if route.method == "GET" else {}
    assert served.gateway.request(route.method, path, body, key=None).status == 401
    assert served.gateway.request(route.method, path, body, key=KEY).status in (401, 429)
    for role in ROLES[: ALL_ROLES.index(route.role)]:
        answer = served.gateway.request(route.method, path, body, key=served.keys[role])
        assert answer.status == 403, answer.content
        assert "takes the role" in message(answer)
    answer = served.gateway.request(route.method, path, body, key=served.keys[route.role])
    assert answer.status in (200, 400, 404), answer.content
    for name in ("content-security-policy", "x-frame-options", "x-content-type-options"):
        assert name in answer.headers


def test_a_clients_routes_refuse_an_administrators_key(served: Served) -> None:
    answer = served.gateway.request("POST", "/v1/chat/completions", BODY, key=served.keys["owner"])
    assert answer.status == 401


def test_a_key_is_made_used_limited_rotated_and_revoked(served: Served) -> None:
    made = served.ask("POST", "/keys", {"name": "alice", "models": ["up-chat/*"]}, "operator")
    key = made.json()["key"]
    assert made.json()["status"] == "active"
    listed = served.ask("GET", "/keys", role="reader")
    assert key not in listed.content.decode()
    assert await_status(served, key, 200)
    changed = served.ask("PATCH", "/keys/alice", {"models": ["fast"], "budget_usd": "1.50"})
    assert (changed.json()["models"], changed.json()["budget_usd"]) == (["fast"], "1.50")
    assert await_status(served, key, 403)
    served.ask("PATCH", "/keys/alice", {"models": [], "budget_usd": None})
    rotated = served.ask("POST", "/keys/alice/rotate", {"grace_s": 0}).json()
    assert await_status(served, rotated["key"], 200)
    assert await_status(served, key, 401)
    assert served.ask("POST", "/keys/alice/revoke", {}).json()["status"] == "revoked"
    assert await_status(served, rotated["key"], 401)


def await_status(served: Served, key: str, status: int, **changes: Any) -> Answer:
    ends_at = time.monotonic() + 5
    while True:
        answer = served.gateway.request(
            "POST", "/v1/chat/completions", {**BODY, **changes}, key=key
        )
        if answer.status == status:
            return answer
        assert time.monotonic() < ends_at, (answer.status, answer.content)
        time.sleep(0.1)


def test_a_team_bounds_its_keys_together(served: Served) -> None:
    team = {"name": "검색팀", "requests_per_minute": 3}
    assert served.ask("POST", "/teams", team).json()["status"] == "active"
    keys = [
        served.ask("POST", "/keys", {"name": f"member-{n}", "team": "검색팀"}).json()["key"]
        for n in (1, 2)
    ]
    await_status(served, keys[0], 200)
    await_status(served, keys[1], 200)
    answers = [
        served.gateway.request("POST", "/v1/chat/completions", BODY, key=keys[n % 2])
        for n in range(3)
    ]
    statuses = sorted(answer.status for answer in answers)
    assert statuses[-1] == 429, statuses
    refused = next(answer for answer in answers if answer.status == 429)
    assert "the team '검색팀' may make 3 requests a minute" in message(refused)
    found = served.ask("GET", "/requests?team=%EA%B2%80%EC%83%89%ED%8C%80").json()["requests"]
    assert {row["key"] for row in found} <= {"member-1", "member-2"}
    team_id = served.ask("GET", "/teams").json()["teams"][0]["id"]
    assert served.ask("POST", f"/teams/{team_id}/end", {}).json()["status"] == "ended"
    await_status(served, keys[0], 401)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "'name' is missing"),
        ({"name": " a "}, "cannot be a name"),
        ({"name": "a", "models": "all"}, "Expected `array`"),
        ({"name": "a", "requests_per_minute": 0}, "is from 1 to"),
        ({"name": "a", "requests_per_minute": True}, "Expected `int | null`"),
        ({"name": "a", "budget_usd": "NaN"}, "is dollars above 0"),
        ({"name": "a", "budget_usd": 1e300}, "is dollars above 0"),
        ({"name": "a", "budget_per": "year"}, "one of day, week, month, total"),
        ({"name": "a", "expires": "2020-01-01"}, "a moment to come"),
        ({"name": "a", "team": "nobody"}, "no team is called 'nobody'"),
        ({"name": "a", "colour": "red"}, "unknown field `colour`"),
        ([], "Expected `object`"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"name": "a"' + b" " * 300_000 + b"}", "larger than"),
    ],
)
def test_bad_bodies_are_refused_by_name(served: Served, body: Any, said: str) -> None:
    answer = served.ask("POST", "/keys", body)
    assert answer.status in (400, 413), answer.content
    assert said in message(answer)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/requests?colour=red", "is no parameter here"),
        ("/requests?status=abc", "status is a number"),
        ("/requests?limit=1e9", "whole number"),
        ("/requests?limit=nan", "limit is a number"),
        ("/requests?after=zzz", "is no cursor"),
        ("/requests?since=soon", "is seconds, a date or a time"),
        ("/requests?text=" + "a" * 400, "at most 300"),
        ("/usage?by=colour", "cannot sum by"),
        ("/usage?every_s=0", "are not 1 to 500 points"),
        ("/usage?since=0&every_s=1", "are not 1 to 500 points"),
        ("/requests/nothing", "there is no request 'nothing'"),
        ("/runs?state=odd", "state is one of"),
        ("/keys/nobody", "no key is called"),
    ],
)
def test_bad_queries_are_refused_by_name(served: Served, path: str, said: str) -> None:
    answer = served.ask("GET", path, role="reader")
    assert answer.status in (400, 404), answer.content
    assert said in message(answer)


def test_the_search_finds_by_each_filter_and_pages_by_cursor(served: Served) -> None:
    key = served.ask("POST", "/keys", {"name": "seeker"}).json()["key"]
    await_status(served, key, 200)
    for _ in range(4):
        await_status(served, key, 200)
    await_status(served, key, 404, model="up-chat/gpt-none")
    await_status(served, key, 200, model="up-anthropic/sim-1", seed=7)  # Anthropic has no seed
    ends_at = time.monotonic() + 5
    while len(rows := found(served, "key=seeker")) < 7:
        assert time.monotonic() < ends_at, rows
        time.sleep(0.1)
    assert [row["created"] for row in rows] == sorted((r["created"] for r in rows), reverse=True)
    assert [row["status"] for row in found(served, "key=seeker&status=404")] == [404]
    assert {row["outcome"] for row in found(served, "key=seeker&failed=true")} == {"error"}
    (warned,) = found(served, "key=seeker&warned=true")
    assert warned["provider"] == "up-anthropic"
    (worded,) = found(served, "key=seeker&text=GPT-None")
    assert worded["status"] == 404
    assert found(served, "key=seeker&text=100%25") == []
    assert found(served, "key=seeker&cost_min=1000") == []
    assert len(found(served, "key=seeker&model=sim-1")) == 6
    assert found(served, "key=seeker&since=-3600&until=-1800") == []
    pages, after = list[str](), ""
    while True:
        page = served.ask("GET", f"/requests?key=seeker&limit=3&after={after}").json()
        pages += [row["id"] for row in page["requests"]]
        after = page["next"]
        if after is None:
            break
    assert pages == [row["id"] for row in rows]
    one = served.ask("GET", f"/requests/{warned['id']}", role="reader").json()
    assert [w["feature"] for w in one["details"]["warnings"]] == ["seed"]
    assert [span["kind"] for span in one["timeline"]] == ["waiting", "answer"]
    points = served.ask("GET", "/usage?by=key&key=seeker&since=-600&every_s=300").json()["points"]
    assert sum(point["requests"] for point in points) == 7
    assert {tuple(point["group"]) for point in points} == {("seeker",)}


def found(served: Served, query: str) -> list[Any]:
    return served.ask("GET", f"/requests?{query}").json()["requests"]


def test_keys_of_a_running_gateway_from_the_command_line(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYCALL_ADMIN_KEY", served.keys["operator"])
    url = served.gateway.url
    made = served.command(
        "keys",
        "create",
        "원격 1/2 100%25",
        "--gateway",
        url,
        "--json",
        "--requests-per-minute",
        "50",
    )
    assert (made["name"], made["requests_per_minute"]) == ("원격 1/2 100%25", 50)
    await_status(served, made["key"], 200)
    names = [key["name"] for key in served.command("keys", "list", "--gateway", url, "--json")]
    assert "원격 1/2 100%25" in names
    shown = served.command("keys", "show", "원격 1/2 100%25", "--gateway", url, "--json")
    assert "key" not in shown
    served.command("keys", "revoke", "원격 1/2 100%25", "--gateway", url, "--json")
    acts = served.ask("GET", "/audit").json()["acts"]
    assert [(act["action"], act["actor"], act["via"]) for act in acts[:2]] == [
        ("key.revoke", "the operator", "key"),
        ("key.create", "the operator", "key"),
    ]


def test_the_audit_log_is_append_only_and_shows_tampering(served: Served) -> None:
    before = served.ask("GET", "/audit/check").json()
    assert before == {"whole": True, "problem": ""}
    database = sqlite3.connect(served.gateway.folder / "polycall.db")
    try:
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)
    finally:
        database.close()


def test_the_openapi_document_has_every_route(served: Served) -> None:
    paths = served.gateway.request("GET", "/openapi.json").json()["paths"]
    for route in ROUTES:
        operation = paths[route.path][route.method.lower()]
        assert operation["x-polycall-role"] == (route.role or "nobody")
        assert "$ref" not in json.dumps(operation)


def test_trying_a_model_is_a_row_under_the_administrators_name(served: Served) -> None:
    answer = served.ask("POST", "/try/v1/chat/completions", BODY, "operator")
    assert answer.json()["choices"][0]["message"]["content"]
    assert served.ask("POST", "/try/v1/nothing", BODY, "operator").status == 404
    ends_at = time.monotonic() + 5
    while not found(served, "key=console:%20the%20operator"):
        assert time.monotonic() < ends_at
        time.sleep(0.1)


def test_serve_prints_a_link_that_opens_the_console(
    console_sim: Simulation, tmp_path: Path
) -> None:
    class Announcing(Gateway):
        def command(self, port: int) -> list[str]:
            return [*super().command(port), "--console"]

        def second_line(self) -> str:
            assert self._process is not None
            assert self._process.stdout is not None
            return self._process.stdout.readline()

    gateway = Announcing(tmp_path, sim_config(console_sim))
    gateway.start()
    try:
        link = gateway.second_line().strip()
        url, _, secret = link.removeprefix("console: ").partition("/console#link=")
        assert url == gateway.url
        answer = gateway.request("POST", "/admin/v1/sign-in", {"link": secret}, key=None)
        assert answer.json() == {"name": "owner", "role": "owner"}
    finally:
        assert gateway.stop() == 0


def reading_processes(pid: int) -> list[Path]:
    """What reads the ledger for the workers below a process."""
    found: list[Path] = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        found += [Path(f"/proc/{child}")] if b"reader_main" in command else []
        found += reading_processes(int(child))
    return found


def test_workers_search_in_processes_that_end_with_the_gateway(
    console_sim: Simulation, tmp_path: Path
) -> None:
    served = serve(tmp_path, sim_config(console_sim, "[server]\nworkers = 2\n"))
    gateway = served.gateway
    assert gateway.post("/v1/chat/completions", BODY).status == 200
    assert reading_processes(gateway.pid) == []  # none before somebody looks
    found: list[Any] = []
    for _ in range(60):  # a row is written a moment later
        found = served.ask("GET", "/requests").json()["requests"]
        if found and len(reading_processes(gateway.pid)) == 2:
            break
        time.sleep(0.05)
    assert [row["outcome"] for row in found] == ["ok"]
    readers = reading_processes(gateway.pid)
    assert len(readers) == 2
    for reader in readers:  # a socket that it kept open would outlive the gateway
        inodes = {os.readlink(fd) for fd in (reader / "fd").iterdir()}
        listening = (reader / "net/tcp").read_text().splitlines()[1:]
        assert not [line for line in listening if f"socket:[{line.split()[9]}]" in inodes]
    gateway.signal(signal.SIGKILL)
    for _ in range(200):
        if not any((reader / "exe").exists() for reader in readers):
            break
        time.sleep(0.05)
    assert not any((reader / "exe").exists() for reader in readers)
    gateway.kill()
