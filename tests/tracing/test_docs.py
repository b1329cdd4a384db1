"""The page of the documentation: its program runs, and its trace is the one that is shown."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from polycall.sim import Call, Simulation, Turn

from ..collector import Collector
from .support import Tree, trees

PAGE = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text()
PROGRAM = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
TRACE = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
ADDRESS = "http://localhost:4318/v1/traces"

PLAY = [
    Turn(calls=[Call("transfer_to_refunds", {"reason": "broken"})]),
    Turn(
        calls=[
            Call("find_order", {"order_id": "A17"}),
            Call("run_code", {"code": "sum(await stock(shelf='top'))"}),
            Call("draw_label", {"order_id": "A17"}),
        ]
    ),
    Turn(text="A new one is on its way."),
]


def shown(tree: Tree, depth: int = 0) -> str:
    more = ""
    if tree.name == "step":
        attributes = tree.attributes
        more = f" {attributes['polycall.step.number']} ({attributes['gen_ai.agent.name']})"
    line = f"{'  ' * depth}{tree.name}{more}\n"
    return line + "".join(shown(each, depth + 1) for each in tree.below)


def test_the_program_of_the_page(
    simulation: Simulation,
    collector: Collector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert PROGRAM is not None
    assert TRACE is not None
    assert PROGRAM[1].count(ADDRESS) == 1
    (tmp_path / "polycall.toml").write_text(
        f'[providers.openai]\nbase_url = "{simulation.base_url("openai")}"\napi_key = "any"\n'
    )
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "traced.py"
    script.write_text(PROGRAM[1].replace(ADDRESS, collector.url))
    simulation.script("openai", "gpt-5.4", PLAY)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out == "A new one is on its way.\n"
    assert "".join(shown(tree) for tree in trees(collector)) == TRACE[1]
    assert {span.service for span in collector.spans()} == {"tea-shop"}
