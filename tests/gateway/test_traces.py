"""Spans of requests, as an OTLP collector gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.collector import Collector, Seen, collecting
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.gateway.upstream import bad_upstream

CHAT = "/v1/chat/completions"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SECRET_WORDS = "the eagle lands at noon"


def config(upstream: str, collector: str, more: str = "") -> str:
    return f"""
[server]
attempts = 2
{provider_table("up", upstream, "openai-chat", 'quirks = "openai"')}
{provider_table("openai", upstream, "openai-chat", 'quirks = "openai"')}
[models.both]
route = ["up/status-529", "openai/plain"]
[traces]
endpoint = "{collector}"
headers = {{ x-team = "7" }}
service = "the-gateway"
{more}
[[keys]]
key = "{KEY}"
name = "first"
"""


def ask(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": SECRET_WORDS}], **more}


def families(collector: Collector) -> list[tuple[Seen, list[Seen]]]:
    """Each request's span with those of its attempts."""
    spans = collector.spans()
    servers = [span for span in spans if span.kind == 2]
    return [(one, [span for span in spans if span.parent == one.id]) for one in servers]


def test_a_request_and_its_attempts(folder: Path) -> None:
    with bad_upstream() as upstream, collecting() as collector:
        gateway = Gateway(folder, config(upstream.base_url, collector.url)).start()
        traced = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=x"}
        answer = gateway.post(CHAT, ask("both"), **traced)
        gateway.post(CHAT, ask("openai/plain", stream=True))
        gateway.post("/v1/messages", ask("up/cut", stream=True, max_tokens=9))
        gateway.post(CHAT, ask("nobody/x"))
        assert gateway.stop() == 0
        heads = upstream.heads
        first, streamed, cut, unknown = families(collector)
        assert collector.headers[0]["x-team"] == "7"
        assert b"the-gateway" in collector.bodies[0]
    request, attempts = first
    assert (request.trace, request.parent) == (TRACE, PARENT)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["polycall.request_id"] == answer.headers["polycall-request-id"]
    assert request.attributes["gen_ai.request.model"] == "both"
    assert request.attributes["polycall.attempts"] == 2
    assert request.attributes["polycall.key"] == "first"
    assert [(one.name, one.kind, one.trace, one.is_error, one.attributes) for one in attempts] == [
        (
            "chat status-529",
            3,
            TRACE,
            True,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "up",
                "gen_ai.request.model": "status-529",
                "error.type": "OverloadedError",
            },
        ),
        (
            "chat plain",
            3,
            TRACE,
            False,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "plain",
                "gen_ai.usage.input_tokens": 7,
                "gen_ai.usage.output_tokens": 3,
            },
        ),
    ]
    # Each provider is given its own attempt as the parent.
    sent = [head.lower().partition("traceparent: ")[2][:55] for head in heads[:2]]
    assert sent == [f"00-{TRACE}-{one.id}-01" for one in attempts]
    assert "tracestate: vendor=x" in heads[0].lower()
    (only,) = streamed[1]
    assert only.attributes["gen_ai.usage.output_tokens"] == 3
    assert streamed[0].parent == ""
    assert (cut[0].attributes["polycall.outcome"], cut[0].is_error) == ("error", True)
    assert [one.is_error for one in cut[1]] == [True]
    assert (unknown[0].attributes["http.response.status_code"], unknown[1]) == (404, [])
    data = b"".join(collector.bodies)
    assert SECRET_WORDS.encode() not in data
    assert "안녕".encode() not in data
    assert b"it is 529" not in data  # what a provider said of its failure


def test_clients_and_the_configuration_decide_what_is_sampled(folder: Path) -> None:
    with bad_upstream() as upstream, collecting() as collector:
        none = config(upstream.base_url, collector.url, "sample = 0.0")
        gateway = Gateway(folder, none).start()
        gateway.post(CHAT, ask("up/plain"))
        gateway.post(CHAT, ask("up/plain"), traceparent=f"00-{TRACE}-{PARENT}-00")
        gateway.post(CHAT, ask("up/plain"), traceparent="nonsense")
        gateway.post(CHAT, ask("up/plain"), traceparent=f"00-{TRACE}-{PARENT}-01")
        assert gateway.stop() == 0
        assert {span.trace for span in collector.spans()} == {TRACE}
        assert len(collector.spans()) == 2


def test_a_collector_that_is_away_costs_no_request(folder: Path) -> None:
    with bad_upstream() as upstream:
        gateway = Gateway(folder, config(upstream.base_url, "http://127.0.0.1:9/v1/traces"))
        gateway.start()
        for _ in range(5):
            assert gateway.post(CHAT, ask("up/plain")).status == 200
        assert gateway.stop() == 0
