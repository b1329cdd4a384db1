"""Clients' keys as an operator uses them: the commands, beside a gateway that runs."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import psycopg
import pytest

from polycall.cli import main
from polycall.cli.stored import table
from tests.gateway.harness import Gateway
from tests.gateway.till import Till, open_till, till_config

BODY = {"model": "till/m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
NOTICED_S = 4.0


@pytest.fixture(scope="module")
def till() -> Iterator[Till]:
    with open_till(seed=3) as server:
        yield server


@pytest.fixture
def served(till: Till, store_url: str, tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, till_config(till, f'[store]\nurl = "{store_url}"', "")).start()
    yield gateway
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log
    assert "sk-pc-" not in gateway.log


class Done(NamedTuple):
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; `tests/cli` starts commands as an operator's shell does."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, status: int = 0) -> Done:
        capsys.readouterr()
        try:
            found = main(list(words))
        except SystemExit as error:  # of argparse
            found = error.code
        printed, said = capsys.readouterr()
        done = Done(printed, said)
        assert found == status, done
        return done

    return call


def make(run: Run, *words: str) -> str:
    return json.loads(run("keys", "create", *words, "--json").stdout)["key"]


def ask(gateway: Gateway, key: str | None, **changes: Any) -> Any:
    return gateway.request("POST", "/v1/chat/completions", {**BODY, **changes}, key=key)


def await_status(gateway: Gateway, key: str | None, status: int, **changes: Any) -> Any:
    ends_at = time.monotonic() + NOTICED_S
    while (answer := ask(gateway, key, **changes)).status != status:
        assert time.monotonic() < ends_at, (answer.status, answer.content)
        time.sleep(0.1)
    return answer


def everything_in(url: str) -> str:
    """Every column of every row of the tables about keys."""
    tables = ("keys", "key_secrets", "ledger")
    if url.startswith("sqlite"):
        database = sqlite3.connect(url.removeprefix("sqlite:///"))
        rows = [database.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
        database.close()
    else:
        with psycopg.connect(url) as other:
            rows = [other.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
    return repr(rows)


def test_j08_j10_a_keys_life_beside_a_running_gateway(
    served: Gateway, store_url: str, run: Run
) -> None:
    assert ask(served, None).status == 200  # no key was ever made
    first = make(run, "alice", "--models", "till/*,fast")
    await_status(served, None, 401)
    await_status(served, first, 200)
    # Its models
    assert ask(served, first, model="other/m").status == 403
    run("keys", "limit", "alice", "--models", "fast")
    refused = await_status(served, first, 403).json()["error"]["message"]
    assert refused == "the key 'alice' may not use 'till/m'; it may use: fast"
    run("keys", "limit", "alice", "--models", "all", "--requests-per-minute", "1000")
    await_status(served, first, 200)
    # Rotated: both work for a while, then the new one only.
    second = json.loads(run("keys", "rotate", "alice", "--grace", "3s", "--json").stdout)["key"]
    await_status(served, second, 200)
    assert ask(served, first).status == 200
    await_status(served, first, 401)
    assert ask(served, second).status == 200
    # Revoked: none works, and the door stays shut.
    run("keys", "revoke", "alice")
    gone = await_status(served, second, 401)
    assert second.encode() not in gone.content
    assert ask(served, None).status == 401
    assert "is revoked; make a new one" in run("keys", "rotate", "alice", status=1).stderr
    assert (
        "there is, or was, a key called 'alice'" in run("keys", "create", "alice", status=1).stderr
    )
    kept = everything_in(store_url)
    assert first not in kept
    assert second not in kept


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_an_expired_key_says_so(served: Gateway, run: Run) -> None:
    key = make(run, "short", "--expires", "3s")
    await_status(served, key, 200)
    answer = await_status(served, key, 401)
    assert "the key 'short' has expired" in answer.json()["error"]["message"]


GENERATES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", BODY),
    ("/v1/responses", {"model": "till/m", "input": "hi"}),
    ("/v1/messages", BODY),
    ("/v1/messages/count_tokens", BODY),
    ("/v1/responses/input_tokens", {"model": "till/m", "input": "hi"}),
    *(
        (f"/{version}/models/till/m:{method}", {"contents": [{"parts": [{"text": "hi"}]}]})
        for version in ("v1", "v1beta")
        for method in ("generateContent", "streamGenerateContent", "countTokens")
    ),
]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_j13_a_keys_models_hold_on_every_route(served: Gateway, till: Till, run: Run) -> None:
    key = make(run, "narrow", "--models", "other/*")
    await_status(served, key, 403)
    before = len(till.sales)
    for path, body in GENERATES:
        assert served.request("POST", path, body, key=key).status == 403, path
    for path in ("/v1/models/till/m", "/v1beta/models/till/m"):
        assert served.request("GET", path, key=key).status == 403, path
    assert served.request("GET", "/v1/models", key=key).json()["data"] == []
    assert len(till.sales) == before


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_j03_a_key_is_data_never_sql(served: Gateway, store_url: str, run: Run) -> None:
    make(run, "only", "--models", "fast")
    await_status(served, "wrong", 401)
    for evil in (
        "' OR '1'='1",
        "x'; DROP TABLE keys; --",
        '" UNION SELECT digest FROM key_secrets',
    ):
        assert ask(served, evil).status == 401
        assert served.request("GET", "/v1/models?key=%27%20OR%201=1", key=None).status == 401
    run("keys", "create", "Robert'); DROP TABLE keys;--")
    names = [key["name"] for key in json.loads(run("keys", "list", "--json").stdout)]
    assert names == ["Robert'); DROP TABLE keys;--", "only"]


def test_usage_as_table_json_and_csv(
    served: Gateway, till: Till, store_url: str, run: Run, tmp_path: Path
) -> None:
    keys = {name: make(run, name) for name in ("김민수", "=HYPERLINK(1)")}
    await_status(served, "wrong", 401)
    before = len(till.sales)
    await_status(served, keys["=HYPERLINK(1)"], 200)
    await_status(served, keys["김민수"], 200)
    assert ask(served, keys["김민수"], stream=True).status == 200
    assert ask(served, keys["김민수"], model="till/unpriced").status == 200
    assert ask(served, keys["김민수"], model="nowhere/m").status == 404
    time.sleep(0.6)
    sales = till.sales[before:]
    rows = json.loads(run("usage", "--by", "key,model", "--json").stdout)
    found = {(row["key"], row["model"]): row for row in rows if row["key"] in keys}
    assert list(found) == [
        ("=HYPERLINK(1)", "till/m"),
        ("김민수", "nowhere/m"),
        ("김민수", "till/m"),
        ("김민수", "till/unpriced"),
    ]
    mine = found["김민수", "till/m"]
    assert mine == {
        "key": "김민수",
        "model": "till/m",
        "requests": 2,
        "not_ok": 0,
        "input_tokens": sum(sale.input_tokens for sale in sales[-3:-1]),
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": sum(sale.output_tokens for sale in sales[-3:-1]),
        "reasoning_tokens": 0,
        "calls": 0,
        "cost_usd": mine["cost_usd"],
        "unpriced": 0,
    }
    assert float(mine["cost_usd"]) == float(sum(sale.cost for sale in sales[-3:-1]))
    assert found["김민수", "till/unpriced"]["unpriced"] == 1
    assert found["김민수", "till/unpriced"]["cost_usd"] == "0"
    assert found["김민수", "nowhere/m"]["not_ok"] == 1
    run("usage", "--by", "key,day", "--key", "=HYPERLINK(1)", "--csv", "out.csv")
    data = (tmp_path / "out.csv").read_bytes()
    assert data.startswith(b'\xef\xbb\xbf"key","day","requests",')
    assert b"\r\n" in data
    (line,) = csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
    assert line["key"] == "'=HYPERLINK(1)"
    assert line["day"] == time.strftime("%Y-%m-%d", time.gmtime())
    table = run("usage", "--by", "outcome", "--key", "김민수").stdout.splitlines()
    assert [line.split()[:2] for line in table] == [
        ["outcome", "requests"],
        ["error", "1"],
        ["ok", "3"],
        ["all", "4"],
    ]
    assert run("usage", "--until", "2020-01-31").stdout == "nothing was asked for in that time\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("keys", "create", "a", "--budget", "5"), 2, "'5' is not a budget"),
        (("keys", "create", "a", "--budget", "0/day"), 2, "is not a budget"),
        (("keys", "create", "a", "--expires", "2020-01-01"), 2, "is in the past"),
        (("keys", "create", "a", "--budget", "1e40/day"), 2, "is not a budget"),
        (("keys", "create", "a", "--expires", "99999999999d"), 2, "is too long"),
        (("keys", "create", "a", "--requests-per-minute", "0"), 2, "is not a number from 1"),
        (("keys", "create", "a", "--tokens-per-minute", "9" * 23), 2, "is not a number from 1"),
        (("keys", "create", "a", "--models", ""), 1, "say 'all' for all"),
        (("keys", "limit", "nobody"), 1, "there is no store at"),
        (("keys", "create", "a\nb"), 1, "cannot be a key's name"),
        (("keys", "create", "\u200d"), 1, "cannot be a key's name"),
        (("keys", "create", "a", "--expires", "later"), 2, "or a date as 2027-01-31"),
        (("usage", "--since", "1d", "--until", "3d", "--store", "sqlite://"), 1, "no time between"),
        (("usage", "--by", "colour"), 1, "cannot sum by 'colour'"),
        (("usage", "--since", "soon"), 2, "not a length of time"),
        (("usage", "--store", "mysql://me:hidden@host"), 1, "'mysql' is not a kind of store"),
        (("usage", "--config", "none.toml"), 1, "cannot be read"),
    ],
)
def test_mistakes_are_told(
    words: tuple[str, ...], status: int, said: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "polycall.toml").write_text("[store]\n")
    assert said in run(*words, status=status).stderr


def test_columns_stand_under_each_other_in_every_script() -> None:
    rows = [["김민수", "1"], ["🦊🚀", "2"], ["alice", "3"], [normalize("NFD", "민수é"), "4"]]
    assert table(["name", "n"], rows, right=1) == (
        f"name    n\n김민수  1\n🦊🚀    2\nalice   3\n{rows[3][0]}   4"
    )


def test_a_new_store_is_its_owners_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "polycall.toml").write_text("[store]\n")
    assert "팀 👩‍💻" in run("keys", "create", "팀 👩‍💻").stdout
    assert run("keys", "list").stdout.splitlines()[1].startswith("팀 👩‍💻")
    for path in tmp_path.glob("polycall.db*"):
        assert path.stat().st_mode & 0o777 == 0o600, path
