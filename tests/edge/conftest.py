"""The three servers, once for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.edge.doors import Door, door
from tests.gateway.upstream import bad_upstream

NAMES = ("serve", "sim", "mcp")


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    with (
        bad_upstream() as upstream,
        door("serve", tmp_path_factory.mktemp("serve"), upstream.base_url) as serve,
        door("sim", tmp_path_factory.mktemp("sim")) as sim,
        door("mcp", tmp_path_factory.mktemp("mcp")) as mcp,
    ):
        yield {"serve": serve, "sim": sim, "mcp": mcp}


@pytest.fixture(params=NAMES)
def server(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    return doors[request.param]
