"""Tasks of calls in one process, on a store that may fail or be slow at the wrong moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
from mcp.shared.exceptions import MCPError

from polycall.errors import RateLimitError, StoreError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp import tasks as tasks_module
from polycall.gateway.mcp.asking import Running
from polycall.gateway.mcp.task_names import HEAD
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.gateway.mcp.tasks import Tasks
from polycall.gateway.mcp.updates import Updates
from polycall.gateway.processes import silence
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.mcp.asking import Elicitation, ElicitationAnswer
from polycall.mcp.tasks import ServerTask

ME = Owner("id-1", "first")


class Values:
    """What `Tasks` asks of a store, in a dictionary; `fails` changes fail, after their work."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.fails = 0

    async def save_state(self, owner: str, name: str, value: bytes) -> None:
        await asyncio.sleep(0.01)
        self.kept[owner, name] = value

    async def load_states(
        self, owner: str, names: Iterable[str], *, may_change: bool
    ) -> dict[str, bytes]:
        return {name: self.kept[owner, name] for name in names if (owner, name) in self.kept}

    async def owner_states(self, owner: str, head: str, at_most: int) -> dict[str, bytes]:
        await asyncio.sleep(0.01)
        return {n: v for (of, n), v in self.kept.items() if of == owner and n.startswith(head)}

    async def change_state(
        self, owner: str, name: str, change: Callable[[bytes], bytes | None]
    ) -> bytes | None:
        new = change(self.kept[owner, name])
        if new is not None and self.fails:
            self.fails -= 1
            raise StoreError("away")
        if new is not None:
            self.kept[owner, name] = new
        return self.kept[owner, name]

    async def delete_states(self, owner: str, names: list[str]) -> None:
        for name in names:
            self.kept.pop((owner, name), None)


def tasks_on(values: Values) -> Tasks:
    return Tasks(cast("Store", values), "worker")


async def begun(tasks: Tasks, work: Callable[[Running[Any]], Any]) -> TaskRecord:
    return await tasks.begin(ME, "t_x", "t", lambda: Running(work), can_ask=True)


async def until(tasks: Tasks, name: str, status: str, question: str = "") -> TaskRecord:
    async with asyncio.timeout(5):
        while True:
            record = await tasks.find(ME, name)
            assert record is not None
            if record.status == status and question in str(record.question):
                return record
            await asyncio.sleep(0.01)


def said(text: str) -> JSON:
    return {"content": [{"type": "text", "text": text}], "isError": False}


async def test_an_answer_is_given_to_the_question_that_was_answered_alone() -> None:
    values = Values()
    tasks = tasks_on(values)
    answers: list[ElicitationAnswer] = []
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    withdrawn = asyncio.Event()

    async def work(running: Running[Any]) -> JSON:
        first = asyncio.ensure_future(running.ask(Elicitation("t", "delete A?", schema=schema)))
        await withdrawn.wait()
        first.cancel()
        await asyncio.wait([first])
        answers.append(await running.ask(Elicitation("t", "delete everything?", schema=schema)))
        return said("done")

    name = (await begun(tasks, work)).id
    asked = await until(tasks, name, "input_required", "delete A?")
    withdrawn.set()  # the server asks something else before the answer is seen
    await asyncio.sleep(0.02)
    await tasks.answer(ME, name, {asked.question_name: {"action": "accept", "content": {}}})
    record = await until(tasks, name, "input_required", "delete everything?")
    assert answers == []
    values.fails = 1
    await asyncio.sleep(0.05)
    for _ in range(2):  # the first finds the store away
        try:
            await tasks.answer(ME, name, {record.question_name: {"action": "decline"}})
        except StoreError:
            continue
    await until(tasks, name, "completed")
    assert [each.action for each in answers] == ["decline"]
    await tasks.close()


