# ruff: noqa: E501 - an attack is one line
"""A25: files are their owner's alone, links lead nowhere, dumps are off, deployments fail closed."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from polycall._support.private_files import (
    is_private,
    make_private_database,
    open_private,
    write_private,
)
from polycall.agents import Knowledge, Sessions
from polycall.agents.memory import Entry, JSONFileStore, SQLiteStore
from polycall.agents.saved import Trace, save_trace
from polycall.cli import main
from polycall.cli.usage import write_csv
from polycall.durable.database import Database
from polycall.gateway.store import open_store
from polycall.gateway.store.writer import Spool
from polycall.sandbox import Journal
from polycall.sim.realtime.server import _tls

from ..gateway.harness import Gateway
from ..gateway.test_store import ROW

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


async def make_sessions(path: Path) -> None:
    Sessions(f"sqlite:///{path}").close()


async def make_sqlite_memory(path: Path) -> None:
    store = SQLiteStore(path)
    store.recent(["user:"], 5, 2.0)
    store.close()


async def make_json_memory(path: Path) -> None:
    JSONFileStore(path).add([Entry(path.name, "user:", "tea", 1.0, 1.0)], entries_max=9, now=2.0)


async def make_knowledge(path: Path) -> None:
    Knowledge(index=path).close()


async def make_runs(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    database.create()
    database.close()


async def make_gateway(path: Path) -> None:
    store = open_store(f"sqlite:///{path}", path.parent)
    await store.save_state("a", "one", b"v")
    await store.close()


async def make_spool(path: Path) -> None:
    spool = Spool(path.parent, "sqlite:///x")
    spool.add([ROW])
    for spooled in spool.take():
        spooled.put_back()


async def make_journal(path: Path) -> None:
    Journal(path).close()


async def make_table(path: Path) -> None:
    write_csv(["key"], [], str(path))


async def make_page(path: Path) -> None:
    two = [str(path.with_name(f"{path.name}-{number}.jsonl")) for number in (1, 2)]
    for name in two:
        save_trace(Trace(), name)
    assert await asyncio.to_thread(main, ["trace", "diff", *two, "--out", str(path)]) == 0


async def make_import(path: Path) -> None:
    old = path.with_name("litellm.yaml")
    write_private(old, b"model_list: []\n")
    options = ["import", "litellm", str(old), "--out", str(path), "--force"]
    assert await asyncio.to_thread(main, options) == 0


async def make_secret(path: Path) -> None:
    _tls(path)
    path.joinpath("certificate.pem").unlink()  # which everybody may see


MAKERS: dict[str, Callable[[Path], Any]] = {
    "table": make_table,
    "page": make_page,
    "import": make_import,
    "secret": make_secret,
    "sessions": make_sessions,
    "memory": make_sqlite_memory,
    "memory.json": make_json_memory,
    "knowledge": make_knowledge,
    "runs": make_runs,
    "gateway": make_gateway,
    "spool": make_spool,
    "journal": make_journal,
}


@pytest.mark.parametrize("kind", MAKERS)
async def test_a25_files_of_runs_memory_sessions_and_rows_are_0600(
    kind: str, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        await MAKERS[kind](tmp_path / f"new-{kind}")
        old = tmp_path / f"old-{kind}"
        if kind not in ("spool", "memory.json", "secret"):
            await MAKERS[kind](old)
            old.chmod(0o666)
            await MAKERS[kind](old)
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert made
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in made} == {
        path.name: "0o600" for path in made
    }


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o777, 0o640])
def test_a25_a_file_that_is_there_becomes_private_when_it_is_opened(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "of-before"
    path.write_text("kept")
    path.chmod(mode)
    os.close(open_private(path, os.O_WRONLY | os.O_APPEND))
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (mode & 0o700, "kept")


def test_a25_what_sqlite_keeps_beside_a_database_is_private_too(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table a (b)")
        wal = tmp_path / "a.db-wal"
        for each in (path, wal):
            each.chmod(0o644)
        make_private_database(path)
        assert is_private(path)
        assert is_private(wal)


_TRY = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    database.execute("begin immediate")
except sqlite3.OperationalError as error:
    print(error, end="")
"""


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("opened", ["by its name", "by a link", "with rights of others"])
def test_a25_a_database_that_is_opened_again_loses_no_lock_of_this_process(
    opened: str, journal: str, tmp_path: Path
) -> None:
    """Else another process writes in the middle of a transaction of ours."""
    path, link = tmp_path / "a.db", tmp_path / "link.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"pragma journal_mode = {journal}")
        database.execute("create table a (b)")
        database.execute("begin immediate")
        database.execute("insert into a values (1)")
        link.symlink_to(path)
        for each in tmp_path.glob("a.db*"):
            each.chmod(0o666 if opened == "with rights of others" else 0o600)
        make_private_database(link if opened == "by a link" else path)
        assert all(is_private(each) for each in tmp_path.glob("a.db*"))
        tried = subprocess.run(
            [sys.executable, "-c", _TRY, path], capture_output=True, text=True, check=True
        )
        assert tried.stdout == "database is locked"
        database.execute("commit")


