"""What attackers of a console try: from other sites, other machines, with old sessions, with -9."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.console.conftest import CommandFailedError, Served, serve
from tests.gateway.harness import KEY, Answer, Gateway, sim_config

PAGE = "/console"
ME = "/admin/v1/me"


def sign_in(served: Served, **headers: str) -> tuple[str, str]:
    """A session's cookie and its token for changes."""
    link = served.link().rpartition("link=")[2]
    body = {"link": link}
    answer = served.gateway.request("POST", "/admin/v1/sign-in", body, key=None, headers=headers)
    assert answer.status == 200, answer.content
    cookie = answer.headers["set-cookie"].partition(";")[0]
    me = served.gateway.request("GET", ME, key=None, headers={"cookie": cookie})
    return cookie, me.json()["csrf"]


@pytest.fixture(scope="module")
def session(served: Served) -> tuple[str, str]:
    return sign_in(served)


def make_key(served: Served, name: str, **headers: str) -> Answer:
    return served.gateway.request(
        "POST", "/admin/v1/keys", {"name": name}, key=None, headers=headers
    )


def test_without_an_administrator_there_is_nothing(console_sim: Simulation, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, sim_config(console_sim)).start()
    try:
        for path in (PAGE, ME, "/admin/v1/keys", "/console/console.js"):
            for key in (None, KEY):
                answer = gateway.request("GET", path, key=key)
                assert answer.status == 404
                assert b" here; /openapi.json says what is" in answer.content
    finally:
        assert gateway.stop() == 0


def test_a_forged_request_of_another_site_changes_nothing(
    served: Served, session: tuple[str, str]
) -> None:
    cookie, csrf = session
    host = f"http://127.0.0.1:{served.gateway.port}"
    forged: list[dict[str, str]] = [
        {"cookie": cookie},  # without the token
        {"cookie": cookie, "x-polycall-csrf": "0" * 64},
        {"cookie": cookie, "x-polycall-csrf": csrf, "origin": "https://evil.example"},
        {"cookie": cookie, "x-polycall-csrf": csrf, "origin": "null"},
        {"cookie": cookie, "x-polycall-csrf": csrf, "origin": host + "0"},
        {"cookie": cookie, "x-polycall-csrf": csrf, "sec-fetch-site": "cross-site"},
        {"cookie": cookie, "x-polycall-csrf": csrf, "sec-fetch-site": "same-site"},
        {"x-polycall-csrf": csrf},  # without the session
        {"cookie": cookie, "x-polycall-csrf": csrf, "content-type": "text/plain"},
        {"cookie": cookie, "x-polycall-csrf": csrf, "content-type": "multipart/form-data"},
    ]
    for headers in forged:
        answer = make_key(served, "forged", **headers)
        assert answer.status in (401, 403, 415, 429), (headers, answer.content)
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        read = served.gateway.request(
            "GET", "/admin/v1/keys", key=None, headers={"cookie": cookie, **headers}
        )
        assert read.status == 403
        assert "access-control-allow-origin" not in read.headers
    names = [key["name"] for key in served.ask("GET", "/keys").json()["keys"]]
    assert "forged" not in names
    good = make_key(served, "meant", cookie=cookie, origin=host, **{"x-polycall-csrf": csrf})
    assert good.status == 200


def test_the_token_of_one_session_is_not_anothers(served: Served, session: tuple[str, str]) -> None:
    cookie, _ = session
    _, other = sign_in(served)
    assert make_key(served, "x", cookie=cookie, **{"x-polycall-csrf": other}).status == 403


def test_a_session_that_was_brought_along_is_not_taken(served: Served) -> None:
    planted = "polycall-console=planted-by-somebody-else"
    cookie, _ = sign_in(served, cookie=planted)
    assert cookie != planted
    answer = served.gateway.request("GET", ME, key=None, headers={"cookie": planted})
    assert answer.status in (401, 429)


