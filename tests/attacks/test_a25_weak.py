"""Weak configurations: `polycall doctor --security` finds what is open in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polycall.cli.doctor_security import (
    literal_secrets,
    open_files,
    plain_addresses,
    who_may_change,
)
from polycall.sandbox.checks import Check
from tests.attacks.test_a25_files import CLOSED, config, findings

GOOD = "0-0123456789-abcdefghij-xyz"
TRACES = '[traces]\nendpoint = "http{}://10.1.2.3:4318/v1/traces"\n'
MCP = '[mcp.away]\nurl = "http{}://10.1.2.3/mcp"\n'
HOSTED = "[hosted_tools]\n"
# What is added to a configuration that is closed, what is said of it, and how bad it is.
WEAK: dict[str, tuple[str, str, str]] = {
    "a secret of the sign-in": (
        '[admin.openid]\nissuer = "https://login.example.com"\nclient_id = "p"\n'
        'client_secret = "written-out"\nroles = { a = "reader" }\n',
        "admin.openid.client_secret",
        "fail",
    ),
    "a header of traces": (
        TRACES.format("s") + 'headers = { authorization = "written-out" }\n',
        "traces.headers.authorization",
        "fail",
    ),
    "a header of the search": (
        HOSTED + 'web_search = "https://s.example/q"\nweb_search_headers = { x-api-key = "k1" }\n',
        "hosted_tools.web_search_headers.x-api-key",
        "fail",
    ),
    "a header of a server": (
        MCP.format("s") + 'headers = { Authorization = "Bearer written-out" }\n',
        "mcp.away.headers.Authorization",
        "fail",
    ),
    "a variable of a server": (
        '[server]\nmcp_processes = true\n[mcp.here]\ncommand = ["true"]\n'
        'env = { GITHUB_TOKEN = "written-out", LANG = "C" }\n',
        "mcp.here.env.GITHUB_TOKEN",
        "fail",
    ),
    "a secret of OAuth": (
        MCP.format("s") + '[mcp.away.oauth]\nclient_id = "c"\nclient_secret = "written-out"\n',
        "mcp.away.oauth.client_secret",
        "fail",
    ),
    "keys to a server without TLS": (
        MCP.format("") + 'headers = { Authorization = "Bearer env:A_KEY" }\n',
        "mcp.away.url: keys go to 10.1.2.3",
        "fail",
    ),
    "keys to a collector without TLS": (
        TRACES.format("") + 'headers = { authorization = "env:A_KEY" }\n',
        "traces.endpoint: keys go to 10.1.2.3",
        "fail",
    ),
    "a server without TLS": (MCP.format(""), "mcp.away.url: anybody on the way", "warn"),
    "servers that clients name": (
        HOSTED + 'mcp_servers = ["https://a.example/*", "http://b.example/*"]\n',
        "hosted_tools.mcp_servers: anybody on the way may answer for b.example",
        "warn",
    ),
    "prices": (
        '[prices]\nrefresh = "http://prices.example/all.json"\n',
        "prices.refresh: anybody on the way may answer for prices.example",
        "warn",
    ),
    "unpriced models": ('[limits]\nunpriced = "allow"\n', "limits.unpriced", "warn"),
    "tools that change": (MCP.format("s") + 'changed = "allow"\n', "mcp.away: a server", "warn"),
    "hosted tools that change": (
        HOSTED + 'changed_tools = "allow"\n',
        "hosted_tools: a server",
        "warn",
    ),
    "everybody reads": ('[admin.content]\nrole = "reader"\n', "admin.content.role", "warn"),
    "a simple key": (
        f'[[keys]]\nkey = "{"ab" * 20}"\nname = "b"\nbudget_usd = 1\n',
        "simple enough to be guessed: b",
        "fail",
    ),
    "one secret for two": (
        '[[keys]]\nkey = "env:A_KEY"\nname = "b"\nbudget_usd = 1\n',
        "also a provider's key or store.secret: b",
        "fail",
    ),
    "a file that others read": (
        '[[keys]]\nkey = "file:open.txt"\nname = "b"\nbudget_usd = 1\n',
        "others may read the secret in",
        "fail",
    ),
}
STORES: dict[str, tuple[str, str, str]] = {
    "a password in an address": (
        'url = "postgresql://u:pw@127.0.0.1/d"\nsecret = "env:A_SECRET"',
        "store.url",
        "fail",
    ),
    "another host in the query": (
        'url = "postgresql:///d?host=db.example&password=x"\nsecret = "env:A_SECRET"',
        "db.example may be anybody",
        "warn",
    ),
    "a simple secret": ('url = "sqlite:///s.db"\nsecret = "env:SIMPLE"', "store.secret is", "fail"),
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, name in enumerate(("A_SECRET", "A_KEY", "ANOTHER_KEY")):
        monkeypatch.setenv(name, f"{number}{GOOD}")
    monkeypatch.setenv("SIMPLE", "ab" * 16)

    async def no_sandbox() -> list[Check]:
        return []  # which takes a second to look at

    monkeypatch.setattr("polycall.cli.doctor_security.examine", no_sandbox)
    (tmp_path / "open.txt").write_text("3-0123456789-abcdefghij-xyz")
    (tmp_path / "open.txt").chmod(0o644)


@pytest.mark.parametrize("name", WEAK)
def test_a25_doctor_finds_what_is_weak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    more, words, state = WEAK[name]
    status, found = findings(capsys, "--config", str(config(tmp_path, more + CLOSED, 0o644)))
    assert any(words in detail for detail in found.get(state, [])), found
    assert status == (state == "fail")


@pytest.mark.parametrize("name", STORES)
def test_a25_doctor_finds_what_is_weak_in_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    store, words, state = STORES[name]
    text = CLOSED.replace('url = "sqlite:///s.db"\nsecret = "env:A_SECRET"', store)
    _, found = findings(capsys, "--config", str(config(tmp_path, text, 0o644)))
    assert any(words in detail for detail in found.get(state, [])), found


SERVER = "mcp.a."


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ({"env": {"DB_PASS": "written"}}, "env.DB_PASS"),
        ({"env": {"GITHUB_PAT": "written"}}, "env.GITHUB_PAT"),
        ({"env": {"SMTP_PWD": "written"}}, "env.SMTP_PWD"),
        ({"env": {"SMTP_PWD": "Word env:X"}}, "env.SMTP_PWD"),
        ({"env": {"COMPASS": "north", "AUTHOR": "Kim", "PWD_HASHED": "no"}}, ""),
        ({"headers": {"X-Auth": "written"}}, "headers.X-Auth"),
        ({"headers": {"X-Auth": "Token env:X"}}, ""),
        ({"url": "https://h/mcp?api_key=written"}, "url"),
        ({"url": "https://h/mcp?page=2"}, ""),
        ({"command": ["srv", "--token", "written"]}, "command"),
        ({"command": ["srv", "--api-key=written"]}, "command"),
        ({"command": ["srv", "--token-file", "--verbose", "--port", "80"]}, ""),
        ({"api_key": "sk-written file:x"}, "api_key"),
        ({"api_key": "file:/a folder/key"}, ""),
    ],
)
def test_a25_doctor_knows_a_secret_that_is_written_by_its_name(
    server: dict[str, Any], place: str
) -> None:
    found = list(literal_secrets({"mcp": {"a": server}}))
    assert found == ([SERVER + place] if place else [])


@pytest.mark.parametrize(
    "server",
    [
        {"url": "http://u:pw@10.0.0.1/mcp"},
        {"url": "http://10.0.0.1/mcp?api_key=written"},
        {"url": "http://10.0.0.1/mcp", "client_secret": "env:X"},
    ],
)
def test_a25_doctor_knows_that_keys_go_where_an_address_or_its_table_has_one(
    server: dict[str, Any],
) -> None:
    assert list(plain_addresses({"mcp": {"a": server}})) == [(SERVER + "url", "10.0.0.1", True)]


def test_a25_doctor_reads_a_files_name_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "my key").touch(0o644)
    assert list(open_files({"api_key": "file:my key"}, tmp_path)) == [tmp_path / "my key"]
    assert list(open_files({"h": "Bearer file:my key"}, tmp_path)) == [tmp_path / "my key"]


@pytest.mark.parametrize("place", ["absent/s.db", "absent/more/s.db", "s.db"])
def test_a25_doctor_looks_at_a_place_that_is_not_there_yet(tmp_path: Path, place: str) -> None:
    tmp_path.chmod(0o700)
    assert not who_may_change(tmp_path / place)
    tmp_path.chmod(0o770)
    assert "its group writes in" in who_may_change(tmp_path / place)


def test_a25_doctor_looks_at_a_link_where_it_stands_and_where_it_leads(tmp_path: Path) -> None:
    for name in ("open", "closed"):
        (tmp_path / name).mkdir(0o700)
        (tmp_path / name / "x.toml").touch(0o600)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "closed" / "out").symlink_to(tmp_path / "open" / "x.toml")
    (tmp_path / "open" / "in").symlink_to(tmp_path / "closed" / "x.toml")
    assert not who_may_change(tmp_path / "closed" / "x.toml")
    for name in ("closed/out", "open/in"):
        assert "anybody writes in" in who_may_change(tmp_path / name), name


@pytest.mark.parametrize("password", ["", "&password=x"])
def test_a25_doctor_does_not_warn_of_a_socket_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], password: str
) -> None:
    store = f'url = "postgresql:///d?host=/var/run/postgresql{password}"'
    text = CLOSED.replace('url = "sqlite:///s.db"', store)
    _, found = findings(capsys, "--config", str(config(tmp_path, text, 0o600)))
    assert not [each for each in found["warn"] if "/var/run" in each]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a25_doctor_finds_what_others_may_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = config(tmp_path, CLOSED, 0o660 if what == "file" else 0o600)
    tmp_path.chmod(0o700 if what == "file" else 0o777)
    status, found = findings(capsys, "--config", str(path))
    assert status == 1
    assert any("names the programs" in detail for detail in found["fail"]), found
