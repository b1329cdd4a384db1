"""A provider that means harm, behind the gateway: what its refusals may teach, and whom."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, cast

import pytest

from polycall.sim import Simulation
from tests.drift import VENDOR_OF, Drift, DriftingVendors, value_at
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.gateway.test_corrections import PATHS, QUIRKS
from tests.profiles.test_corrections import (
    BUDGETS,
    EVIL,
    SACRED,
    bodies,
    paths_of,
    without_hints,
)

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class Hostile:
    """Refuses each request once, in the words that it was given; stands for a `Drift`."""

    param = ""

    def __init__(self, name: str, dialect: str) -> None:
        self.name = name
        self.dialect = dialect
        self.words = ""

    def refusal(self, body: Any, headers: dict[str, str]) -> str:
        del body, headers
        words, self.words = self.words, ""
        return words

    def undone(self, body: Any) -> Any:
        return body


HOSTILE = {dialect: Hostile(f"bad-{n}", dialect) for n, dialect in enumerate(VENDOR_OF)}
GOOD = {dialect: Hostile(f"good-{n}", dialect) for n, dialect in enumerate(VENDOR_OF)}
ALL = cast("list[Drift]", [*HOSTILE.values(), *GOOD.values()])


@pytest.fixture(scope="module")
def vendors() -> Iterator[DriftingVendors]:
    with Simulation(seed=9) as sim, DriftingVendors(sim, ALL) as served:
        yield served


@pytest.fixture(scope="module")
def gateway(
    vendors: DriftingVendors, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    tables = [
        provider_table(
            each.name, vendors.base_url(each), each.dialect, QUIRKS.get(each.dialect, "")
        )
        for each in ALL
    ]
    config = "\n".join([*tables, f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'])
    served = Gateway(tmp_path_factory.mktemp("hostile"), config).start()
    yield served
    assert served.stop() == 0, served.log


def ask(gateway: Gateway, provider: str, dialect: str, body: dict[str, Any]) -> int:
    name = f"{provider}/sim-1"
    path = f"/v1beta/models/{name}:generateContent"
    if dialect != "gemini":
        path, body = PATHS[dialect], {**body, "model": name}
    return gateway.request("POST", path, body).status


def without_model(body: Any) -> Any:
    return {name: value for name, value in body.items() if name != "model"}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", list(VENDOR_OF))
def test_a_hostile_provider_teaches_the_gateway_nothing_that_harms(
    gateway: Gateway, vendors: DriftingVendors, dialect: str
) -> None:
    bad, good = HOSTILE[dialect], GOOD[dialect]
    body = {key: value for key, value in bodies()[dialect].items() if key != "stream_options"}
    body.pop("stream", None)
    seen = vendors.seen
    ask(gateway, good.name, dialect, body)
    before = seen[good.name][-1]
    chance = random.Random(dialect)
    paths, mended = list(paths_of(body)), 0
    for words in EVIL:
        for path in chance.sample(paths, min(6, len(paths))):
            said = chance.choice([path, path.rpartition(".")[2]])
            bad.words = words.format(said)
            seen[bad.name] = []
            ask(gateway, bad.name, dialect, body)
            came = [each for each, _ in seen[bad.name]]
            # One more request at most, whatever it said.
            assert 1 <= len(came) <= 2, (path, words)
            mended += len(came) == 2 and came[0] != came[1]
            for sent in came:
                check(body, sent, (path, words))
    # What one provider said changes nothing for another.
    ask(gateway, good.name, dialect, body)
    after = seen[good.name][-1]
    assert after[0] == before[0]
    for volatile in ("traceparent", "host", "content-length"):
        before[1].pop(volatile, None)
        after[1].pop(volatile, None)
    assert after[1] == before[1]
    assert mended > 0


def check(body: dict[str, Any], sent: dict[str, Any], case: tuple[str, str]) -> None:
    """What is asked, allowed and paid for is as the client said it."""
    for name in SACRED & body.keys():
        if name.startswith("max_") or name in ("text", "model"):
            continue
        assert without_hints(sent.get(name)) == without_hints(body[name]), case
    for limit in LIMITS:
        if limit in body:
            found = [value for key, value in sent.items() if "max" in key and "tok" in key]
            assert found, case
            assert max(found) <= body[limit], case
    if "maxOutputTokens" in body.get("generationConfig", {}):
        config = json.dumps(sent["generationConfig"])
        bounds = [v for k, v in sent["generationConfig"].items() if "axOutput" in k or "max_" in k]
        assert bounds, (config, case)
        assert max(bounds) <= body["generationConfig"]["maxOutputTokens"], case
    for place in BUDGETS:
        wanted, found_at = value_at(body, place), value_at(sent, place)
        if wanted is not None and found_at is not None:
            assert found_at <= wanted, case
