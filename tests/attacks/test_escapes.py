"""More attempts to break out, forged frames and forged journals: contained."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polycall.sandbox import Limits, Sandbox
from polycall.sandbox.errors import SandboxError

from ..sandbox.support import run_python, usable
from ..sandbox.test_escapes import check, no_canary_of_another_user, report, user
from . import escapes, more_escapes, resumed

__all__ = ["no_canary_of_another_user"]


WHO = ["self", pytest.param("nobody", marks=pytest.mark.slow)]


@contextmanager
def as_files(attempts: dict[str, str]) -> Generator[Path]:
    """The attempts as files that any user may read."""
    made = Path(tempfile.mkdtemp(prefix="polycall-escapes-"))
    made.chmod(0o755)
    for name, code in attempts.items():
        (made / f"{name}.py").write_text(code)
    yield made
    shutil.rmtree(made)


def test_there_are_two_hundred() -> None:
    assert len(escapes.attempts()) >= 100
    assert len(more_escapes.attempts()) >= 100


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_a_hundred_attempts_are_contained(tier: str, who: str) -> None:
    await usable(tier)
    with as_files(escapes.attempts()) as folder:
        check(await report(user(who), tier, folder, 3), len(escapes.attempts()))


@pytest.mark.slow
@pytest.mark.parametrize("who", ["self", "nobody"])
@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_another_hundred_attempts_are_contained(tier: str, who: str) -> None:
    await usable(tier)
    made = more_escapes.attempts()
    with as_files(made) as folder:
        found = await report(user(who), tier, folder, 3)
    check(found, len(made))
    if tier == "jail":
        # A frame that only repeats what the program may say itself is not one of a stranger.
        ended = {each["name"]: each["status"] for each in found["attempts"]}
        forged = {name: status for name, status in ended.items() if name.startswith("frame_")}
        assert forged.pop("frame_ends_twice") == "finished"
        assert set(forged.values()) == {"crashed"}, forged


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_forged_journals_are_refused_or_run_like_any_other(tier: str, who: str) -> None:
    await usable(tier)
    status, out, errors = await run_python([*user(who), "-m", "tests.attacks.resumed", tier])
    assert status == 0, errors
    found: dict[str, list[str]] = json.loads(out)
    assert len(found) > len(resumed.CHANGES) > 30
    assert {name: problems for name, problems in found.items() if problems} == {}


_HEAD = """
import gc, json
from inside.channel import Channel
channel = next(each for each in gc.get_objects() if isinstance(each, Channel))
def send(body):
    channel._connection.sendall(len(body).to_bytes(4, "big") + body)
"""
FRAMES = [
    b'{"type":"call","id":1,"name":"f","args":[NaN],"kwargs":{}}',
    b'{"type":"call","id":1,"name":"f","args":[1e999],"kwargs":{}}',
    b'{"type":"call","id":1,"name":"f","args":["\\ud800"],"kwargs":{}}',
    b'{"type":"call","id":true,"name":"f","args":[],"kwargs":{}}',
    b'{"type":"call","id":1.0,"name":"f","args":[],"kwargs":{}}',
    b'{"type":"call","id":1,"name":"__class__","args":[],"kwargs":{}}',
    b'{"type":"call","id":1,"name":["f"],"args":[],"kwargs":{}}',
    b'{"type":"call","id":1,"name":"f","args":{},"kwargs":[]}',
    b'{"type":"wait","number":1,"now":1e400,"for":1}',
    b'{"type":"wait","number":1,"now":true,"for":null}',
    b'{"type":"turn","now":1,"results":[]}',
    b'{"type":"call","id":5,"name":"f","args":[],"kwargs":{}}',
    b'{"type":"output","stream":{"a":1},"text":"x"}',
    b'{"type":"cancel","id":[1]}',
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda body: body.decode("ascii")[:60])
async def test_a_forged_frame_ends_the_run_and_calls_nothing(frame: bytes) -> None:
    await usable("jail")
    called: list[Any] = []

    async def f(*values: Any) -> None:
        called.append(values)

    limits = Limits(wall_s=2)
    async with Sandbox("jail", limits, pool=0) as sandbox, sandbox.session() as session:
        result = await session.run(f"{_HEAD}send({frame!r})\nimport time\ntime.sleep(1)", {"f": f})
        assert (result.status, result.error and result.error.type) == (
            "crashed",
            "ProtocolViolationError",
        )
        assert called == []
        assert (await session.run("1 + 1")).value == 2


async def recorded(tier: str) -> list[dict[str, Any]]:
    async def f(value: int) -> int:
        return value + 1

    async with Sandbox(tier, pool=0) as sandbox, sandbox.session() as session:  # type: ignore[arg-type]
        await session.run("a = await f(1)\nb = await f(a)\nb", {"f": f})
        return [dict(entry) for entry in session.journal.entries]


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("run", {"code": 7}),
    ("run", {"tools": None}),
    ("run", {"now": 1e300}),
    ("call", {"id": "1"}),
    ("call", {"args": {}, "name": None}),
    ("done", {"error": {"name": "OSError"}}),
    ("turn", {"ids": [[1]]}),
    ("turn", {"ids": [99]}),
    ("turn", {"ids": [1, 1]}),
    ("turn", {"now": -5}),
    ("session", {"seed": "x"}),
    ("session", {"began": None}),
    ("end", {"status": 5}),
]


@pytest.mark.parametrize(("kind", "change"), CHANGES, ids=str)
async def test_a_forged_journal_is_refused_and_calls_nothing(
    kind: str, change: dict[str, Any]
) -> None:
    called: list[Any] = []

    async def f(value: int) -> int:
        called.append(value)
        return value

    entries = await recorded("monty")
    place = next(n for n, entry in enumerate(entries) if entry["kind"] == kind)
    entries[place] = {**entries[place], **change}
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    async with Sandbox("monty", pool=0) as sandbox, sandbox.session() as session:
        with pytest.raises(SandboxError):
            await session.resume(text, {"f": f})
            await session.run("1", {"f": f})
    assert called == []
