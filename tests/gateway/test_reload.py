"""SIGHUP changes the configuration; no stream and no connection notices."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.gateway.harness import KEY, OTHER_KEY, Gateway, provider_table
from tests.gateway.test_workers import metric, until
from tests.gateway.upstream import BadUpstream

ASK = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"


def config(upstream: BadUpstream, *, model: str, key: str = KEY, more: str = "") -> str:
    table = provider_table("up", upstream.base_url, "openai-chat", 'quirks = "openai"')
    alias = f'[models.fast]\nroute = ["up/{model}"]\n'
    return f'{more}\n{table}\n{alias}\n[[keys]]\nkey = "{key}"\nname = "one"\n'


@pytest.fixture
def served(upstream: BadUpstream, folder: Path) -> Iterator[Gateway]:
    gateway = Gateway(folder, config(upstream, model="a")).start()
    yield gateway
    assert gateway.stop() == 0


def reload(gateway: Gateway, text: str, *, result: str = "ok", key: str = KEY) -> None:
    """Change the file, and wait until every process has taken it up or refused it."""
    before = metric(gateway, "polycall_reloads_total").get(f'{{result="{result}"}}', 0)
    gateway.path.write_text(text, encoding="utf-8")
    gateway.signal(signal.SIGHUP)

    def is_done() -> bool:
        answer = gateway.request("GET", "/metrics", key=key)
        return f'polycall_reloads_total{{result="{result}"}} {before + 1:g}' in (
            answer.content.decode()
        )

    assert until(is_done), gateway.log


def asked(upstream: BadUpstream) -> str:
    return upstream.requests[-1]["model"]


def test_routes_and_prices_change_on_one_connection(upstream: BadUpstream, served: Gateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    headers = {"authorization": f"Bearer {KEY}"}
    shown: list[tuple[str, str, str | None]] = []
    for model, price in (("a", ""), ("b", "[providers.up.prices]\nb = { input = 1, output = 1 }")):
        if model == "b":
            reload(served, config(upstream, model="b") + price)
        connection.request("POST", CHAT, json.dumps(ASK), headers)
        answer = connection.getresponse()
        answer.read()
        cost = answer.headers["polycall-cost-usd"]
        shown.append((asked(upstream), answer.headers["polycall-model"], cost))
    connection.close()
    assert shown == [("a", "up/a", None), ("b", "up/b", "0.00001")]


def test_a_stream_goes_on_by_the_configuration_it_began_with(
    upstream: BadUpstream, served: Gateway
) -> None:
    reload(served, config(upstream, model="late-1"))
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(served.post, CHAT, {**ASK, "stream": True}) for _ in range(6)]
        assert until(lambda: metric(served, "polycall_in_flight") == {"": 6})
        for model in ("b", "c", "d"):
            reload(served, config(upstream, model=model))
            served.post(CHAT, ASK)
            assert asked(upstream) == model
        found = [answer.result() for answer in answers]
    assert [answer.content.endswith(b"data: [DONE]\n\n") for answer in found] == [True] * 6
    assert {answer.headers["polycall-model"] for answer in found} == {"up/late-1"}


def test_mistakes_are_told_with_their_lines_and_the_old_one_stays(
    upstream: BadUpstream, served: Gateway
) -> None:
    broken = '[server]\nprot = 1\n[models.fast]\nroute = ["nope/x"]\n'
    reload(served, broken, result="refused")
    assert f"{served.path}:2: server.prot" in served.log
    assert f"{served.path}:4: models.fast.route.nope" in served.log
    assert "the old one stays" in served.log
    assert served.post(CHAT, ASK).status == 200
    assert asked(upstream) == "a"
    reload(served, config(upstream, model="b"))
    assert served.post(CHAT, ASK).status == 200
    assert asked(upstream) == "b"


def test_keys_come_and_go(upstream: BadUpstream, served: Gateway) -> None:
    reload(served, config(upstream, model="a", key=OTHER_KEY), key=OTHER_KEY)
    assert served.request("POST", CHAT, ASK, key=KEY).status == 401
    assert served.request("POST", CHAT, ASK, key=OTHER_KEY).status == 200


def test_what_takes_a_restart_is_said(upstream: BadUpstream, served: Gateway) -> None:
    more = '[server]\nport = 1\nworkers = 2\nattempts = 1\n[store]\nurl = "sqlite:///x.db"'
    reload(served, config(upstream, model="status-500", more=more))
    # The port came from the command line, which the file does not change.
    assert "server.port" not in served.log
    assert "server.workers has changed; that takes a restart" in served.log
    assert "store has changed; that takes a restart" in served.log
    before = len(upstream.requests)
    assert served.post(CHAT, ASK).status == 500
    assert len(upstream.requests) == before + 1  # `attempts` did change


def test_the_network_is_not_opened_to_everybody_by_a_reload(
    upstream: BadUpstream, folder: Path
) -> None:
    more = '[server]\nhost = "0.0.0.0"'
    gateway = Gateway(folder, config(upstream, model="a", more=more)).start()
    text = config(upstream, model="a", more=more)
    reload(gateway, text[: text.index("[[keys]]")], result="refused")
    assert "refusing to listen on '0.0.0.0'" in gateway.log
    assert gateway.request("POST", CHAT, ASK, key=None).status == 401
    assert gateway.stop() == 0


def test_every_worker_reloads(upstream: BadUpstream, folder: Path) -> None:
    more = "[server]\nworkers = 3"
    gateway = Gateway(folder, config(upstream, model="a", more=more)).start()
    gateway.path.write_text(config(upstream, model="b", more=more), encoding="utf-8")
    gateway.signal(signal.SIGHUP)
    assert until(lambda: metric(gateway, "polycall_reloads_total") == {'{result="ok"}': 3})
    for _ in range(20):
        answer = gateway.post(CHAT, ASK)
        assert answer.headers["polycall-model"] == "up/b"
    # One with mistakes does not even reach them.
    gateway.path.write_text("[server]\nprot = 1\n", encoding="utf-8")
    gateway.signal(signal.SIGHUP)
    assert until(lambda: "the old one stays" in gateway.log)
    assert gateway.post(CHAT, ASK).status == 200
    assert metric(gateway, "polycall_reloads_total") == {'{result="ok"}': 3}
    assert gateway.stop() == 0
