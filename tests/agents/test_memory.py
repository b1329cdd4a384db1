"""Memory: every store, expiry, bounds, scopes, processes side by side, and crashes."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import Agent, Client, Memory
from polycall.agents import Injection
from polycall.agents.memory import (
    Entry,
    JSONFileStore,
    MemoryFullError,
    MemoryStore,
    PostgresStore,
    ProcessStore,
    SQLiteStore,
)
from polycall.errors import RequestError, ToolError
from polycall.ir import ToolCall
from polycall.sim import Call, Simulation, Turn
from polycall.testing import ScriptedModel

from .support import PROVIDERS, play

MINE = ("user:",)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A Postgres server of the tests' own, where one is installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    pg_ctl, initdb = shutil.which("pg_ctl"), shutil.which("initdb")
    if pg_ctl is None or initdb is None:
        pytest.skip("no Postgres server is installed")
    folder = Path(tempfile.mkdtemp(prefix="pc-pg-"))
    # A server refuses to run as root.
    as_owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        folder.chmod(0o700)
        as_owner = {"user": "nobody"}
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    try:
        made = subprocess.run(
            [initdb, "-D", folder / "data", "-U", "test", "-A", "trust"],
            capture_output=True,
            check=False,
            **as_owner,
        )
        if made.returncode:
            pytest.skip(f"Postgres cannot be set up here: {made.stderr.decode()[-200:]}")
        start = [pg_ctl, "-D", folder / "data", "-l", folder / "log", "-w", "-o", options, "start"]
        subprocess.run(start, capture_output=True, check=True, **as_owner)
        yield f"postgresql://test@/postgres?host={folder}"
        stop = [pg_ctl, "-D", folder / "data", "-m", "immediate", "stop"]
        subprocess.run(stop, capture_output=True, check=True, **as_owner)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


Make = Callable[[], MemoryStore]


@pytest.fixture(params=["process", "json", "sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    match request.param:
        case "process":
            return ProcessStore
        case "json":
            return lambda: JSONFileStore(tmp_path / "memory.json")
        case "sqlite":
            return lambda: SQLiteStore(tmp_path / "memory.db")
        case _:
            url = request.getfixturevalue("postgres")
            first = PostgresStore(url)
            with first._database.changing() as run:
                run.execute("truncate polycall_memory")
            first.close()
            return lambda: PostgresStore(url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(make: Make, clock: Clock) -> Iterator[Memory]:
    made = Memory(make(), clock=clock)
    yield made
    made.close()


def texts(memory: Memory, query: str = "", **options: Any) -> list[str]:
    return [entry.text for entry in memory.search(query, **options)]


def test_what_was_added_is_found(memory: Memory) -> None:
    memory.add("The user likes green tea in the morning.")
    memory.add("Her brother lives in Busan.")
    memory.add("사용자는 서울에서 일한다.")
    assert texts(memory, "teas?") == ["The user likes green tea in the morning."]
    assert texts(memory, "Where do brothers live?") == ["Her brother lives in Busan."]
    assert texts(memory, "서울은 어디") == ["사용자는 서울에서 일한다."]
    assert texts(memory, "nothing of that") == []
    assert texts(memory, '"; drop table') == []
    assert texts(memory, "?!") == []
    assert texts(memory) == [
        "사용자는 서울에서 일한다.",
        "Her brother lives in Busan.",
        "The user likes green tea in the morning.",
    ]


def test_the_better_match_comes_first(memory: Memory) -> None:
    memory.add_all(["apple", "apple pie recipe", "a recipe for apple pie with cinnamon", "pear"])
    assert texts(memory, "apple pie cinnamon", limit=2)[0] == "a recipe for apple pie with cinnamon"
    assert len(texts(memory, "apple pie cinnamon", limit=2)) == 2


def test_update_and_forget(memory: Memory) -> None:
    entry = memory.add("lives in Busan")
    changed = memory.update(entry.id, "lives in Daegu")
    assert (changed.id, changed.created) == (entry.id, pytest.approx(entry.created))
    assert texts(memory, "Busan") == []
    assert texts(memory, "Daegu") == ["lives in Daegu"]
    memory.forget(entry.id)
    assert texts(memory, "Daegu") == []
    assert texts(memory) == []
    with pytest.raises(ToolError, match="there is no entry"):
        memory.forget(entry.id)
    with pytest.raises(ToolError, match="there is no entry"):
        memory.update(entry.id, "x")


def test_what_has_expired_is_nowhere(make: Make, clock: Clock) -> None:
    memory = Memory(make(), ttl=60, clock=clock)
    short = memory.add("for ten seconds", ttl=10)
    memory.add("for a minute")
    memory.add("for an hour", ttl=datetime.timedelta(hours=1))
    clock.now += 11
    assert texts(memory, "seconds minute hour") == ["for an hour", "for a minute"]
    with pytest.raises(ToolError, match="there is no entry"):
        memory.update(short.id, "again")
    with pytest.raises(ToolError, match="there is no entry"):
        memory.forget(short.id)
    clock.now += 60
    assert texts(memory) == ["for an hour"]
    assert memory.purge() == 2
    assert memory.purge() == 0
    assert texts(memory) == ["for an hour"]
    memory.close()


def test_an_entry_ends_at_the_very_moment_it_expires(make: Make) -> None:
    store, ends = make(), 1_800_000_000.0
    entry = Entry("a", "user:", "tea", ends - 10, ends - 10, ends)
    store.add([entry], entries_max=1, now=ends - 10)
    before = ends - 0.25
    assert store.search(MINE, "tea", 5, before) == store.recent(MINE, 5, before) == [entry]
    assert store.purge(before) == 0
    with pytest.raises(MemoryFullError):
        store.add([replace(entry, id="b")], entries_max=1, now=before)
    assert store.search(MINE, "tea", 5, ends) == store.recent(MINE, 5, ends) == []
    assert store.update(MINE, "a", "coffee", None, ends) is None
    assert not store.remove(MINE, "a", ends)
    later = replace(entry, id="b", expires=None)
    store.add([later], entries_max=1, now=ends)  # it makes room
    assert store.recent(MINE, 5, ends) == [later]
    store.close()


def test_an_update_begins_a_new_life(memory: Memory, clock: Clock) -> None:
    entry = memory.add("x", ttl=10)
    clock.now += 8
    memory.update(entry.id, "y", ttl=10)
    clock.now += 8
    assert texts(memory) == ["y"]


def test_scopes_do_not_see_each_other(memory: Memory) -> None:
    entry = memory.add("secret of min", scope="user:min")
    memory.add("secret of jun", scope="user:jun")
    assert texts(memory, "secret", scopes=["user:jun"]) == ["secret of jun"]
    assert texts(memory, "secret") == []
    assert sorted(texts(memory, "secret", scopes=["user:jun", "user:min"])) == [
        "secret of jun",
        "secret of min",
    ]
    with pytest.raises(ToolError):
        memory.forget(entry.id, scopes=["user:jun"])


def test_bounds(make: Make, clock: Clock) -> None:
    memory = Memory(make(), entries_max=3, entry_chars_max=20, clock=clock)
    memory.add("one", ttl=5)
    memory.add_all(["two", "three"])
    with pytest.raises(MemoryFullError, match=r"this user is full \(3 entries\); forget"):
        memory.add("four")
    with pytest.raises(MemoryFullError):
        memory.add_all(["four", "five"])
    memory.add("elsewhere", scope="user:other")
    clock.now += 6
    memory.add("four")  # the first has expired and makes room
    assert sorted(texts(memory)) == ["four", "three", "two"]
    with pytest.raises(ToolError, match="up to 20 characters, this one 21"):
        memory.add("x" * 21)
    with pytest.raises(ToolError, match="empty text"):
        memory.add("  ")
    memory.close()


def test_it_is_still_there_with_the_next_process(make: Make, clock: Clock) -> None:
    first = make()
    if isinstance(first, ProcessStore) and not isinstance(first, JSONFileStore):
        pytest.skip("memory of a process ends with it")
    one = Memory(first, clock=clock)
    one.add("kept")
    two = Memory(make(), clock=clock)
    assert texts(two) == ["kept"]
    two.add("by two")
    assert texts(one) == ["by two", "kept"]
    one.close()
    two.close()


def test_threads_side_by_side_lose_nothing(memory: Memory) -> None:
    def work(name: int) -> None:
        for number in range(20):
            entry = memory.add(f"thread {name} fact {number}")
            if number % 4 == 0:
                memory.forget(entry.id)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(memory, limit=1000)) == 60


WRITER = """
import sys
from polycall.agents import Memory
memory = Memory(sys.argv[1])
for number in range(int(sys.argv[3])):
    entry = memory.add(f"{sys.argv[2]} {number}")
    if number % 5 == 0:
        memory.update(entry.id, f"{sys.argv[2]} {number} changed")
