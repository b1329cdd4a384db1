"""What a program can do in a jail, and what comes back."""

from __future__ import annotations

import asyncio
import datetime
import re
import time

import pytest
import uvloop

from polycall.sandbox import (
    Call,
    Limits,
    RuntimeUnavailableError,
    Sandbox,
    Session,
    SessionClosedError,
    TooManySessionsError,
)
from polycall.sandbox.runtime import End, Job
from polycall.sandbox.tool_call_broker import BrokerTurn

from .support import TOOLS


async def test_value_and_output_both_come_back(session: Session):
    result = await session.run("print('seen')\n6 * 7")
    assert (result.status, result.stdout, result.value) == ("finished", "seen\n", 42)


async def test_state_lives_between_runs(session: Session):
    await session.run("import math\nvalues = [1, 2, 3]\ndef double(x):\n    return 2 * x")
    result = await session.run("[double(v) for v in values] + [math.floor(2.5)]")
    assert result.value == [2, 4, 6, 2]
    assert (await session.run("_[1]")).value == 4


async def test_a_process_serves_one_session_and_no_other():
    async with Sandbox("jail", pool=1) as sandbox:
        seen: list[object] = []
        for _ in range(3):
            async with sandbox.session() as session:
                result = await session.run(
                    "import json\n(hasattr(json, 'mark'), setattr(json, 'mark', 1))[0]"
                )
                assert result.value is False
                process = session._process
                assert process is not None
                assert not any(process is each for each in seen)
                seen.append(process)
        assert not any(getattr(each, "alive", True) for each in seen)


async def test_sessions_do_not_share_state(jail: Sandbox):
    async with jail.session() as one, jail.session() as other:
        await one.run("secret = 1; open('/tmp/note', 'w').write('x')")
        result = await other.run("import os; ('secret' in globals(), os.listdir('/tmp'))")
    assert result.value == [False, []]


async def test_a_result_is_data_and_a_call_is_recorded(session: Session):
    result = await session.run("(await square(3))['square'] + await add(1, right=2)", TOOLS)
    assert result.value == 12
    assert [
        (call.name, call.args, call.kwargs, call.outcome, call.value) for call in result.calls
    ] == [
        ("square", (3,), {}, "ok", {"square": 9}),
        ("add", (1,), {"right": 2}, "ok", 3),
    ]


async def test_a_tools_error_is_catchable_as_itself_and_as_tool_error(session: Session):
    code = """
caught = []
for kind in (LookupError, ToolError, Exception):
    try:
        await fail("no such row")
    except kind as error:
        caught.append((type(error).__name__, str(error), isinstance(error, ToolError)))
caught
"""
    result = await session.run(code, TOOLS)
    assert result.value == [["LookupError", "no such row", True]] * 3


async def test_an_error_of_an_unknown_kind_is_a_tool_error_with_its_name(session: Session):
    class QuotaExceededError(Exception):
        pass

    async def spend() -> None:
        raise QuotaExceededError("all gone")

    code = "try:\n    await spend()\nexcept ToolError as error:\n    print(error.type, error)"
    result = await session.run(code, {"spend": spend})
    assert result.stdout == "QuotaExceededError all gone\n"


async def test_a_failure_shows_the_programs_own_lines_and_the_calls_made(session: Session):
    code = "import json\nawait add(1)\ndef parse(text):\n    return json.loads(text)\nparse('{')"
    result = await session.run(code, TOOLS)
    assert result.status == "failed"
    assert result.error is not None
    assert (result.error.type, result.error.line) == ("JSONDecodeError", 4)
    # What Python marks within a line differs from version to version.
    assert re.sub(r"^ *[~^]+\n", "", result.stderr, flags=re.MULTILINE) == (
        "Traceback (most recent call last):\n"
        '  File "<program>", line 5, in <module>\n'
        "    parse('{')\n"
        '  File "<program>", line 4, in parse\n'
        "    return json.loads(text)\n"
        "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)\n"
    )
    assert [(call.name, call.outcome) for call in result.calls] == [("add", "ok")]


