"""Questions about the ledger are answered by another process, whatever becomes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import astuple

from polycall.errors import PolycallError, RateLimitError, RequestError, StoreError
from polycall.gateway.store import Store, open_store, reading_process
from polycall.gateway.store.base import Operation, Query, SlowQueryError
from polycall.gateway.store.ledger_json import page_json, points_json
from polycall.gateway.store.operations import add_rows
from polycall.gateway.store.search import Search
from tests.gateway.test_search import START, rows


@pytest.fixture
async def store(store_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(store_url, tmp_path)
    await made.change(add_rows([astuple(row) for row in rows()[:300]]))
    yield made
    await made.close()


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store("sqlite:///ledger.db", tmp_path)
    yield made
    await made.close()


def where() -> Operation[int]:
    """The process that answers."""
    yield Query("SELECT 1")
    return os.getpid()


def niceness() -> Operation[int]:
    yield Query("SELECT 1")
    return os.getpriority(os.PRIO_PROCESS, 0)


def environment() -> Operation[tuple[dict[str, str], str]]:
    yield Query("SELECT 1")
    return dict(os.environ), Path("/proc/self/cmdline").read_text()


def spend(seconds: float) -> Operation[int]:
    """Let the database work for a while (and no longer than a minute)."""
    counted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
    most = int(seconds * 5_000_000)
    yield Query(f"{counted} SELECT COUNT(*) FROM n", (most,))
    return os.getpid()


def write() -> Operation[None]:
    yield Query("DELETE FROM ledger")


def die() -> Operation[None]:
    yield Query("SELECT 1")
    os.kill(os.getpid(), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> bool:
    for _ in range(200):
        if not is_alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_one_other_process_answers_and_ends_with_the_store(
    store_url: str, tmp_path: Path
) -> None:
    store = open_store(store_url, tmp_path)
    await store.change(add_rows([astuple(row) for row in rows()[:300]]))
    found = {await store.ask(of, where) for of in ("a", "b", "a")}
    assert len(found) == 1
    (pid,) = found
    assert pid != os.getpid()
    assert await store.ask("a", niceness) > os.getpriority(os.PRIO_PROCESS, 0)
    page = json.decode(await store.ask("a", page_json, Search(key="김민수", limit=3)))
    assert [row["key"] for row in page["requests"]] == ["김민수"] * 3
    # What was written a moment ago is there.
    (late,) = [row for row in rows() if row.id.endswith("1499")]
    await store.change(add_rows([astuple(late)]))
    page = json.decode(await store.ask("a", page_json, Search(limit=1)))
    assert page["requests"][0]["id"] == late.id
    await store.close()
    assert await gone(pid)


async def test_it_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match="read.?only"):
        await store.ask("a", write)
    page = json.decode(await store.ask("a", page_json, Search(limit=200)))
    assert len(page["requests"]) == 200


async def test_neither_its_arguments_nor_its_environment_hold_secrets(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-provider")
    monkeypatch.setenv("POLYCALL_SECRET", "of-the-gateway")
    store = open_store(store_url, tmp_path, secret="that seals")
    held, command = await store.ask("a", environment)
    await store.close()
    text = f"{held} {command}"
    for secret in ("sk-of-a-provider", "of-the-gateway", "that seals", "postgresql://", ".db"):
        assert secret not in text


async def test_an_error_of_a_question_keeps_its_kind_and_words(on_file: Store) -> None:
    with pytest.raises(RequestError, match="1 to 500 points"):
        await on_file.ask(
            "a", points_json, [], since=0, until=START, bucket_s=1, filters=Search()
        )  # fmt: skip


async def test_one_that_died_is_started_anew(on_file: Store) -> None:
    first = await on_file.ask("a", where)
    os.kill(first, signal.SIGKILL)
    assert await gone(first)
    second = await on_file.ask("a", where)
    assert second != first
    # One that dies of the question is not asked for ever.
    with pytest.raises(StoreError, match="ended with status -9"):
        await on_file.ask("a", die)
    assert await on_file.ask("a", where) not in (first, second)


async def test_a_slow_question_ends_and_the_next_is_answered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await store.ask("a", where)
    monkeypatch.setattr(reading_process, "QUESTION_S", 0.2)
    began = time.monotonic()
    with pytest.raises(SlowQueryError):
        await store.ask("a", spend, 60)
    assert time.monotonic() - began < 2
    monkeypatch.setattr(reading_process, "QUESTION_S", 10.0)
    assert await store.ask("a", where) == pid  # interrupted, not killed


async def test_a_question_whose_asker_left_ends(on_file: Store) -> None:
    pid = await on_file.ask("a", where)
    long = asyncio.ensure_future(on_file.ask("a", spend, 60))
    await asyncio.sleep(0.1)
    long.cancel()
    began = time.monotonic()
    assert await on_file.ask("a", where) == pid
    assert time.monotonic() - began < 2


async def test_administrators_take_turns_and_each_has_a_bound(on_file: Store) -> None:
    order: list[str] = []

    async def ask(of: str) -> None:
        await on_file.ask(of, spend, 0.01)
        order.append(of)

    await on_file.ask("a", where)
    many = [asyncio.ensure_future(ask("eager")) for _ in range(reading_process.QUESTIONS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitError, match="8 of your questions"):
        await on_file.ask("eager", where)
    await asyncio.gather(ask("calm"), *many)
    assert order.index("calm") <= 2  # not behind the other's eight
    assert order.count("eager") == reading_process.QUESTIONS_MAX


async def test_closing_fails_what_waits(tmp_path: Path) -> None:
    store = open_store("sqlite:///ledger.db", tmp_path)
    pid = await store.ask("a", where)
    waiting = [asyncio.ensure_future(store.ask("a", spend, 60)) for _ in range(3)]
    await asyncio.sleep(0.05)
    await store.close()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, PolycallError) for error in found), found
    assert await gone(pid)
