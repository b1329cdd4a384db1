"""A4: nothing that lies in a store is unpickled, in whatever column and by whatever reader."""

from __future__ import annotations

import ast
import asyncio
import base64
import pickle
import shutil
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import polycall
from polycall import Agent
from polycall.agents import Knowledge, Sessions
from polycall.agents.memory import Entry, SQLiteStore
from polycall.durable import Durable, Runs
from polycall.errors import PolycallError
from polycall.gateway.store import open_store
from polycall.ir import ToolCall
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool

from ..gateway.test_store import ROW


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def bombs(mark: Path) -> list[str | bytes]:
    """One pickle in the forms in which stores keep text and bytes."""
    raw = pickle.dumps(Bomb(mark))
    text = pickle.dumps(Bomb(mark), protocol=0).decode("ascii")
    return [base64.b64encode(raw).decode(), raw, text]


def test_a04_the_bomb_of_these_tests_goes_off_where_it_is_unpickled(tmp_path: Path) -> None:
    encoded = bombs(tmp_path / "mark")[0]
    pickle.loads(base64.b64decode(encoded))
    assert (tmp_path / "mark").exists()


def agents(model: Any) -> list[Agent[Any, str]]:
    @tool(background=True)
    async def pack(what: str) -> str:
        """Pack."""
        return f"packed {what}"

    return [Agent("test/m", name="desk", tools=[pack], client=model)]


async def filled(url: str) -> None:
    """A database with a run, its steps and a task."""
    # Where the task ends before the model is asked again, the last answer is not asked for.
    model = ScriptedModel([[ToolCall("a", "pack", '{"what":"tea"}')], "on its way", "done"])
    async with Durable(url, agents=agents(model), poll_s=0.02) as here:
        handle = await here.start("desk", "send tea", run_id="r1")
        async with asyncio.timeout(20):
            await handle.result()