async def test_a_syntax_error_points_at_its_place(session: Session):
    result = await session.run("x = = 3")
    assert result.error is not None
    assert (result.error.type, result.error.line) == ("SyntaxError", 1)
    assert "    x = = 3\n        ^" in result.stderr


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("import asyncio\nawait asyncio.gather(*(add(n) for n in range(4)))", [1, 2, 3, 4]),
        ("import asyncio\nt = asyncio.create_task(add(1))\nawait t", 2),
        (
            "import asyncio\ngate = asyncio.Semaphore(2)\nasync def one(n):\n"
            "    async with gate:\n        return await wait_ms(n)\n"
            "await asyncio.gather(*(one(n) for n in (9, 3, 6)))",
            [9, 3, 6],
        ),
        (
            "import asyncio\ntry:\n    async with asyncio.timeout(0.03):\n"
            "        await wait_ms(2000)\nexcept TimeoutError:\n    out = 'too late'\nout",
            "too late",
        ),
        (
            "import asyncio\nout = []\nfor c in asyncio.as_completed([wait_ms(60), wait_ms(5)]):\n"
            "    out.append(await c)\nout",
            [5, 60],
        ),
        (
            "import asyncio\nasync with asyncio.TaskGroup() as group:\n"
            "    a, b = group.create_task(add(1)), group.create_task(add(2))\n"
            "[a.result(), b.result()]",
            [2, 3],
        ),
        ("import asyncio\nasync def main():\n    return await add(4)\nasyncio.run(main())", 5),
        (
            "import asyncio\ndone, left = await asyncio.wait([asyncio.create_task(wait_ms(1))])\n"
            "[len(done), len(left)]",
            [1, 0],
        ),
        ("import asyncio\nawait asyncio.to_thread(sum, [1, 2])", 3),
        (
            "import asyncio\nr = await asyncio.gather(fail('x'), add(1), return_exceptions=True)\n"
            "[type(r[0]).__name__, r[1]]",
            ["LookupError", 2],
        ),
        (
            "async def pages():\n    for n in range(3):\n        yield await add(n)\n"
            "[p async for p in pages()]",
            [1, 2, 3],
        ),
    ],
)
async def test_asyncio_over_tools(session: Session, code: str, value: object):
    result = await session.run(code, TOOLS)
    assert (result.status, result.value, result.stderr) == ("finished", value, "")


async def test_calls_run_side_by_side(session: Session):
    began = time.monotonic()
    result = await session.run(
        "import asyncio\nawait asyncio.gather(*(wait_ms(100) for _ in range(30)))", TOOLS
    )
    assert result.status == "finished"
    assert time.monotonic() - began < 1.0


async def test_plain_functions_run_side_by_side(session: Session):
    def nap() -> int:
        time.sleep(0.1)
        return 1

    began = time.monotonic()
    code = "import asyncio\nsum(await asyncio.gather(*(nap() for _ in range(50))))"
    assert (await session.run(code, {"nap": nap})).value == 50
    assert time.monotonic() - began < 1.5


async def test_plain_functions_do_not_hold_the_host(session: Session):
    def slow() -> int:
        time.sleep(0.2)
        return 1

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    task = asyncio.create_task(tick())
    result = await session.run("await slow()", {"slow": slow})
    task.cancel()
    assert result.value == 1
    assert ticks > 5


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("await add()", "missing a required argument: 'left'"),
        ("await add(1, 2, 3)", "too many positional arguments"),
        ("await add(1, colour=2)", "unexpected keyword argument 'colour'"),
        ("await add(object())", "add: arguments[0]: 'object' is not plain data"),
        ("await add({'a': [1, lambda: 0]})", "add: arguments[0]['a'][1]: 'function' is not plain"),
    ],
)
async def test_a_wrong_call_is_a_type_error_in_the_program(
    session: Session, code: str, complaint: str
):
    result = await session.run(code, TOOLS)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.type == "TypeError"
    assert complaint in result.error.message


