"""Who works on something is not taken for dead because the store was away, or clocks differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from polycall._support import jsontext
from polycall.errors import StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp import dispatch as dispatch_module
from polycall.gateway.mcp import task_jobs
from polycall.gateway.mcp.asking import Running
from polycall.gateway.mcp.dispatch import McpDispatch
from polycall.gateway.mcp.task_names import HEAD
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.gateway.mcp.tasks import Tasks
from polycall.gateway.processes import silence
from polycall.gateway.processes.silence import stood_still
from polycall.gateway.responses.background import BackgroundResponses
from polycall.gateway.responses.records import JobRecord, job_state
from polycall.gateway.state.stored_responses import response_state
from polycall.gateway.store.store import Store, open_store
from tests.gateway.test_mcp_task_records import ME, Values, begun, said, tasks_on, until

AWAY = "the store is away"


@pytest.mark.parametrize(
    ("seen", "end"),
    [
        ([5.0] * 5, 5.0),
        ([5.0] * 4 + [6.0], None),
        ([5.0] * 4 + [None], None),
        ([5.0, 4.0], None),  # a clock was set back: somebody is there all the same
        ([0.0], 0.0),  # left in order
        ([None], None),
        ([5.0] * 4 + [AWAY] * 9 + [6.0], None),
        ([5.0] * 4 + [AWAY] + [5.0] * 5, 5.0),
        ([5.0, 5.0, 5.0, 5.0, AWAY, 5.0, 5.0, 5.0, 5.0, 6.0], None),
        ([AWAY] * 9 + [5.0] * 5, 5.0),
    ],
)
async def test_only_looks_that_find_the_store_count(
    seen: list[Any], end: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "BEAT_S", 0.0)
    left = list(seen)

    async def look() -> float | None:
        if (beat := left.pop(0)) == AWAY:
            raise StoreError(AWAY)
        return cast("float | None", beat)

    assert (await stood_still(look), left) == (end, [])


class Elsewhere(Values):
    """The same values for a process whose clock is `ahead_s` ahead: beats look that much older."""

    def __init__(self, of: Values, ahead_s: float) -> None:
        super().__init__()
        self.kept = of.kept
        self._ahead_s = ahead_s
        self.rows: list[Any] = []
        self.add_row = self.rows.append

    def _moved(self, value: bytes, by_s: float) -> bytes:
        record = TaskRecord.read(value)
        record.beat += by_s
        return record.written()

    async def load_states(
        self, owner: str, names: Iterable[str], *, may_change: bool
    ) -> dict[str, bytes]:
        found = await super().load_states(owner, names, may_change=may_change)
        return {name: self._moved(value, -self._ahead_s) for name, value in found.items()}

    async def change_state(
        self, owner: str, name: str, change: Callable[[bytes], bytes | None]
    ) -> bytes | None:
        def moved(value: bytes) -> bytes | None:
            new = change(self._moved(value, -self._ahead_s))
            return None if new is None else self._moved(new, self._ahead_s)

        value = await super().change_state(owner, name, moved)
        return None if value is None else self._moved(value, -self._ahead_s)


@pytest.mark.parametrize("is_asked", [False, True], ids=["unasked", "a client asks"])
@pytest.mark.parametrize(
    ("ahead_s", "was_away"),
    [(0.0, True), (9.0, False), (29.0, False), (3600.0, False), (-3600.0, False), (9.0, True)],
)
async def test_a_call_that_goes_on_is_not_ended_by_another_process(
    ahead_s: float, was_away: bool, is_asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "BEAT_S", 0.2)
    monkeypatch.setattr(task_jobs, "BEAT_S", 0.05)
    monkeypatch.setattr(task_jobs, "LOOK_S", 0.02)
    values = Values()
    there = Elsewhere(values, ahead_s)
    tasks, others = tasks_on(values), Tasks(cast("Store", there), "other")
    go_on, ends = asyncio.Event(), [""]

    async def work(_running: Running[Any]) -> dict[str, Any]:
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return said("done")

    record = await begun(tasks, work)
    if was_away:  # for nine seconds, and the other one finds it first
        values.fails = 3
        record.beat -= 9.0
        values.kept[ME.id, HEAD + record.id] = record.written()
    if is_asked:
        assert (await others.find(ME, record.id)) is not None
    else:
        others.take_up(ME, record.id, lambda _: Running(work))
    async with asyncio.timeout(20):
        while others._taking_up:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.01)
    await until(tasks, record.id, "working")
    go_on.set()
    record = await until(tasks, record.id, "completed")
    assert (record.is_lost, there.rows, ends) == (False, [], [""])
    for each in (tasks, others):
        await each.close()


@pytest.mark.parametrize("is_there", [True, False])
async def test_an_answer_that_is_worked_on_is_not_ended_by_another_process(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "BEAT_S", 0.05)
    store = open_store("sqlite:///s.db", tmp_path)
    limits = SimpleNamespace(worker="other")
    answers = BackgroundResponses(store, cast("Any", None), cast("Any", limits))

    def route(_model: str) -> Iterator[Any]:
        return iter(())

    services: Any = SimpleNamespace(router=SimpleNamespace(route=route))
    answers.configure(services, cast("Any", None))
    owner, name = Owner("id-1", "first"), "resp_1"
    job = JobRecord(beat=1e9, worker="one", key="first", key_id="id-1", model="m")
    response = {"id": name, "status": "in_progress"}
    await store.save_states(
        owner.id,
        {response_state(name): jsontext.encode_bytes(response), job_state(name): job.written()},
    )
    found = await answers.record(owner, name)
    assert found is not None
    assert not found.is_done
    async with asyncio.timeout(20):
        while answers._watched:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.01)
            if is_there:  # its clock is far behind
                job.beat += 1
                await store.save_state(owner.id, job_state(name), job.written())
    kept = await store.load_states(owner.id, [response_state(name)], may_change=True)
    status = jsontext.decode(kept[response_state(name)])["status"]
    assert status == ("in_progress" if is_there else "failed")
    await answers.close(1.0)
    await store.close()


@pytest.mark.parametrize("room", [1000, 3, 0], ids=["", "little room", "no room at first"])
async def test_all_tasks_of_lost_processes_are_seen_to_however_many_have_ended(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "SUSPECT_S", -60.0)  # they are as old as they need to be
    store = open_store("sqlite:///s.db", tmp_path)
    live, over = (jsontext.encode_bytes({"status": each}) for each in ("working", "completed"))
    wanted: set[str] = set()
    for number in range(5):  # some between all those that have ended, and at the same moment
        names = {f"live{number}-{each}" for each in range(3)}
        ended = {f"{HEAD}over{number}-{each}": over for each in range(500)}
        await store.save_states(f"key{number}", {f"{HEAD}{each}": live for each in names} | ended)
        wanted |= names
    taken: list[str] = []
    busy: set[str] = set()
    largest = 0

    def take_up_task(owner: Owner, name: str) -> bool:
        assert owner.id == f"key{name[4]}"
        if name in busy:
            return True
        if len(busy) >= room:
            return False
        busy.add(name)
        taken.append(name)
        return True

    def of_id(owner_id: str) -> Owner:
        return Owner(owner_id, owner_id)

    keys = SimpleNamespace(of_id=of_id)
    parts: dict[str, Any] = dict.fromkeys(
        ("limits", "metrics", "memory", "transport", "traces", "sandbox", "turn", "application")
    )
    dispatch = McpDispatch(store, cast("Any", keys), **parts)
    dispatch.has_servers = True
    service = SimpleNamespace(take_up_task=take_up_task)

    async def opened() -> Any:
        return service

    monkeypatch.setattr(dispatch, "opened", opened)
    load = store.look_up_aside

    async def counted(operation: Any) -> Any:
        nonlocal largest
        rows = await load(operation)
        largest = max(largest, len(rows))
        return rows

    monkeypatch.setattr(store, "look_up_aside", counted)
    for _ in range(100):
        dispatch._look_at = 0.0  # pyright: ignore[reportPrivateUsage]
        await dispatch.look()
        if room < 1000:  # those end
            busy.clear()
            room = 3
    assert sorted(set(taken)) == sorted(wanted)
    assert largest <= 100
    await store.close()
