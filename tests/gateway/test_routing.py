"""Order, weights, keys in turn, rests and circuits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from polycall.config import parse_config
from polycall.errors import NotFoundError, RateLimitError, ServerError
from polycall.gateway.routing.router import FAILURES_MAX, OPEN_S, TargetRouter
from tests.gateway.harness import Gateway, provider_table
from tests.gateway.upstream import bad_upstream

CONFIG = """
[providers.a]
dialect = "anthropic"
base_url = "http://a"
api_key = ["k1", "k2"]
[providers.b]
dialect = "gemini"
base_url = "http://b"
api_key = "k"
[models.both]
route = ["a/x", "b/y"]
[models.weighted]
route = [{ model = "a/x", weight = 1 }, { model = "b/y", weight = 9 }]
"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def router(clock: Clock) -> TargetRouter:
    return TargetRouter(parse_config(CONFIG, environment={}), clock=clock)


def route(router: TargetRouter, name: str) -> list[tuple[str, str]]:
    return [(stop.name, stop.key) for stop in router.route(name)]


def test_keys_of_one_provider_take_turns(router: TargetRouter) -> None:
    assert route(router, "a/x") == [("a/x", "k1"), ("a/x", "k2")]
    assert route(router, "a/x") == [("a/x", "k2"), ("a/x", "k1")]
    assert route(router, "both")[-1] == ("b/y", "k")


def test_weights(router: TargetRouter) -> None:
    firsts = Counter(route(router, "weighted")[0][0] for _ in range(600))
    assert 480 < firsts["b/y"] < 595
    assert {name for name, _ in route(router, "weighted")} == {"a/x", "b/y"}


def test_a_stop_rests_as_long_as_it_said(router: TargetRouter, clock: Clock) -> None:
    (first, *_) = router.route("a/x")
    router.failed(first, RateLimitError("slow down", retry_after_s=20))
    assert [key for _, key in route(router, "a/x")] == ["k2", "k1"]
    assert [key for _, key in route(router, "a/x")] == ["k2", "k1"]
    assert router.resting() == {"a#0": 20.0}
    clock.now += 21
    assert sorted(key for _, key in route(router, "a/x")) == ["k1", "k2"]
    assert router.resting() == {}


def test_a_circuit_opens_and_tries_again(router: TargetRouter, clock: Clock) -> None:
    stops = {stop.name: stop for stop in router.route("b/y")}
    stop = stops["b/y"]
    for _ in range(FAILURES_MAX):
        assert router.resting() == {}
        router.failed(stop, ServerError("down"))
    assert list(router.resting()) == ["b#0"]
    # Where nothing else is left it is tried all the same.
    assert route(router, "b/y") == [("b/y", "k")]
    clock.now += OPEN_S + 1
    assert router.resting() == {}
    router.failed(stop, ServerError("still down"))
    assert list(router.resting()) == ["b#0"]
    clock.now += OPEN_S + 1
    router.succeeded(stop)
    router.failed(stop, ServerError("once"))
    assert router.resting() == {}


@pytest.mark.parametrize("name", ["nope", "nope/x", "a/", "/x", "", "a"])
def test_unknown_names(router: TargetRouter, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        router.route(name)
    assert "a, b, both, weighted" in str(caught.value)


@pytest.mark.parametrize("route", ['["a/*", "b/y"]', '["b/y", "a/*"]'])
@pytest.mark.parametrize("name", ["own-../secret", "own-..", "own-x/../../y", "own-"])
def test_no_target_of_a_pattern_may_lead_out_of_its_provider(route: str, name: str) -> None:
    """One target that is sound makes the others of its route no better."""
    text = f'{CONFIG}[models."own-*"]\nroute = {route}\n'
    router = TargetRouter(parse_config(text, environment={}))
    assert {stop.name for stop in router.route("own-x")} == {"a/x", "b/y"}
    with pytest.raises(NotFoundError):
        router.route(name)


ROUTES = """
[models.cooled]
route = ["hot/status-429-30", "good/ok"]
[models.broken]
route = ["down/status-503", "good/ok"]
[models.spread]
route = [{ model = "one/ok", weight = 1 }, { model = "two/ok", weight = 3 }]
"""


def test_rests_circuits_and_weights_of_a_gateway(tmp_path: Path) -> None:
    with bad_upstream() as upstream:
        tables = [
            provider_table(name, upstream.base_url, "openai-chat")
            for name in ("hot", "down", "good", "one", "two")
        ]
        gateway = Gateway(tmp_path, ROUTES + "".join(tables)).start()

        def ask(model: str) -> str:
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            answer = gateway.post("/v1/chat/completions", body)
            assert answer.status == 200
            return answer.headers["polycall-model"]

        assert {ask("cooled") for _ in range(4)} == {"good/ok"}
        assert {ask("broken") for _ in range(FAILURES_MAX + 4)} == {"good/ok"}
        spread = Counter(ask("spread") for _ in range(80))
        assert gateway.stop() == 0
    # Who asked for a pause is not asked again, who failed so often for a while neither.
    assert upstream.counts["status-429-30"] == 1
    assert upstream.counts["status-503"] == FAILURES_MAX
    assert spread["two/ok"] > spread["one/ok"] > 0


@pytest.mark.parametrize(
    ("name", "is_built_in"), [("groq/x", True), ("nobody/x", False), ("a", False), ("x", False)]
)
def test_the_hint_names_a_table_only_for_providers_that_polycall_knows(
    router: TargetRouter, name: str, is_built_in: bool
) -> None:
    with pytest.raises(NotFoundError) as caught:
        router.route(name)
    hint = f"the operator can add [providers.{name.partition('/')[0]}]"
    assert (hint in str(caught.value)) == is_built_in


def test_a_target_without_a_weight_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIG + '[models.mixed]\nroute = ["a/x", { model = "b/y", weight = 3 }]\n'
    mixed = TargetRouter(parse_config(config, environment={}))
    seen: list[list[int]] = []

    def choices(route: list[object], weights: list[int]) -> list[object]:
        seen.append(weights)
        return route[:1]

    monkeypatch.setattr("polycall.gateway.routing.router.random.choices", choices)
    assert route(mixed, "mixed")[0][0] == "a/x"
    assert seen == [[1, 3]]