async def test_values_without_a_plain_form_are_shown(session: Session):
    code = """
import dataclasses, datetime, decimal, collections
@dataclasses.dataclass
class Row:
    when: datetime.date
    amount: decimal.Decimal
Point = collections.namedtuple("Point", "x y")
[Row(datetime.date(2026, 1, 2), decimal.Decimal("1.50")), (1, 2), Point(3, 4), {5}, 1.5, None]
"""
    result = await session.run(code)
    assert result.value == [
        {"when": "2026-01-02", "amount": "1.50"},
        [1, 2],
        {"x": 3, "y": 4},
        [5],
        1.5,
        None,
    ]


async def test_a_large_value_is_cut_in_its_structure_and_stays_in_the_session(session: Session):
    result = await session.run("{'rows': list(range(400_000)), 'name': 'n'}")
    rows = result.value["rows"]
    cut = next(item for item in rows if isinstance(item, str))
    assert rows[0] == 0
    assert rows[-1] == 399_999
    assert cut == f"… {400_001 - len(rows)} of 400000 items cut …"
    assert result.value["name"] == "n"
    assert result.truncated
    assert result.cuts == (f"value['rows']: {400_001 - len(rows)} of 400000 items",)
    assert (await session.run("len(_['rows'])")).value == 400_000


async def test_long_output_keeps_its_head_and_its_tail(jail: Sandbox):
    async with jail.session() as session:
        result = await session.run("for n in range(40_000):\n    print(n)")
        head, cut, tail = result.stdout.partition("\n… ")
        assert head.startswith("0\n1\n2\n")
        assert tail.endswith("\n39998\n39999\n")
        assert cut
        assert len(result.stdout) < 64_100
        assert result.truncated
        assert (await session.run("len(_stdout.splitlines())")).value == 40_000


async def test_control_characters_come_as_text(session: Session):
    result = await session.run("print('\\x1b[2J\\x07 \\ud800 한글\\tok')")
    assert result.stdout == "\\x1b[2J\\x07 \\ud800 한글\tok\n"
    # Whatever else a program sends: its errors, and the names in them.
    code = (
        "import sys\nsys.stderr.write('\\x9b31m')\n"
        "raise type('E\\x1bvil', (Exception,), {})('\\x1b]0;x\\x07')"
    )
    result = await session.run(code)
    assert result.error is not None
    shown = [result.stderr, result.error.type, result.error.message, result.error.traceback]
    assert not {"\x1b", "\x07", "\x9b"} & set("".join(shown))
    assert result.stderr.startswith("\\x9b31m")


async def test_a_coroutine_left_at_the_end_is_named(session: Session):
    result = await session.run("add(1)", TOOLS)
    assert (result.value, result.calls) == (None, ())
    assert "is an `await` missing?" in result.stderr


async def test_tasks_that_are_left_over_do_not_reach_the_next_run(session: Session):
    await session.run("import asyncio\ntask = asyncio.create_task(wait_ms(60_000))", TOOLS)
    result = await session.run("task.cancelled() or task.done()", TOOLS)
    assert result.value is True


async def test_a_cancelled_run_stops_its_tools_and_its_process(jail: Sandbox):
    stopped = asyncio.Event()
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with jail.session() as session:
        run = asyncio.create_task(session.run("await hang()", {"hang": hang}))
        await started.wait()
        run.cancel()
        process = session._process
        with pytest.raises(asyncio.CancelledError):
            await run
        assert stopped.is_set()
        assert process is not None
        assert not process.alive
        assert session._process is None
        assert (await session.run("1")).value == 1


async def test_a_session_has_an_id_and_an_expiry_that_moves(jail: Sandbox):
    session = jail.session(idle_s=0.3)
    assert jail.find(session.id) is session
    first = session.expires_at
    await asyncio.sleep(0.2)
    await session.run("1")
    assert session.expires_at > first
    assert session.expires_at.tzinfo is datetime.UTC
    await asyncio.sleep(0.2)
    assert (await session.run("2")).value == 2
    await asyncio.sleep(0.5)
    assert jail.find(session.id) is None
    with pytest.raises(SessionClosedError, match="expired"):
        await session.run("3")


