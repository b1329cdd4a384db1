"""A refusal teaches the gateway: passed and translated, whole and streamed, over workers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.exchange import prepare
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import Simulation
from tests.drift import VENDOR_OF, Drift, DriftingVendors
from tests.drifts import DRIFTS, request_of
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.servers import Postgres

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
}
QUIRKS = {"openai-chat": 'quirks = "openai"'}


@pytest.fixture(scope="module")
def vendors() -> Iterator[DriftingVendors]:
    with Simulation(seed=2) as sim, DriftingVendors(sim, DRIFTS) as served:
        yield served


@pytest.fixture(scope="module")
def config(vendors: DriftingVendors) -> str:
    tables = [
        provider_table(
            each.name, vendors.base_url(each), each.dialect, QUIRKS.get(each.dialect, "")
        )
        for each in DRIFTS
    ]
    return "\n".join([*tables, f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'])


@pytest.fixture(scope="module")
def gateway(config: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    served = Gateway(tmp_path_factory.mktemp("corrections"), config).start()
    yield served
    assert served.stop() == 0, served.log


def body_of(drift: Drift, dialect: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """A client's path and body that have what the drift is about, on a wire of its own."""
    request = request_of(drift, "sim-1", stream=stream)
    row = CATALOGUE[VENDOR_OF[dialect]]
    body = prepare(request, row, "sim-1", "k", dialect).wire.body  # type: ignore[arg-type]
    name = f"{drift.name}/sim-1"
    if dialect == "gemini":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{name}:{method}", body
    return PATHS[dialect], {**body, "model": name}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("translated", [False, True], ids=["passed", "translated"])
def test_drifts_behind_the_gateway_cost_one_more_request(
    gateway: Gateway, vendors: DriftingVendors, *, translated: bool, stream: bool
) -> None:
    run([gateway], "--forget")
    time.sleep(1.2)  # the gateway looks twice a second
    vendors.seen.clear()
    answered: list[str] = []
    for number, drift in enumerate(DRIFTS):
        if (number % 2 == 0) != stream:
            continue  # half of them each way
        others = [name for name in VENDOR_OF if name != drift.dialect]
        dialect = others[number % 3] if translated else drift.dialect
        path, body = body_of(drift, dialect, stream=stream)
        before = len(vendors.seen.get(drift.name, []))
        answer = gateway.request("POST", path, body)
        came = len(vendors.seen[drift.name]) - before
        if answer.status == 200:
            assert came in (1, 2), drift.name
            if came == 2:
                told = json.loads(answer.headers["polycall-warnings"])
                assert any("refused it on" in each["detail"] for each in told), drift.name
            answered.append(drift.name)
            again = gateway.request("POST", path, body)
            assert again.status == 200
            assert len(vendors.seen[drift.name]) - before == came + 1, drift.name
    missing = {each.name for n, each in enumerate(DRIFTS) if (n % 2 == 0) == stream} - {*answered}
    assert len(missing) <= 1, missing


def run(gateways: list[Gateway], *words: str) -> str:
    program = str(Path(sys.executable).with_name("polycall"))
    command = [program, "models", *words, "--config", str(gateways[0].path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_strict_client_is_refused_and_not_mended(
    gateway: Gateway, vendors: DriftingVendors
) -> None:
    drift = next(each for each in DRIFTS if each.name == "n1")
    run([gateway], "--forget", "n1/sim-1")
    time.sleep(1.2)
    path, body = body_of(drift, drift.dialect, stream=False)
    vendors.seen.clear()
    answer = gateway.post(path, body, **{"polycall-strict": "true"})
    assert answer.status == 400
    assert len(vendors.seen["n1"]) == 1


@pytest.mark.slow
def test_what_one_worker_learns_others_know_and_one_command_forgets(
    config: str, vendors: DriftingVendors, tmp_path: Path
) -> None:
    drift = next(each for each in DRIFTS if each.name == "v3")
    path, body = body_of(drift, drift.dialect, stream=False)
    first = Gateway(tmp_path, config).start()
    second = Gateway(tmp_path, config).start()
    try:
        vendors.seen.clear()
        assert first.request("POST", path, body).status == 200
        assert len(vendors.seen["v3"]) == 2
        assert until(lambda: sent(second, path, body, vendors) == 1)
        shown = run([first], "v3/sim-1")
        assert "seed is left out" in shown
        assert "is not supported with this model" in shown
        assert time.strftime("%Y", time.gmtime()) in shown
        assert "1 correction" in run([first], "--forget", "v3/sim-1")
        assert "0 corrections" in run([first], "--forget")
        assert until(lambda: sent(second, path, body, vendors) == 2)
    finally:
        assert first.stop() == 0, first.log
        assert second.stop() == 0, second.log


def sent(gateway: Gateway, path: str, body: Any, vendors: DriftingVendors) -> int:
    """How many requests one of the client's became."""
    before = len(vendors.seen["v3"])
    assert gateway.request("POST", path, body).status == 200
    return len(vendors.seen["v3"]) - before


def until(holds: Any) -> bool:
    ends_at = time.monotonic() + 20
    while time.monotonic() < ends_at:
        if holds():
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
def test_replicas_of_one_postgres_learn_together_and_one_command_forgets(
    config: str, vendors: DriftingVendors, postgres_server: Postgres, tmp_path: Path
) -> None:
    """Two replicas with folders of their own; one that is killed, and one that comes later."""
    names = ["v3", "n1", "r2"]
    store = f'[store]\nurl = "{postgres_server.database()}"\n'
    gateways: list[Gateway] = []
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        gateways.append(Gateway(tmp_path / name, f"{store}{config}"))
    first, second, third = gateways
    first.start()
    second.start()
    asked = {
        each.name: body_of(each, each.dialect, stream=False)
        for each in DRIFTS
        if each.name in names
    }

    def came(gateway: Gateway, name: str) -> int:
        before = len(vendors.seen.get(name, []))
        path, body = asked[name]
        assert gateway.request("POST", path, body).status == 200
        return len(vendors.seen[name]) - before

    vendors.seen.clear()
    assert came(first, "v3") == 2
    assert came(second, "n1") == 2
    # Each knows what the other learned, a second later.
    assert until(lambda: came(second, "v3") == 1)
    assert until(lambda: came(first, "n1") == 1)
    assert came(first, "r2") == 2
    first.kill()
    assert until(lambda: came(second, "r2") == 1)
    third.start()
    assert until(lambda: came(third, "v3") == 1)
    assert [came(third, name) for name in names] == [1, 1, 1]
    assert "seed is left out" in run([third], "v3/sim-1")
    assert "3 corrections" in run([third], "--forget")
    assert until(lambda: came(second, "v3") == 2)
    assert until(lambda: came(third, "n1") == 2)
    for gateway in (second, third):
        assert gateway.stop() == 0, gateway.log
