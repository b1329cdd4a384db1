"""Faults that were mended, with other inputs of their kinds, through one gateway: by their ids."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.exchange import prepare
from polycall.ir import Message, Request, Text
from polycall.providers.catalogue import CATALOGUE
from tests.gateway.harness import Gateway, provider_table
from tests.gateway.scripted import Scripted, scripted

JSON = dict[str, Any]
CHAT, RESPONSES, ANTHROPIC = "/v1/chat/completions", "/v1/responses", "/v1/messages"
USER: JSON = {"role": "user", "content": "hi"}
OPUS = "claude-opus-5-5"
OWN_BETA, OTHER_BETA = "operator-2026-01-01", "task-budgets-2026-03-13"


def claude_body(text: str = "fine") -> JSON:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": OPUS}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"input_tokens": 3, "output_tokens": 2}
    return {**head, "content": [{"type": "text", "text": text}], **end, "usage": usage}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture(scope="module")
def served(upstream: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    base = upstream.base_url
    operated = f'[providers.operated.headers]\nanthropic-beta = "{OWN_BETA}"\n'
    tables = [
        provider_table("plain", base + "/v1", "openai-chat"),
        provider_table("router", base + "/v1", "openai-chat", 'quirks = "openrouter"'),
        provider_table("claude", base, "anthropic"),
        provider_table("operated", base, "anthropic", operated),
        provider_table("google", base, "gemini"),
        provider_table("resp", base + "/v1", "openai-responses"),
        '[models.two]\nroute = ["claude/one", "operated/two"]\n[server]\nwait_s_max = 1\n',
    ]
    gateway = Gateway(tmp_path_factory.mktemp("inputs"), "\n".join(tables)).start()
    yield gateway
    gateway.stop()


# ---------------------------------------------------------------------------------------------
# T4: previews


def test_t4_previews_on_two_lines_are_one_list(served: Gateway, upstream: Scripted) -> None:
    body = json.dumps({"model": "two", "max_tokens": 9, "messages": [USER], "speed": "fast"})
    upstream.say("one", claude_body())
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    connection.putrequest("POST", ANTHROPIC)
    for name, value in (
        ("Anthropic-Beta", OTHER_BETA),
        ("anthropic-beta", "fast-mode-2026-02-01"),
        ("content-length", str(len(body))),
    ):
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    assert connection.getresponse().status == 200
    connection.close()
    assert upstream.heads[0]["anthropic-beta"] == f"{OTHER_BETA}, fast-mode-2026-02-01"


@pytest.mark.parametrize("thought", [True, False])
@pytest.mark.parametrize("path", [ANTHROPIC, "/v1/messages/count_tokens"])
def test_t4_the_operators_previews_stand_beside_the_clients(
    served: Gateway, upstream: Scripted, path: str, *, thought: bool
) -> None:
    upstream.say("m", {"input_tokens": 3} if "count" in path else claude_body())
    foreign = {"type": "thinking", "thinking": "", "signature": "pc1.AAAA"}
    said = {"role": "assistant", "content": [foreign, {"type": "text", "text": "a"}]}
    messages = [USER, said, USER] if thought else [USER]  # thinking is translated
    body = {"model": "operated/m", "max_tokens": 9, "messages": messages}
    served.post(path, body, **{"anthropic-beta": f"{OTHER_BETA},{OWN_BETA}"})
    assert upstream.heads[0]["anthropic-beta"] == f"{OWN_BETA},{OTHER_BETA}"


def test_t4_a_cloud_that_has_previews_in_the_body_gets_the_clients_there() -> None:
    provider = replace(CATALOGUE["bedrock-invoke"], place={"region": "us-east-1"})
    request = Request(OPUS, messages=[Message("user", [Text("hi")])], max_output_tokens=9)
    asked = {"anthropic-beta": f"{OTHER_BETA}, fast-mode-2026-02-01"}
    sent = prepare(request, provider, OPUS, "key", asked=asked).http
    assert "anthropic-beta" not in sent.headers
    assert json.loads(sent.body)["anthropic_beta"] == [OTHER_BETA, "fast-mode-2026-02-01"]