def test_a25_a_link_to_a_database_that_is_not_there_yet_makes_a_private_one(
    tmp_path: Path,
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "a.db")
    make_private_database(link)
    assert is_private(tmp_path / "a.db")


@pytest.mark.parametrize("process", [os.getpid(), 2**22 + 1], ids=["mine", "of the dead"])
def test_a25_a_spool_in_a_folder_of_others_follows_no_link(tmp_path: Path, process: int) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(msgspec.json.encode(ROW) + b"\n")
    before = victim.read_bytes()
    folder = tmp_path / "spools"
    folder.mkdir()
    dead = Spool(folder, "sqlite:///x")
    dead.add([ROW])
    for each in dead.take():
        each.put_back()
    (made,) = folder.iterdir()
    link = folder / made.name.replace(str(os.getpid()), str(process))
    made.unlink()
    link.symlink_to(victim)
    spool = Spool(folder, "sqlite:///x")
    if process == os.getpid():
        with pytest.raises(OSError, match="symbolic"):
            spool.add([ROW])
    assert spool.take() == []
    assert (victim.read_bytes(), link.is_symlink()) == (before, True)


def test_a25_a_link_in_a_knowledge_folder_leads_not_out_of_it(tmp_path: Path) -> None:
    folder, outside = tmp_path / "texts", tmp_path / "outside"
    for each in (folder, outside, folder / "inner"):
        each.mkdir()
    (outside / "secret.txt").write_text("the codeword is zanzibar")
    (folder / "mine.txt").write_text("tea is a drink")
    (folder / "link.txt").symlink_to(outside / "secret.txt")
    (folder / "linked").symlink_to(outside)
    (folder / "inner" / "up.md").symlink_to(Path("../../outside/secret.txt"))
    (folder / "chain.txt").symlink_to(folder / "link.txt")
    (folder / "again.txt").symlink_to(folder / "mine.txt")
    knowledge = Knowledge.from_paths(folder)
    assert knowledge.search("zanzibar") == []
    assert {Path(each.source).name for each in knowledge.search("tea")} == {"mine.txt", "again.txt"}
    knowledge.close()


def test_a25_serve_leaves_no_core_dump(tmp_path: Path) -> None:
    config = (
        '[providers.p]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:1"\napi_key = "k"\n'
    )
    served = Gateway(tmp_path, config + "[server]\nworkers = 2\n").start()
    try:
        children = Path(f"/proc/{served.pid}/task/{served.pid}/children").read_text().split()
        assert len(children) == 2
        for pid in (str(served.pid), *children):
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits)
    finally:
        served.signal(signal.SIGTERM)
        served.wait()


