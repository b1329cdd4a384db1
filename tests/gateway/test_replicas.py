"""Two replicas on one Postgres: a conversation goes on at either of them, step by step."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.drivers import DRIVERS, Result
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, sim_config
from tests.gateway.test_carriers import THINKERS, TURNS, model_for
from tests.servers import Postgres


class Turnstile:
    """One address for several replicas; `turn` closes all connections and goes on to the next."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = itertools.cycle(ports)
        self._port = next(self._ports)
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def turn(self) -> None:
        self._port = next(self._ports)
        while self._open:
            end(self._open.pop())

    def close(self) -> None:
        self.turn()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            replica = socket.create_connection(("127.0.0.1", self._port))
            self._open += [client, replica]
            for pair in ((client, replica), (replica, client)):
                threading.Thread(target=relay, args=pair, daemon=True).start()


def relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    end(target)


def end(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
    peer.close()


@pytest.fixture
def turnstile(sim: Simulation, postgres_server: Postgres, tmp_path: Path) -> Iterator[Turnstile]:
    store = f'[store]\nurl = "{postgres_server.database()}"\n'
    replicas: list[Gateway] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        replicas.append(Gateway(tmp_path / name, sim_config(sim, store)).start())
    entry = Turnstile([replica.port for replica in replicas])
    yield entry
    entry.close()
    for replica in replicas:
        assert replica.stop() == 0
        assert "Traceback" not in replica.log


@pytest.mark.parametrize("mode", [pytest.param("whole", marks=pytest.mark.slow), "streamed"])
def test_signatures_over_three_steps_that_alternate_between_replicas(
    sim: Simulation, turnstile: Turnstile, mode: str
) -> None:
    drivers: dict[tuple[str, str], Any] = {}
    steps: dict[tuple[str, str], Any] = {}
    models: dict[tuple[str, str], str] = {}
    for client, upstream in itertools.product(DRIVERS, THINKERS):
        model = models[client, upstream] = model_for(sim, upstream, TURNS)
        driver = drivers[client, upstream] = DRIVERS[client](
            turnstile.url, KEY, f"{upstream}/{model}", streamed=mode == "streamed"
        )
        steps[client, upstream] = driver.ask("weather?")
    for names in (["get_weather"], []):
        turnstile.turn()
        for pair, driver in drivers.items():
            # The simulated vendors refuse a history without the reasoning that they signed.
            steps[pair] = driver.give([Result(call, "ok") for call in steps[pair].calls])
            assert [call.name for call in steps[pair].calls] == names, pair
    for (client, upstream), driver in drivers.items():
        assert steps[client, upstream].text == "done", (client, upstream)
        assert sim.remaining(UPSTREAMS[upstream][0], models[client, upstream]) == 0
        driver.close()
    assert turnstile.connections >= 3
