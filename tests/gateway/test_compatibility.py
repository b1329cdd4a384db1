"""Every client runs the tool cycle against every upstream, whole and streamed; the page says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway import compatibility
from tests.gateway.compatibility import CASES, CELLS, CLIENTS, Cell, opener, render_page
from tests.gateway.harness import UPSTREAMS, Gateway, sim_config
from tests.gateway.node_drivers import SDKS, Node, NotInstalledError

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


@pytest.fixture(scope="module")
def started_node(request: pytest.FixtureRequest) -> Iterator[Node | str]:
    """The process, or why there is none."""
    config: Any = request.config
    try:
        node = Node(config.cache.mkdir("node-sdks"))
    except NotInstalledError as error:
        yield str(error)
        return
    yield node
    node.close()


@pytest.fixture(scope="module")
def node(started_node: Node | str) -> Callable[[], Node]:
    def get() -> Node:
        if isinstance(started_node, str):
            pytest.skip(started_node)
        return started_node

    return get


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cell", CELLS, ids=" at ".join)
def test_i11_cycle(
    sim: Simulation, gateway: Gateway, node: Callable[[], Node], cell: Cell, case: str
) -> None:
    opened = opener(cell.client, node)
    for streamed in (False, True):
        compatibility.run_cycle(sim, gateway, cell, case, opened, streamed=streamed)


@pytest.fixture(scope="module")
def survived(
    sim: Simulation, started_node: Node | str, tmp_path_factory: pytest.TempPathFactory
) -> dict[Cell, str]:
    """What went wrong with each cell while gateways were killed; without those that cannot run."""
    clients = [c for c in CLIENTS if c not in SDKS or isinstance(started_node, Node)]

    def get() -> Node:
        assert isinstance(started_node, Node)
        return started_node

    folder = tmp_path_factory.mktemp("killed")
    pair = (Gateway(folder, sim_config(sim)).start(), Gateway(folder, sim_config(sim)).start())
    openers = {client: opener(client, get) for client in clients}
    try:
        return compatibility.survive_kills(sim, pair, openers)
    finally:
        for gateway in pair:
            gateway.stop()


@pytest.mark.parametrize("cell", CELLS, ids=" at ".join)
def test_g01_g02_reasoning_survives_kills(
    survived: dict[Cell, str], started_node: Node | str, cell: Cell
) -> None:
    if cell.client in SDKS and isinstance(started_node, str):
        pytest.skip(started_node)
    assert survived[cell] == ""


def test_the_page_says_what_is_run() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page([])
    assert list(compatibility.TITLES) == list(UPSTREAMS)