async def test_sessions_are_counted():
    sandbox = Sandbox("jail", Limits(), sessions_max=1, pool=0)
    try:
        await sandbox.__aenter__()
    except Exception as error:
        pytest.skip(str(error))
    session = sandbox.session()
    with pytest.raises(TooManySessionsError):
        sandbox.session()
    await session.close()
    await sandbox.session().close()
    await sandbox.close()


async def test_one_run_at_a_time(session: Session):
    results = await asyncio.gather(*(session.run(f"x = {n}\nx") for n in range(5)))
    assert [result.value for result in results] == [0, 1, 2, 3, 4]


async def test_nothing_of_the_host_is_in_the_environment(session: Session):
    result = await session.run(
        "import os\n[sorted(os.environ), os.getpid(), 0 in (os.getuid(), os.getgid())]"
    )
    assert result.value == [
        ["HOME", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TMPDIR", "TZ"],
        1,
        False,
    ]


async def test_a_name_that_no_program_can_say_is_refused(session: Session):
    with pytest.raises(ValueError, match="'get weather' cannot be the name of a function"):
        await session.run("1", {"get weather": TOOLS["add"]})


async def test_a_result_that_is_no_plain_data_is_the_tools_error(session: Session):
    result = await session.run("await bad()", {"bad": object})
    assert result.error is not None
    assert (result.error.type, "'object' is not plain data" in result.error.message) == (
        "TypeError",
        True,
    )


async def test_pending_calls_of_a_run_that_was_stopped_are_listed(jail: Sandbox):
    async with jail.session() as session:
        session.limits = Limits(wall_s=0.3)
        result = await session.run("await wait_ms(20_000)", TOOLS)
    assert result.status == "timeout"
    assert result.calls == (Call(1, "wait_ms", (20_000,), {}, outcome="pending"),)


async def test_a_tool_that_is_cancelled_from_inside_is_an_error(session: Session):
    async def broken() -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    result = await session.run("await broken()", {"broken": broken})
    assert str(result.error) == "RuntimeError: broken was cancelled"


async def test_closing_a_session_ends_its_run(jail: Sandbox):
    session = jail.session()
    run = asyncio.create_task(session.run("await wait_ms(60_000)", TOOLS))
    await asyncio.sleep(0.3)
    await session.close()
    assert (await run).status == "crashed"
    with pytest.raises(SessionClosedError, match="is closed"):
        await session.run("1")


async def test_a_runtime_of_ones_own():
    class Echo:
        """What a service would be: nothing of it is on this machine."""

        name = "echo"
        notes = "It only repeats."
        alive = True
        opened = 0

        async def start(self, limits: Limits) -> None:
            self.limits = limits

        async def open(self, *, began: float, seed: int) -> Echo:
            self.opened += 1
            return self

        async def run(self, job: Job) -> End:
            job.broker.call(1, "add", [20], {"right": 1})
            turn: asyncio.Future[BrokerTurn] = asyncio.get_running_loop().create_future()
            job.broker.request_turn(job.now, None, turn.set_result)
            (result,) = (await turn).results
            return End("finished", stdout=job.code, value=result["value"])

        async def close(self) -> None:
            self.alive = False

    runtime = Echo()
    async with Sandbox(runtime) as sandbox, sandbox.session() as session:
        result = await session.run("anything", TOOLS)
        assert (sandbox.tier, sandbox.notes) == ("echo", "It only repeats.")
    assert (result.status, result.stdout, result.value) == ("finished", "anything", 21)
    assert [call.outcome for call in result.calls] == ["ok"]
    assert not runtime.alive


def test_it_runs_on_uvloop_as_well():
    async def main() -> list[object]:
        sandbox = Sandbox("jail", Limits(wall_s=1), pool=1)
        try:
            await sandbox.__aenter__()
        except RuntimeUnavailableError as error:
            pytest.skip(str(error))
        try:
            session = sandbox.session()
            first = await session.run("await add(1)", TOOLS)
            lost = await session.run("while True: pass")
            return [first.value, lost.status, (await session.run("3")).value]
        finally:
            await sandbox.close()

    assert uvloop.run(main()) == [2, "timeout", 3]
