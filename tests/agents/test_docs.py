"""The first page of the documentation, as a new user would run it."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycall import Agent
from polycall.agents.synchronous import close_default_client, default_client, portal
from polycall.sim import Call, Simulation, Turn

ROOT = Path(__file__).parents[2]
SNIPPET = re.search(r"```python\n(.*?)```", (ROOT / "docs/agents.md").read_text(), re.DOTALL)

PLAY = [
    Turn(
        calls=[
            Call("opening_hours", {"day": "Saturday"}),
            Call("add_to_memory", {"text": "The user likes green tea."}),
        ]
    ),
    Turn(text="From 9 to 18."),
    Turn(calls=[Call("transfer_to_sales", {"reason": "wants a teapot"})]),
    Turn(calls=[Call("reserve", {"item": "teapot", "name": "user 17"})]),
    Turn(text="It waits for you."),
]


@pytest.fixture
def configured(
    simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulation]:
    """A folder whose `polycall.toml` leads to the simulation, as a user's would to a provider."""
    (tmp_path / "polycall.toml").write_text(
        f'[providers.openai]\nbase_url = "{simulation.base_url("openai")}"\napi_key = "any"\n'
    )
    monkeypatch.chdir(tmp_path)
    # The client of the process's own event loop reads its configuration once.
    portal().run(close_default_client())
    yield simulation
    portal().run(close_default_client())


def test_the_first_example_of_the_page(
    configured: Simulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SNIPPET is not None
    assert len(SNIPPET[1].splitlines()) < 40
    script = tmp_path / "first.py"
    script.write_text(SNIPPET[1])
    configured.script("openai", "gpt-5.4", PLAY)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out == (
        "From 9 to 18.\n['desk', 'sales', 'sales'] It waits for you.\n"
    )


def test_without_an_event_loop_and_without_a_client(configured: Simulation) -> None:
    configured.script("openai", "gpt-5.4", [Turn(text="one"), Turn(text="two")])
    agent = Agent("openai/gpt-5.4")
    first = agent.run_sync("hello")
    assert agent.run_sync("again", history=first.history).output == "two"


async def test_one_client_for_all_agents_of_an_event_loop(configured: Simulation) -> None:
    assert await default_client() is await default_client()
    configured.script("openai", "gpt-5.4", [Turn(text="one")])
    assert (await Agent("openai/gpt-5.4").run("hello")).output == "one"
    before = await default_client()
    await close_default_client()
    await close_default_client()
    assert await default_client() is not before
    await close_default_client()
