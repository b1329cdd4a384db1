"""The store on SQLite and on Postgres: the same operations, the same results."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from msgspec.structs import astuple, replace

from polycall.errors import RequestError, StoreError
from polycall.gateway.store import (
    KeyRow,
    KeySecret,
    LedgerRow,
    Store,
    correction_operations,
    key_operations,
    open_store,
    operations,
)
from polycall.gateway.store.base import Operation, Query
from polycall.gateway.store.postgres import PostgresEngine
from polycall.gateway.store.schema import MIGRATIONS, VERSION
from polycall.gateway.store.search import one
from polycall.gateway.store.sqlite import SQLiteEngine
from polycall.gateway.store.writer import RowWriter, Spool
from tests.servers import Postgres

T = TypeVar("T")

ROW = LedgerRow(
    id="req_1",
    created=1_000_000.5,
    key="team",
    client="openai-chat",
    asked="fast",
    provider="house",
    model="m",
    streamed=1,
    status=200,
    outcome="ok",
    attempts=1,
    input_tokens=10,
    output_tokens=20,
    cached_tokens=0,
    cache_write_tokens=0,
    reasoning_tokens=None,
    is_estimate=0,
    cost_usd="0.000123",
    duration_ms=12.5,
    first_ms=None,
    key_id="key_1",
    worker="w",
    calls=2,
    warnings=1,
)


async def test_states_belong_to_their_owner_and_outlive_the_process(
    store_url: str, tmp_path: Path
) -> None:
    first = open_store(store_url, tmp_path)
    await first.save_state("a", "one", b"\0value")
    await first.save_state("a", "two", b"x" * 100_000)
    secret = first.secret
    await first.close()
    second = open_store(store_url, tmp_path)
    names = ["one", "two", *(f"no-{number}" for number in range(1200))]
    assert await second.load_states("a", names) == {"one": b"\0value", "two": b"x" * 100_000}
    assert await second.load_states("b", names) == {}
    assert second.secret == secret
    assert len(secret) == 32
    await second.close()


async def test_of_changes_at_the_same_time_each_sees_the_other(
    store_url: str, tmp_path: Path
) -> None:
    stores = [open_store(store_url, tmp_path) for _ in range(2)]
    await stores[0].save_state("a", "counted", b"0")

    def one_more(value: bytes) -> bytes:
        return str(int(value) + 1).encode()

    await asyncio.gather(
        *(store.change_state("a", "counted", one_more) for store in stores for _ in range(20))
    )
    assert await stores[1].change_state("a", "counted", lambda _: None) == b"40"
    assert await stores[0].change_state("b", "counted", one_more) is None
    for store in stores:
        await store.close()


async def test_rows_are_there_after_a_clean_stop_and_only_once(
    store_url: str, tmp_path: Path
) -> None:
    first = open_store(store_url, tmp_path)
    rows = [replace(ROW, id=f"req_{n}", created=ROW.created + n) for n in range(300)]
    for row in [*rows, rows[7]]:
        first.add_row(row)
    await first.close()
    second = open_store(store_url, tmp_path)
    found = await second.ledger_rows(1000)
    assert [replace(row, cost_usd=str(row.cost_usd)) for row in found] == rows[::-1]
    assert await second.is_writable()
    await second.close()


START = """
import asyncio, sys, pathlib
from polycall.gateway.store import open_store
store = open_store(sys.argv[1], pathlib.Path())
print(store.secret.hex())
asyncio.run(store.close())
"""


@pytest.mark.parametrize("count", [1, 3, 64, 65, 200])
async def test_each_of_many_rows_is_written_as_it_is_and_once(
    store_url: str, tmp_path: Path, count: int
) -> None:
    """However many go into one statement, and whatever stands in them."""
    texts = [
        "",
        "it's",
        'a "word"',
        "100 % of \\u0041 \\",
        "물 🎉\u2028\n\t",
        "?, (:1) $2 ]",
        "null",
    ]
    costs = [None, "0", "0.000000000001", "123456789.123456789123456789"]
    rows = [
        replace(
            ROW,
            id=f"req_{number}",
            created=1_790_000_000 + number / 3,
            key=texts[number % len(texts)],
            error=texts[number % 5],
            input_tokens=[None, 0, 2**53][number % 3],
            cost_usd=costs[number % len(costs)],
            duration_ms=[0.1, 1e-7, 123456.789][number % 3],
            first_ms=[None, 0.3][number % 2],
        )
        for number in range(count)
    ]
    store = open_store(store_url, tmp_path)
    for written in (rows[:2], rows, [*rows[-3:], *rows[-3:]]):
        await store.change(operations.add_rows([astuple(row) for row in written]))
    found = [await store.look_up(one(row.id)) for row in rows]
    assert found == rows
    assert len(await store.ledger_rows(1000)) == count
    await store.close()


@pytest.mark.parametrize("keys", [[], ["b"], ["d", "a", "nobody's"], ["c", "c", "b", "a", "d"]])
async def test_corrections_are_forgotten(store_url: str, tmp_path: Path, keys: list[str]) -> None:
    store = open_store(store_url, tmp_path)
    values = {key: key.encode() * 3 for key in "abcd"}
    await store.save_corrections(values)
    before = await store.look_up(correction_operations.revisions())
    await store.forget_corrections(keys)
    assert sorted(await store.corrections()) == [
        value for key, value in values.items() if key not in keys
    ]
    after = await store.look_up(correction_operations.revisions())
    assert after["corrections"] == before["corrections"] + 1
    await store.close()


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("DELETE FROM corrections WHERE id = ?", ("a",)),
        ("DELETE FROM corrections WHERE value = ?", (b"a",)),
        ("UPDATE revisions SET number = 1 WHERE name = ?", ("keys",)),
        ("INSERT INTO corrections VALUES (?, ?, ?)", ("b", 1.0, b"b")),
        ("INSERT INTO corrections (id, created, value) SELECT ?, ?, ?", ("b", 1.0, b"b")),
        ("SELECT id FROM corrections WHERE id = ?", ("a",)),
    ],
)
async def test_a_query_for_many_rows_that_inserts_none_is_refused(
    store_url: str, tmp_path: Path, sql: str, row: tuple[object, ...]
) -> None:
    """By what it is, and with the statement: no database says that so."""

    def asked() -> Operation[None]:
        yield Query(sql, [row, row], is_many=True)

    store = open_store(store_url, tmp_path)
    await store.save_corrections({"a": b"a"})
    with pytest.raises(ValueError, match=re.escape(f"instead of: {sql}")):
        await store.change(asked())
    assert await store.corrections() == [b"a"]
    await store.close()


async def test_many_rows_are_few_statements(tmp_path: Path) -> None:
    """One for each row has the thread that writes wait for the interpreter at each."""
    engine = SQLiteEngine(str(tmp_path / "store.db"))
    ran: list[str] = []
    engine._writer.set_trace_callback(ran.append)  # pyright: ignore[reportPrivateUsage]
    rows = [astuple(replace(ROW, id=f"req_{number}")) for number in range(200)]
    await engine.write(operations.add_rows(rows))
    assert sum("INSERT" in sql for sql in ran) == 4
    await engine.close()


async def test_a_busy_ledger_is_written_in_small_batches_and_one_that_is_away_tried_seldom(
    tmp_path: Path,
) -> None:
    """While a batch is written requests wait for the core; each failure is a line of the log."""
    sizes: list[int] = []
    is_away = False

    async def write(rows: Sequence[LedgerRow]) -> None:
        sizes.append(len(rows))
        if is_away:
            raise StoreError("away")

    async def add(count: int) -> None:
        for _ in range(count):
            writer.add(ROW)
            await asyncio.sleep(0)

    writer = RowWriter(write, Spool(tmp_path, "x"))
    await add(1000)
    assert len(sizes) >= 6
    is_away = True
    await add(200)
    before = len(sizes)
    await add(1000)
    assert len(sizes) <= before + 2
    is_away = False
    await writer.recover(write)
    await writer.close()
    assert sum(sizes) >= 2200


def test_replicas_that_start_at_once_migrate_once(store_url: str) -> None:
    command = [sys.executable, "-c", START, store_url]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ends = [process.communicate(timeout=30) for process in started]
    assert {errors for _, errors in ends} == {""}
    assert len({secret for secret, _ in ends}) == 1


async def test_a_file_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "old.db")
    for statement in MIGRATIONS[0]:
        words = {"blob": "BLOB", "real": "REAL", "int": "INTEGER", "money": "TEXT"}
        connection.execute(statement.format(**words, without_rowid="WITHOUT ROWID"))
    names = LedgerRow.__struct_fields__[:20]
    values = [getattr(ROW, name) for name in names]
    marks = ", ".join("?" * len(names))
    connection.execute(f"INSERT INTO ledger ({', '.join(names)}) VALUES ({marks})", values)
    connection.commit()
    connection.close()
    store = open_store("sqlite:///old.db", tmp_path)
    rows = await store.ledger_rows()
    assert rows == [replace(ROW, key_id="", worker="", calls=None, warnings=0)]
    await store.close()


async def test_a_newer_schema_is_refused(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url, tmp_path)
    await store.close()
    number = VERSION + 1
    if store_url.startswith("sqlite"):
        with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE schema_version SET number = number + 1")
        connection.close()
    else:
        with psycopg.connect(store_url) as database:
            database.execute("UPDATE schema_version SET number = number + 1")
    with pytest.raises(RequestError, match=f"the store has schema {number}.*upgrade this one"):
        open_store(store_url, tmp_path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///no/such/folder/x.db", "cannot be opened: unable to open"),
        ("postgresql://polycall@127.0.0.1:1/x", "cannot be opened: .*refused"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        open_store(url, tmp_path)


async def test_i08_old_rows_go_in_batches_and_nobody_waits(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url, tmp_path)
    now = time.time()
    for number in range(2500):
        store.add_row(replace(ROW, id=f"old-{number}", created=now - 31 * 86_400))
    for number in range(3):
        store.add_row(replace(ROW, id=f"new-{number}", created=now - 29 * 86_400 + number))
    await store.close()
    store = open_store(store_url, tmp_path)
    await store.purge(None)
    assert len(await store.ledger_rows(5000)) == 2503
    sizes: list[int] = []
    purging = asyncio.ensure_future(store.purge(30))
    while not purging.done():
        sizes.append(len(await store.ledger_rows(5000)))
        await store.save_state("a", "one", b"others write meanwhile")
        await asyncio.sleep(0.005)
    await purging
    assert set(sizes) <= {2503, 1503, 503, 3}
    assert {1503, 503} & set(sizes)
    assert [row.id for row in await store.ledger_rows(5000)] == ["new-2", "new-1", "new-0"]
    await store.close()


# Two processes at once


async def step_by_step(
    url: str, operation: Operation[T], between: Callable[[int], Awaitable[object]]
) -> T:
    """Run an operation in Postgres as a slow process would; `between` is what others do."""
    with psycopg.connect(url) as connection:
        query = next(operation)
        for number in range(100):
            cursor = connection.execute(query.sql.replace("?", "%s").encode(), query.values)
            rows = [] if cursor.description is None else cursor.fetchall()
            await between(number)
            try:
                query = operation.send(rows)
            except StopIteration as end:
                return end.value
    raise AssertionError("an operation ends")


async def make_key(store: Store, name: str) -> None:
    row = KeyRow(id=f"key_{name}", name=name)
    await store.create_key(row, KeySecret(name.encode(), row.id, "sk-pc-0000", 1.0))


async def test_a_change_of_a_key_undoes_nobody_elses(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    url = postgres_server.database()
    store = open_store(url, tmp_path)
    await make_key(store, "a")
    change = key_operations.change_key("a", {"requests_per_minute": 5})

    async def revoke(number: int) -> None:
        if number == 1:  # after the key was read, before it is written
            await store.revoke_key("a")

    await step_by_step(url, change, revoke)
    row = (await store.find_key("a")).row
    assert row.revoked is not None
    assert row.requests_per_minute == 5
    await store.close()


async def test_keys_that_are_made_while_others_read_them(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    url = postgres_server.database()
    store = open_store(url, tmp_path)
    await make_key(store, "first")

    async def make(number: int) -> None:
        await make_key(store, f"later-{number}")

    revision, records = await step_by_step(url, key_operations.all_keys(), make)
    assert all(record.secrets for record in records)
    assert revision < (await store.keys())[0], "they are read again"
    await store.close()


def test_a_file_that_cannot_be_opened_for_writing_is_told_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the writer's thread, where nobody hears of it and each write waits for ever."""
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def second_fails(*values: object, **options: object) -> sqlite3.Connection:
        if connections:
            raise sqlite3.OperationalError("disk I/O error")
        connections.append(connect(*values, **options))  # type: ignore[call-overload]
        return connections[0]

    monkeypatch.setattr(sqlite3, "connect", second_fails)
    with pytest.raises(RequestError, match="disk I/O error"):
        open_store("sqlite:///store.db", tmp_path)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connections[0].execute("select 1")