@pytest.mark.parametrize("half", [{"n": "\ud83d"}, {"\udead": 1}])
async def test_half_a_letter_in_an_answer_is_refused_and_breaks_nothing(half: Any) -> None:
    tasks = tasks_on(Values())

    async def work(running: Running[Any]) -> JSON:
        answer = await running.ask(Elicitation("t", "half \ud83d?", schema={"type": "object"}))
        return said(answer.action)

    name = (await begun(tasks, work)).id
    asked = await until(tasks, name, "input_required")
    with pytest.raises(MCPError, match="half of a character"):
        await tasks.answer(ME, name, {asked.question_name: {"action": "accept", "content": half}})
    await tasks.answer(ME, name, {asked.question_name: {"action": "accept", "content": {}}})
    record = await until(tasks, name, "completed")
    assert (await tasks.result(ME, record))["content"][0]["text"] == "accept"
    await tasks.close()


async def test_tasks_that_begin_at_once_are_counted() -> None:
    tasks = tasks_on(Values())

    async def work(running: Running[Any]) -> JSON:
        await asyncio.sleep(30)
        return said("never")

    made = await asyncio.gather(*(begun(tasks, work) for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(each, TaskRecord) for each in made) == 32
    assert sum(isinstance(each, RateLimitError) for each in made) == 68
    await tasks.close()


class Server:
    """What `Updates` asks of a server that never gives updates."""

    def __init__(self) -> None:
        self.name = "s"
        self.source = self.mcp = self
        self.tried = 0

    async def ready(self) -> None:
        self.tried += 1
        raise RuntimeError("of the library's own")


async def test_a_key_has_a_share_of_subscriptions_and_an_odd_error_ends_none() -> None:
    class Hub:
        on_updated: Any = None

    updates = Updates(cast("Any", Hub()))
    server = cast("Any", Server())
    open_ones = [updates.watching("a", server, f"x://{n}", lambda: None) for n in range(200)]
    for each in open_ones:
        each.__enter__()
    with (
        pytest.raises(RateLimitError, match="200 subscriptions of this key"),
        updates.watching("a", server, "x://more", lambda: None),
    ):
        raise AssertionError
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with updates.watching("b", server, "x://0", lambda: None):
        assert server.tried == 200
        assert len(updates._tasks) == 200  # pyright: ignore[reportPrivateUsage]
        assert not any(task.done() for task in updates._tasks.values())  # pyright: ignore[reportPrivateUsage]
    for each in open_ones:
        each.__exit__(None, None, None)
    assert not updates._tasks  # pyright: ignore[reportPrivateUsage]
    await updates.close()


@pytest.mark.parametrize("part", ["question", "answer", "error", "message"])
async def test_s16_no_part_of_a_tasks_record_is_large(part: str) -> None:
    values = Values()
    tasks = tasks_on(values)
    large = "x" * 1_000_000
    answers: list[ElicitationAnswer] = []

    async def work(running: Running[Any]) -> JSON:
        if part in ("question", "answer"):
            words = large if part == "question" else "sure?"
            schema: dict[str, Any] = {"type": "object", "properties": {}}
            answers.append(await running.ask(Elicitation("t", words, schema=schema)))
            return said("done")
        raise MCPError(-32603, large if part == "message" else "x", {"detail": large})

    name = (await begun(tasks, work)).id
    if part == "answer":
        asked = await until(tasks, name, "input_required")
        with pytest.raises(MCPError, match="at most"):
            await tasks.answer(ME, name, {asked.question_name: {"action": large}})
        await tasks.cancel(ME, name)
        await until(tasks, name, "cancelled")
    else:
        record = await until(tasks, name, "completed" if part == "question" else "failed")
        assert part == "question" or "it is too long" in str(record.error)
        assert [each.action for each in answers] == ["decline"] * (part == "question")
    assert max(map(len, values.kept.values())) < 200_000
    await tasks.close()


@pytest.mark.parametrize("task", [None, ServerTask("at its server", "there")], ids=["call", "task"])
async def test_a_process_does_not_take_over_a_task_that_it_works_on(
    task: ServerTask | None,
) -> None:
    values = Values()
    tasks = tasks_on(values)
    go_on = asyncio.Event()

    async def work(running: Running[Any]) -> JSON:
        await go_on.wait()
        return said("done")

    def resume(_record: TaskRecord) -> Running[Any]:
        raise AssertionError("a second one waits")

    record = await begun(tasks, work)
    record.beat, record.server_task = 0.0, task  # the store was away from it for long
    values.kept[ME.id, HEAD + record.id] = record.written()
    found = await tasks.find(ME, record.id, resume)
    assert found is not None
    assert found.status == "working"
    go_on.set()
    record = await until(tasks, record.id, "completed")
    assert (await tasks.result(ME, record))["content"][0]["text"] == "done"


@pytest.mark.parametrize("seen", ["", "building"], ids=["a call", "a task at its server"])
async def test_a_record_has_from_the_start_what_another_process_needs(seen: str) -> None:
    """A process may be killed as soon as the client has the task's name."""
    values = Values()
    tasks = tasks_on(values)

    async def work(_running: Running[Any]) -> JSON:
        await asyncio.Event().wait()
        raise AssertionError

    running: Running[Any] = Running(work)
    running.begun("call-1")
    if seen:
        running.tasked(ServerTask("at its server", "there", is_left=False))
        await running.report(0.0, seen)
    record = await tasks.begin(ME, "t_x", "t", lambda: running, can_ask=True, going=running)
    found = TaskRecord.read(values.kept[ME.id, HEAD + record.id])
    assert (found.call_id, found.message) == ("call-1", seen)
    assert (found.server_task and found.server_task.id) == ("at its server" if seen else None)
    await tasks.close()


@pytest.mark.parametrize("beat", [0.0, 1e9], ids=["left", "killed"])
@pytest.mark.parametrize("away", [0, 2], ids=["", "the store is away at first"])
@pytest.mark.parametrize("task", [None, ServerTask("at its server", "there")], ids=["call", "task"])
async def test_a_task_of_a_process_that_is_gone_is_taken_up_without_being_asked_for(
    task: ServerTask | None, away: int, beat: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "BEAT_S", 0.01)
    monkeypatch.setattr(tasks_module, "BEAT_S", 0.01)
    values = Values()
    rows: list[Any] = []
    values.add_row = rows.append  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    tasks, others = tasks_on(values), [tasks_on(values) for _ in range(2)]
    resumed: list[str] = []

    async def work(_running: Running[Any]) -> JSON:
        return said("done")

    def resume(record: TaskRecord) -> Running[Any]:
        resumed.append(record.id)
        return Running(work)

    record = TaskRecord("0" * 32, "t_x", "t", "first", "gone", 1e9, 1e9, beat, 10**12)
    record.server_task = task
    values.kept[ME.id, HEAD + record.id] = record.written()
    values.fails = away
    for each in (tasks, *others, tasks):  # several processes see it at once
        each.take_up(ME, record.id, resume)
    async with asyncio.timeout(20):  # nobody asks
        while not (done := TaskRecord.read(values.kept[ME.id, HEAD + record.id])).is_over:
            await asyncio.sleep(0.01)
    assert (done.is_lost, len(resumed), len(rows)) == (
        task is None,
        int(task is not None),
        int(task is None),
    )
    for each in (tasks, *others):
        await each.close()


@pytest.mark.parametrize("is_there", [True, False], ids=["it hears", "it is gone"])
async def test_a_cancelled_task_is_ended_by_its_process_or_in_its_place_once(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "_HEARD_S", 1.0)
    values = Values()
    own, others = tasks_on(values), [tasks_on(values) for _ in range(2)]
    left: list[str] = []

    async def work(_running: Running[Any]) -> JSON:
        await asyncio.Event().wait()
        raise AssertionError

    async def leave(owner: Owner, record: TaskRecord) -> None:
        assert owner == ME
        left.append(record.id)

    record = await begun(own, work)
    if not is_there:
        for job in own._jobs.values():  # pyright: ignore[reportPrivateUsage]
            assert job.task is not None
            job.task.cancel()
    assert [await each.cancel(ME, record.id, leave) for each in others] == [True, False]
    async with asyncio.timeout(20):
        while not TaskRecord.read(values.kept[ME.id, HEAD + record.id]).is_heard:
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.2)
    assert left == ([] if is_there else [record.id])
    for each in (own, *others):
        await each.close(0.0)