def columns(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        tables = [
            row[0]
            for row in database.execute(
                "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
            )
        ]
        return [
            (table, row[1])
            for table in tables
            for row in database.execute(f'pragma table_info("{table}")')
            if row[2].upper().startswith(("TEXT", "VARCHAR", "BLOB", "")) and not row[5]
        ]


def poison(path: Path, table: str, column: str, value: str | bytes) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        known = {row[1] for row in database.execute(f'pragma table_info("{table}")')}
        try:
            database.execute(f'update or ignore "{table}" set "{column}" = ?', (value,))
            if "serialization" in known - {column}:
                database.execute(f"update \"{table}\" set serialization = 'py_pickle'")
        except sqlite3.Error:
            pass  # a generated column, a trigger or a shadow table: then there is nothing to read


async def looked(work: Callable[[], Awaitable[Any]]) -> str:
    """What came of one reader; anything but our own errors is told by its type."""
    try:
        await work()
    except PolycallError:
        return "refused"
    except Exception as error:
        return type(error).__name__
    return "read"


async def read_everything(url: str) -> list[str]:
    async with Runs(url, poll_s=0.01) as runs:
        found = [
            await looked(runs.list),
            await looked(lambda: runs.list(state="finished")),
            await looked(lambda: runs.show("r1")),
            await looked(lambda: runs.steps("r1")),
            await looked(runs.tasks),
            await looked(lambda: runs.approvals("r1")),
            await looked(lambda: asyncio.wait_for(runs.result("r1"), 0.2)),
            await looked(lambda: asyncio.wait_for(runs.handle("r1").result(), 0.2)),
            await looked(lambda: runs.handle("r1").info()),
        ]
        for row in await asyncio.to_thread(
            runs.database.rows, "select workflow_uuid as id from workflow_status"
        ):
            task_id = str(row["id"])
            found.append(await looked(lambda task_id=task_id: runs.task(task_id)))
        return found


async def test_a04_no_column_of_the_durable_database_is_unpickled(tmp_path: Path) -> None:
    good = tmp_path / "good.db"
    await filled(f"sqlite:///{good}")
    found = columns(good)
    assert {("workflow_status", "inputs"), ("workflow_output", "output")} <= set(found)
    for number, (table, column) in enumerate(found):
        mark = tmp_path / f"mark{number}"
        path = tmp_path / "poisoned.db"
        for value in bombs(mark)[: 3 if column in ("inputs", "output", "error") else 1]:
            for old in tmp_path.glob("poisoned.db*"):
                old.unlink()
            shutil.copy(good, path)
            poison(path, table, column, value)
            await read_everything(f"sqlite:///{path}")
            assert not mark.exists(), (table, column)


@pytest.mark.parametrize("status", ["ENQUEUED", "PENDING", "CANCELLED"])
async def test_a04_a_worker_refuses_a_pickled_run_and_does_the_others(
    status: str, tmp_path: Path
) -> None:
    path, mark = tmp_path / "runs.db", tmp_path / "mark"
    url = f"sqlite:///{path}"
    await filled(url)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("delete from workflow_output")
        database.execute(
            "update workflow_status set inputs = ?, serialization = 'py_pickle', status = ?, "
            "queue_name = 'polycall-runs' where workflow_uuid = 'r1'",
            (bombs(mark)[0], status),
        )
        database.execute("delete from workflow_status where workflow_uuid <> 'r1'")
    with ScriptedModel(["well"]) as model:
        async with Durable(url, agents=agents(model), poll_s=0.02, lease_s=1.5) as here:
            if status == "CANCELLED":
                await looked(lambda: here.resume("r1"))
            handle = await here.start("desk", "hello", run_id="r2")
            async with asyncio.timeout(40):
                assert (await handle.result()).text == "well"
                await looked(lambda: asyncio.wait_for(here.result("r1"), 8))
            rows = {row.id: row for row in await here.list()}
    assert not mark.exists()
    assert rows["r2"].state == "finished"
    assert "another program" in rows["r1"].error or "pickle" in rows["r1"].error


async def test_a04_a_pickled_result_and_a_pickled_error_are_refused_by_name(tmp_path: Path) -> None:
    path, mark = tmp_path / "runs.db", tmp_path / "mark"
    url = f"sqlite:///{path}"
    await filled(url)
    for column, status in (("output", "SUCCESS"), ("error", "ERROR")):
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("update workflow_status set serialization = 'py_pickle'")
            database.execute("update workflow_status set status = ?", (status,))
            database.execute(f"update workflow_output set {column} = ?", (bombs(mark)[0],))
        async with Runs(url, poll_s=0.01) as runs:
            with pytest.raises(PolycallError, match="py_pickle"):
                await asyncio.wait_for(runs.result("r1"), 5)
        assert not mark.exists()


async def fill_sessions(path: Path) -> None:
    with ScriptedModel(["hello"]) as model, Sessions(f"sqlite:///{path}") as sessions:
        agent = Agent("test/m", name="desk", client=model)
        await sessions.open("s").run(agent, "hi")


async def read_sessions(path: Path) -> None:
    model = FunctionModel(lambda request: "hello")
    with Sessions(f"sqlite:///{path}") as sessions:
        agent = Agent("test/m", name="desk", client=model)
        sessions.list()
        await looked(sessions.open("s").history)
        await looked(sessions.open("s").messages)
        await looked(lambda: sessions.open("s").run(agent, "hi"))


async def fill_memory(path: Path) -> None:
    store = SQLiteStore(path)
    store.add([Entry("e1", "user:", "likes tea", 1.0, 1.0)], entries_max=9, now=2.0)
    store.close()


async def read_memory(path: Path) -> None:
    async def read() -> None:
        store = SQLiteStore(path)
        try:
            store.recent(["user:"], 9, 3.0)
            store.search(["user:"], "tea", 9, 3.0)
            store.purge(3.0)
        finally:
            store.close()

    await looked(read)


async def fill_knowledge(path: Path) -> None:
    folder = path.parent / "texts"
    folder.mkdir(exist_ok=True)
    (folder / "tea.md").write_text("# Tea\n\nTea is a drink.")
    Knowledge.from_paths(folder, index=path).close()


async def read_knowledge(path: Path) -> None:
    async def read() -> None:
        knowledge = Knowledge(index=path)
        try:
            knowledge.search("tea")
            knowledge.refresh([path.parent / "texts"])
        finally:
            knowledge.close()

    await looked(read)


async def fill_gateway(path: Path) -> None:
    store = open_store(f"sqlite:///{path}", path.parent)
    await store.save_state("a", "one", b"value")
    store.add_row(ROW)
    await store.close()


async def read_gateway(path: Path) -> None:
    async def read() -> None:
        store = open_store(f"sqlite:///{path}", path.parent)
        try:
            await looked(lambda: store.load_states("a", ["one"]))
            await looked(store.ledger_rows)
            await looked(store.keys)
            await looked(store.reconcile)
        finally:
            await store.close()

    await looked(read)


STORES = {
    "sessions": (fill_sessions, read_sessions),
    "memory": (fill_memory, read_memory),
    "knowledge": (fill_knowledge, read_knowledge),
    "gateway": (fill_gateway, read_gateway),
}


@pytest.mark.parametrize("name", STORES)
async def test_a04_no_column_of_any_other_store_is_unpickled(name: str, tmp_path: Path) -> None:
    fill, read = STORES[name]
    good, path = tmp_path / "good.db", tmp_path / "poisoned.db"
    await fill(good)
    found = columns(good)
    assert found
    for number, (table, column) in enumerate(found):
        mark = tmp_path / f"mark{number}"
        for value in bombs(mark):
            for old in tmp_path.glob("poisoned.db*"):
                old.unlink()
            shutil.copy(good, path)
            poison(path, table, column, value)
            await read(path)
            assert not mark.exists(), (table, column)


def test_a04_nothing_in_polycall_can_unpickle() -> None:
    """The modules that make objects of bytes are named nowhere."""
    forbidden = {
        "pickle",
        "cPickle",
        "_pickle",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "joblib",
    }
    found: list[str] = []
    root = Path(polycall.__file__).parent
    for path in root.rglob("*.py"):
        text = path.read_text("utf-8")
        if not any(name in text for name in forbidden):
            continue
        for node in ast.walk(ast.parse(text)):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            found += [
                f"{path.name}: {name}" for name in names if name.partition(".")[0] in forbidden
            ]
    assert found == []
    assert "polycall" in sys.modules