def test_a25_the_deployment_fails_closed_and_keeps_no_capabilities() -> None:
    assert tomllib.loads((DEPLOY / "polycall.toml").read_text())["store"]["when_down"] == "refuse"
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
    counters = compose["services"]["gateway-1"]["environment"]["POLYCALL_COUNTERS"]
    assert "${VALKEY_PASSWORD:?" in counters
    text = (DEPLOY / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", text))
    assert len(wanted) >= 6
    for each in re.findall(r"(?<!\$)\$(?:\{[^}]*\}|\w+)", text):
        assert ":?" in each, f"{each} may be empty"
    # Nothing that is wanted has a value that everybody knows.
    assert re.findall(r"^(\w+)=$", (DEPLOY / "env.example").read_text(), re.MULTILINE) == list(
        dict.fromkeys(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    )
    assert wanted <= set(
        re.findall(r"^(\w+)=$", (DEPLOY / "env.example").read_text(), re.MULTILINE)
    )


def test_a25_the_image_is_installed_from_a_lock_with_hashes() -> None:
    text = (DEPLOY / "requirements.lock").read_text()
    names = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(
            each
            for extra in ("opentelemetry", "postgres", "redis", "monty")
            for each in extras[extra]
        ),
    ]
    for each in wanted:
        name = re.split(r"[\[<>=!; ]", each)[0].lower().replace("_", "-")
        assert name in names, name
    container = (DEPLOY / "Containerfile").read_text()
    assert container.count("--require-hashes") == 2
    assert "pydantic-monty" in names  # the sandbox tier of the image


def config(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "polycall.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


OPEN = """
[server]
host = "0.0.0.0"
fetch_private_addresses = true
[store]
url = "sqlite:///s.db"
when_down = "serve"
counters = "redis://10.0.0.9:6379/0"
[providers.p]
dialect = "openai-chat"
base_url = "http://10.0.0.8/v1"
api_key = "sk-literal-0001"
[[keys]]
key = "sk-short-0001"
name = "a"
"""
CLOSED = """
[store]
url = "sqlite:///s.db"
secret = "env:A_SECRET"
[providers.p]
dialect = "openai-chat"
base_url = "https://api.example.org/v1"
api_key = "env:A_KEY"
[[keys]]
key = "env:ANOTHER_KEY"
name = "a"
budget_usd = 5
"""


def findings(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, list[str]]]:
    status = main(["doctor", "--security", "--json", *words])
    found: dict[str, list[str]] = {}
    for each in json.loads(capsys.readouterr().out):
        found.setdefault(each["state"], []).append(each["detail"])
    return status, found


def test_a25_doctor_says_what_is_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("A_SECRET", "A_KEY", "ANOTHER_KEY")):
        monkeypatch.setenv(name, f"{number}-0123456789-abcdefghij-xyz")
    (tmp_path / "s.db").touch(0o644)
    status, found = findings(capsys, "--config", str(config(tmp_path, OPEN, 0o644)))
    assert status == 1
    failed, warned = "\n".join(found["fail"]), "\n".join(found["warn"])
    for words in (
        "keys[0].key",
        "providers.p.api_key",
        "guessed",
        "s.db",
        "internal",
        "without TLS",
    ):
        assert words in failed, words
    for words in ("0.0.0.0", "without a budget", "when_down", "no store.secret", "no password"):
        assert words in warned, words
    (tmp_path / "s.db").chmod(0o600)
    status, found = findings(capsys, "--config", str(config(tmp_path, CLOSED)))
    assert (status, found.get("fail", [])) == (0, [])


def test_a25_doctor_asks_a_running_gateway_as_a_stranger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = (
        '[providers.p]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:1"\napi_key = "k"\n'
    )
    for keys, state in (("", "fail"), (f'[[keys]]\nkey = "{"k" * 30}"\nname = "a"\n', "ok")):
        folder = tmp_path / state
        folder.mkdir()
        served = Gateway(folder, base + keys).start()
        try:
            _, found = findings(capsys, "--config", str(config(folder, base)), "--url", served.url)
        finally:
            served.stop()
        assert any("/v1/models" in detail for detail in found[state])
    _, found = findings(capsys, "--config", str(config(tmp_path, base)), "--url", "ftp://x")
    assert any("not an address" in detail for detail in found["fail"])