def test_a_loop_that_has_ended_takes_no_later_write_with_it(tmp_path: Path) -> None:
    store = open_store("sqlite:///store.db", tmp_path)

    async def leave() -> None:
        writing = asyncio.ensure_future(store.save_state("a", "one", b"left"))
        await asyncio.sleep(0)
        writing.cancel()

    async def stay() -> None:
        await store.save_state("a", "two", b"kept")
        assert dict(await store.load_states("a", ["two"])) == {"two": b"kept"}
        await store.close()

    for _ in range(20):
        asyncio.run(leave())
    asyncio.run(asyncio.wait_for(stay(), 20))


async def test_a_store_that_is_closed_refuses_writes(tmp_path: Path) -> None:
    store = open_store("sqlite:///store.db", tmp_path)
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await asyncio.wait_for(store.save_state("a", "one", b"late"), 20)


async def test_a_task_that_waits_for_a_connection_is_cancelled_whenever_that_comes(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Python 3.11 the pool forgets one that is cancelled in the moment of its turn: a loop that
    writes from time to time would never end, nor the answer or the process that waits for it."""
    monkeypatch.setattr("polycall.gateway.store.postgres._CONNECTIONS_MAX", 1)
    engine = PostgresEngine(postgres_server.database(), 5)

    def look() -> Operation[None]:
        yield Query("SELECT pg_sleep(0.01)", ())

    async def beat() -> None:
        while True:
            await engine.write(look())

    await engine.write(look())
    stuck: list[int] = []
    for later in range(40):
        busy = asyncio.ensure_future(engine.write(look()))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(beat())
        await busy
        for _ in range(later):
            await asyncio.sleep(0)
        waiting.cancel()
        _, late = await asyncio.wait([waiting], timeout=10)
        if late:
            stuck.append(later)
            waiting.cancel()
            await asyncio.wait([waiting], timeout=5)
    await engine.close()
    assert stuck == []
