"""N16: what newcomers and operators look for: the extras, and a backup that can be restored."""

from __future__ import annotations

import re
import sqlite3
import tomllib
from pathlib import Path

import pytest

from polycall import Agent, Memory
from polycall.agents import Sessions
from polycall.sim import Simulation
from polycall.testing import ScriptedModel

from .gateway.harness import KEY, Gateway, provider_table

ROOT = Path(__file__).parents[1]


def test_n16_every_extra_is_listed() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    page = (ROOT / "docs" / "index.md").read_text("utf-8").partition("## Extras")[2]
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(known["project"]["optional-dependencies"])


def backed_up(path: Path) -> Path:
    """A copy as the page makes it, while others may write."""
    copy = path.with_name(f"backup-of-{path.name}")
    database = sqlite3.connect(path)
    database.execute("vacuum into ?", (str(copy),))
    database.close()
    return copy


async def test_n16_sessions_and_memories_in_use_are_backed_up_whole(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory.db")
    script = [{"add_to_memory": {"text": "likes tea"}}, "noted", "again", {"get_memory": {}}, "tea"]
    agent = Agent("t/m", memory=memory, client=ScriptedModel(script))
    with Sessions(str(tmp_path / "s.db")) as sessions:
        await sessions.open("a").run(agent, "note it", user="mina")
        copy = backed_up(tmp_path / "s.db")
        await sessions.open("a").run(agent, "later", user="mina")
        with Sessions(str(copy)) as restored:
            texts = [each.text for each in await restored.open("a").messages()]
    assert (texts[0], texts[-1]) == ("note it", "noted")
    other = agent.changed(memory=Memory(backed_up(tmp_path / "memory.db")))
    run = await other.run("what?", user="mina")
    assert "likes tea" in run.steps[0].results[0].text


@pytest.mark.slow
def test_n16_a_gateway_goes_on_from_a_backup_of_its_store(tmp_path: Path) -> None:
    with Simulation() as simulation:
        table = provider_table("up", simulation.base_url("openai"), "openai-chat")
        config = f'{table}\n[[keys]]\nkey = "{KEY}"\n'
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        body = {"model": "up/sim-1", "messages": [{"role": "user", "content": "hello"}]}
        first = Gateway(tmp_path / "one", config).start()
        try:
            answer = first.request("POST", "/v1/chat/completions", body)
            request_id = answer.headers["polycall-request-id"]
            first.stop()
            backed_up(tmp_path / "one" / "polycall.db").rename(tmp_path / "two" / "polycall.db")
        finally:
            first.stop()
        second = Gateway(tmp_path / "two", config).start()
        try:
            assert second.request("POST", "/v1/chat/completions", body).status == 200
        finally:
            second.stop()
        database = sqlite3.connect(tmp_path / "two" / "polycall.db")
        rows = database.execute("select id from ledger").fetchall()
        database.close()
        assert (request_id,) in rows
        assert len(rows) == 2