memory.close()
"""


def _write(place: str, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, place, name, str(count)])


@pytest.mark.parametrize("kind", ["memory.json", "memory.db", "postgres"])
def test_two_processes_writing_at_once_lose_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = str(tmp_path / kind)
    if kind == "postgres":
        place = request.getfixturevalue("postgres")
        store = PostgresStore(place)
        with store._database.changing() as run:
            run.execute("truncate polycall_memory")
        store.close()
    writers = [_write(place, name, 100) for name in ("left", "right")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    memory = Memory(place)
    expected = {
        f"{name} {number}" + (" changed" if number % 5 == 0 else "")
        for name in ("left", "right")
        for number in range(100)
    }
    assert set(texts(memory, limit=1000)) == expected
    memory.close()


@pytest.mark.parametrize("kind", ["memory.json", "memory.db"])
def test_a_writer_killed_at_any_moment_leaves_a_whole_memory(kind: str, tmp_path: Path) -> None:
    place = tmp_path / kind
    total = 0
    for round_number in range(4):
        writer = _write(str(place), f"round {round_number}", 100_000)
        deadline = time.monotonic() + 20
        while not place.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.25 + 0.037 * round_number)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        memory = Memory(place, entries_max=1_000_000)
        found = texts(memory, limit=1_000_000)
        assert len(found) == len(set(found)) >= total
        # Numbers are written in order, so none may be missing below the last.
        numbers = sorted(
            int(text.split()[2]) for text in found if text.startswith(f"round {round_number}")
        )
        assert numbers == list(range(len(numbers)))
        memory.add("still writable")
        memory.forget(memory.search("writable")[0].id)
        total = len(texts(memory, limit=1_000_000))
        memory.close()
    assert total > 0


def test_a_crash_between_write_and_rename_loses_only_that_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "memory.json"
    memory = Memory(place)
    memory.add("before")
    whole = place.read_bytes()

    class CrashError(Exception):
        pass

    def crash(*_: object) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(CrashError):
            memory.add("lost")
    assert place.read_bytes() == whole
    assert len(list(tmp_path.glob(".memory.json.*.tmp"))) == 1
    assert texts(memory) == ["before"]  # what was not written is not in memory either
    memory.add("after")
    assert list(tmp_path.glob(".memory.json.*.tmp")) == []
    assert texts(Memory(place)) == ["after", "before"]


def test_a_file_that_is_no_memory_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "memory.json"
    place.write_text('{"something": "else"}')
    memory = Memory(place)
    for step in (lambda: memory.add("x"), lambda: memory.search("x")):
        with pytest.raises(ToolError, match="is not a memory file"):
            step()
    assert json.loads(place.read_text()) == {"something": "else"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["process", "memory.json", "memory.db"])
def test_a_hundred_thousand_entries(kind: str, tmp_path: Path) -> None:
    clock = Clock()
    store = None if kind == "process" else tmp_path / kind
    memory = Memory(store, entries_max=200_000, clock=clock)
    words = [
        "tea",
        "coffee",
        "train",
        "plane",
        "music",
        "garden",
        "river",
        "stone",
        "paper",
        "light",
    ]

    def text(number: int) -> str:
        picked = (words[number // 10**place % 10] for place in range(4))
        return f"fact {number} about " + " ".join(picked)

    memory.add_all([text(number) for number in range(50_000)], ttl=100)
    memory.add_all([text(number) for number in range(50_000, 100_000)])
    began = time.perf_counter()
    assert texts(memory, "fact 77777", limit=1) == [text(77_777)]
    first_s = time.perf_counter() - began
    clock.now += 101
    assert texts(memory, "fact 12345", limit=1) != [text(12_345)]
    stop = threading.Event()
    failures: list[str] = []

    def keep_asking() -> None:
        while not stop.is_set():
            if texts(memory, "number 66666 river", limit=1) != [text(66_666)]:
                failures.append("not found under load")

    asking = threading.Thread(target=keep_asking)
    asking.start()
    for number in range(3):
        memory.add(f"late {number}")
    stop.set()
    asking.join()
    assert failures == []
    assert memory.purge() == 50_000
    assert len(texts(memory, limit=200_000)) == 50_003
    assert first_s < 5
    memory.close()


# ------------------------------------------------------------------------------------------------
# As tools


async def test_the_four_tools() -> None:
    memory = Memory(ttl=datetime.timedelta(days=30))
    with ScriptedModel(
        [
            ToolCall("a", "add_to_memory", '{"text":"likes tea"}'),
            ToolCall("b", "get_memory", '{"query":"teas"}'),
            "noted",
        ]
    ) as model:
        agent = Agent("test/m", memory=memory, client=model)
        run = await agent.run("I like tea", user="min")
    assert [tool.name for tool in model.requests[0].tools] == [
        "add_to_memory",
        "get_memory",
        "update_memory",
        "forget",
    ]
    (entry,) = memory.search("tea", scopes=["user:min"])
    added, got = (json.loads(step.results[0].text) for step in run.steps[:2])
    assert got == [added]
    assert (added["id"], added["text"]) == (entry.id, "likes tea")
    assert "expires" in added
    changes = [
        ToolCall("c", "update_memory", f'{{"id":"{entry.id}","text":"likes coffee","days":2}}'),
        ToolCall("d", "get_memory"),
        ToolCall("e", "forget", f'{{"id":"{entry.id}"}}'),
        ToolCall("f", "forget", f'{{"id":"{entry.id}"}}'),
        "done",
    ]
    with ScriptedModel(changes) as model:
        run = await Agent("test/m", memory=memory, client=model).run("Coffee now.", user="min")
    results = [result for step in run.steps for result in step.results]
    assert json.loads(results[1].text)[0]["text"] == "likes coffee"
    assert results[2].text == "forgotten"
    assert results[3].is_error


async def test_one_user_never_sees_anothers() -> None:
    memory = Memory()
    memory.add("the code is 1234", scope="user:min")
    call = ToolCall("b", "get_memory", '{"query":"code"}')
    with ScriptedModel([call, "nothing"]) as model:
        run = await Agent("test/m", memory=memory, client=model).run("the code?", user="jun")
    assert run.steps[0].results[0].text == "[]"
    assert "1234" not in str(model.requests)


async def test_scopes_of_agent_and_run() -> None:
    memory = Memory(scopes=["run", "agent"])
    calls = [
        ToolCall("a", "add_to_memory", '{"text":"for this run"}'),
        ToolCall("b", "add_to_memory", '{"text":"for this agent","scope":"agent"}'),
    ]
    with ScriptedModel([calls, "ok", ToolCall("c", "get_memory", "{}"), "ok"]) as model:
        agent = Agent("test/m", name="clerk", memory=memory, client=model)
        await agent.run("go")
        run = await agent.run("again")
    assert [each["text"] for each in json.loads(run.steps[0].results[0].text)] == ["for this agent"]
    with pytest.raises(RequestError, match="scopes is a list of"):
        Memory(scopes=["world"])  # pyright: ignore


async def test_what_is_put_into_the_prompt() -> None:
    memory = Memory()
    memory.add("The user drinks green tea.", scope="user:min")
    memory.add("The user has a cat.", scope="user:min")
    with ScriptedModel([ToolCall("c", "get_memory", "{}"), "tea", "cat"]) as model:
        agent = Agent("test/m", instructions="Be kind.", memory=memory, client=model)
        await agent.run("Which tea?", user="min")
        await agent.run([], user="min")
    entry = memory.search("tea", scopes=["user:min"])[0]
    found = f"From memory (get_memory finds more):\n- [{entry.id}] The user drinks green tea."
    words = f"Be kind.\n\n{found}"
    # The same in every step, so that the prompt's beginning stays the same.
    assert [request.messages[0].text for request in model.requests] == [words, words, "Be kind."]


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        (Injection(entries=0), 0),
        (Injection(entries=2, by="recent"), 2),
        (Injection(entries=9, by="recent", size_chars_max=60), 2),
    ],
)
async def test_the_rule_can_be_chosen(rule: Injection, lines: int) -> None:
    memory = Memory(inject=rule)
    for number in range(5):
        memory.add(f"fact {number}")
    with ScriptedModel(["ok"]) as model:
        await Agent("test/m", memory=memory, client=model).run("hello")
    words = model.requests[0].messages[0].text if lines else ""
    assert [line.split()[-1] for line in words.splitlines()[1:]] == ["4", "3", "2"][:lines]


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_on_every_provider(vendor: str, simulation: Simulation, client: Client) -> None:
    memory = Memory()
    model = play(
        simulation,
        vendor,
        Turn(calls=[Call("add_to_memory", {"text": "seat by the window", "days": 30})]),
        Turn(text="Noted."),
        Turn(text="By the window."),
    )
    agent = Agent(model, memory=memory, client=client)
    await agent.run("I always sit by the window.", user="min")
    assert (await agent.run("Which seat do I want?", user="min")).text == "By the window."
    assert "seat by the window" in str(simulation.requests[-1].body)


def test_a_lifetime_is_longer_than_nothing() -> None:
    with pytest.raises(RequestError, match="longer than nothing"):
        Memory(ttl=0)