def test_the_sessions_cookie_is_strict(served: Served) -> None:
    link = served.link().rpartition("link=")[2]
    answer = served.gateway.request("POST", "/admin/v1/sign-in", {"link": link}, key=None)
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    secret = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    data = (served.gateway.folder / "polycall.db").read_bytes()
    data += (served.gateway.folder / "polycall.db-wal").read_bytes()
    assert secret.encode() not in data
    assert link.encode() not in data


def test_a_page_of_another_site_cannot_frame_it_or_run_scripts(served: Served) -> None:
    answer = served.gateway.request("GET", PAGE, key=None)
    policy = answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    for words in (
        "default-src 'none'",
        "frame-ancestors 'none'",
        "script-src 'self'",
        "require-trusted-types-for 'script'",
        "base-uri 'none'",
    ):
        assert words in policy
    assert "unsafe" not in policy
    assert b"<script>" not in answer.content


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},  # a name that was made to lead to this machine
        {"host": "evil.example:8080"},
        {"host": "localhost.evil.example"},
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"x-real-ip": "10.0.0.1"},
        {"via": "1.1 proxy"},
    ],
    ids=str,
)
def test_it_is_not_there_for_other_machines(served: Served, headers: dict[str, str]) -> None:
    for path in (PAGE, ME):
        answer = served.gateway.request("GET", path, key=served.keys["owner"], headers=headers)
        assert answer.status == 404, headers


def test_wrong_keys_and_links_are_slowed_down_and_good_ones_are_not(
    console_sim: Simulation, tmp_path: Path
) -> None:
    served = serve(tmp_path, sim_config(console_sim))
    try:
        statuses = [
            served.gateway.request("POST", "/admin/v1/sign-in", {"link": f"x{n}"}, key=None).status
            for n in range(30)
        ]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert served.gateway.request("GET", ME, key="sk-pca-guess").status == 429
        assert served.ask("GET", "/me").status == 200
        sign_in(served)
    finally:
        assert served.gateway.stop() == 0


def test_a_revoked_administrator_is_out_at_once(served: Served) -> None:
    made = served.ask("POST", "/admins", {"name": "gone", "role": "operator", "key": True}).json()
    link = served.command("console", "--name", "gone", "--json")["link"].rpartition("link=")[2]
    answer = served.gateway.request("POST", "/admin/v1/sign-in", {"link": link}, key=None)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    left = served.command("console", "--name", "gone", "--json")["link"].rpartition("link=")[2]
    assert served.gateway.request("GET", ME, key=made["key"]).status == 200
    served.ask("POST", f"/admins/{made['id']}/revoke", {})
    for key, headers in ((made["key"], {}), (None, {"cookie": cookie})):
        status = served.gateway.request("GET", ME, key=key, headers=headers).status
        assert status in (401, 429)
    late = served.gateway.request("POST", "/admin/v1/sign-in", {"link": left}, key=None)
    assert late.status in (401, 429)
    owners = [a for a in served.ask("GET", "/admins").json()["admins"] if a["role"] == "owner"]
    last = served.ask("POST", f"/admins/{owners[0]['id']}/revoke", {})
    assert (last.status, "the last owner" in last.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /admin/v1/../../etc/passwd HTTP/1.1",
        b"GET /console/../pyproject.toml HTTP/1.1",
        b"GET /console/%2e%2e/administration.py HTTP/1.1",
        b"GET /console/administration.py HTTP/1.1",
        b"GET /admin/v1/keys/%00 HTTP/1.1",
        b"GET /admin/v1/keys/' OR '1'='1 HTTP/1.1",
        b"GET /admin/v1/requests/%27%20OR%201=1 HTTP/1.1",
    ],
    ids=repr,
)
def test_odd_paths_find_nothing(served: Served, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.gateway.port), timeout=10) as raw:
        key = served.keys["owner"].encode()
        raw.sendall(
            line + b"\r\nhost: localhost\r\nauthorization: Bearer " + key + b"\r\n"
            b"connection: close\r\n\r\n"
        )
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status in (400, 404)
        assert b"root:" not in response.read()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
    else:
        server = request.getfixturevalue("postgres_server")
        yield f'[store]\nurl = "{server.database()}"\n'


def keys_and_acts(served: Served) -> tuple[list[str], list[str]]:
    """The names of all keys, and those of which the audit log says that they were made."""
    there = [key["name"] for key in served.ask("GET", "/keys").json()["keys"]]
    acts: list[Any] = []
    before: Any = ""
    while before is not None:
        page = served.ask("GET", f"/audit?limit=200&before={before}").json()
        acts, before = [*acts, *page["acts"]], page["next"]
    made = [act["target"] for act in acts if act["action"] == "key.create"]
    return sorted(there), sorted(made)


def test_the_audit_log_is_complete_after_kill_9(
    console_sim: Simulation, tmp_path: Path, store: str
) -> None:
    """Each key that was confirmed, and each that is there at all, has its row; none has two."""
    served = serve(tmp_path, sim_config(console_sim, store))
    confirmed: list[str] = []

    def create() -> None:
        for number in range(1000):
            name = f"{threading.current_thread().name}-{number}"
            try:
                if served.ask("POST", "/keys", {"name": name}).status == 200:
                    confirmed.append(name)
                else:
                    time.sleep(0.2)  # on a busy machine the store may be late
            except (OSError, http.client.HTTPException):
                return

    threads = [threading.Thread(target=create, name=f"t{n}") for n in range(3)]
    for thread in threads:
        thread.start()
    ends_at = time.monotonic() + 60
    while len(confirmed) < 20 and time.monotonic() < ends_at:
        time.sleep(0.01)
    served.gateway.kill()
    for thread in threads:
        thread.join(30)
    served.gateway.start()
    try:
        assert served.ask("GET", "/audit/check").json() == {"whole": True, "problem": ""}
        # A database finishes what a dead client had committed, perhaps a moment later.
        ends_at = time.monotonic() + 10
        while (found := keys_and_acts(served))[0] != found[1] and time.monotonic() < ends_at:
            time.sleep(0.2)
        there, made = found
        assert len(confirmed) >= 10
        assert set(confirmed) <= set(there)
        assert made == there
    finally:
        assert served.gateway.stop() == 0


def test_a_rewritten_audit_log_is_noticed(console_sim: Simulation, tmp_path: Path) -> None:
    served = serve(tmp_path, sim_config(console_sim))
    try:
        served.ask("POST", "/keys", {"name": "bribe"})
    finally:
        assert served.gateway.stop() == 0
    database = sqlite3.connect(tmp_path / "polycall.db")
    database.execute("DROP TRIGGER audit_unchanged")
    database.execute("UPDATE audit SET target = 'harmless' WHERE target = 'bribe'")
    database.commit()
    database.close()
    with pytest.raises(CommandFailedError, match="was changed"):
        served.command("admins", "audit", "--json")
    database = sqlite3.connect(tmp_path / "polycall.db")
    database.execute("UPDATE audit SET target = 'bribe' WHERE target = 'harmless'")
    database.execute("DROP TRIGGER audit_undeleted")
    (last,) = database.execute("SELECT MAX(number) FROM audit").fetchone()
    database.commit()
    database.close()
    assert served.command("admins", "audit", "--json")["whole"] is True
    database = sqlite3.connect(tmp_path / "polycall.db")
    database.execute("DELETE FROM audit WHERE number = ?", (last,))
    database.commit()
    database.close()
    with pytest.raises(CommandFailedError, match=f"row {last} is missing"):
        served.command("admins", "audit", "--json")


def test_errors_and_names_are_data_in_every_answer(served: Served) -> None:
    """A script in a name is JSON text in the API; the browser's test shows it is text there."""
    evil = "</script><script>alert(1)</script>"
    answer = served.ask("POST", "/keys", {"name": evil})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(answer.content)["name"] == evil
