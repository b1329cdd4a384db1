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
from tests.gateway.scripted import Scripted, chat_body, scripted
from tests.gateway.test_ends_and_parts import responses_body

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
        '[models.two]\nroute = ["claude/one", "operated/two"]\n'
        '[models."fast-*"]\nroute = ["plain/m"]\n[server]\nwait_s_max = 1\n',
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


# ---------------------------------------------------------------------------------------------
# T8: tools that a client runs, wherever it offers them


WEATHER: JSON = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SEARCH: JSON = {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}}
OFFERS: dict[str, tuple[JSON, list[str]]] = {
    "what a search of the client's found": (
        {
            "input": [
                USER,
                {
                    "type": "tool_search_call",
                    "call_id": "c",
                    "execution": "client",
                    "arguments": {},
                },
                {
                    "type": "tool_search_output",
                    "call_id": "c",
                    "execution": "client",
                    "tools": [WEATHER],
                },
            ],
            "tools": [SEARCH],
        },
        ["tool_search", "get_weather"],
    ),
    "a namespace among the input, twice": (
        {
            "input": [
                {"type": "additional_tools", "tools": [{**SEARCH, "execution": "client"}]},
                *[
                    {
                        "type": "additional_tools",
                        "tools": [{"type": "namespace", "name": "wx", "tools": [WEATHER]}],
                    },
                    USER,
                ]
                * 2,
            ],
        },
        ["tool_search", "wx__get_weather"],
    ),
}


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("provider", ["plain", "claude", "google"])
def test_t8_tools_that_the_client_runs_reach_every_target(
    served: Gateway, upstream: Scripted, provider: str, offer: str
) -> None:
    fields, names = OFFERS[offer]
    candidate = {"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP"}
    answers = {"plain": chat_body({"content": "a"}), "claude": claude_body()}
    upstream.say("m", answers.get(provider, {"candidates": [candidate]}))
    assert served.post(RESPONSES, {"model": f"{provider}/m", **fields}).status == 200
    tools = upstream.bodies[0]["tools"]
    found = [
        function.get("name") or function["function"]["name"]
        for tool in tools
        for function in tool.get("functionDeclarations", [tool])
    ]
    assert found == names


# ---------------------------------------------------------------------------------------------
# T10: whose user it is


@pytest.mark.parametrize("user", ["jane.roe@example.com", "u" * 300])
@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_t10_a_user_of_openais_is_hashed_for_anthropic(
    served: Gateway, upstream: Scripted, field: str, user: str
) -> None:
    upstream.say(OPUS, claude_body())
    body = {"model": f"claude/{OPUS}", "messages": [USER], field: user}
    answer = served.post(CHAT, body)
    sent = upstream.bodies[0]["metadata"]["user_id"]
    assert sent.startswith("user_")
    assert len(sent) <= 64
    assert user not in str(upstream.bodies[0])
    assert "end_user" in answer.headers["polycall-warnings"]


@pytest.mark.parametrize(("length", "is_kept"), [(186, True), (257, False)])
def test_t10_the_librarys_user_is_the_vendors_where_it_fits(length: int, *, is_kept: bool) -> None:
    user = "u" * length
    request = Request(OPUS, messages=[Message("user", [Text("hi")])], end_user=user)
    body = prepare(request, CATALOGUE["anthropic"], OPUS, "key").wire.body
    assert (body["metadata"]["user_id"] == user) is is_kept


# ---------------------------------------------------------------------------------------------
# T13: lines for the client's own vendor


NONCE = "x-anthropic-billing-header: cc_version=2.1; cch=00abc;"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (RESPONSES, {"instructions": f"{NONCE}\nYou help.", "input": "hi"}),
        (
            ANTHROPIC,
            {
                "max_tokens": 9,
                "system": "You help.",
                "messages": [
                    USER,
                    {"role": "assistant", "content": "a"},
                    {"role": "system", "content": f"{NONCE}\nBe brief."},
                    USER,
                ],
            },
        ),
    ],
)
@pytest.mark.parametrize("provider", ["plain", "router"])
def test_t13_a_line_for_another_vendor_is_left_out_wherever_instructions_stand(
    served: Gateway, upstream: Scripted, provider: str, path: str, fields: JSON
) -> None:
    upstream.say("m", chat_body({"content": "a"}))
    assert served.post(path, {"model": f"{provider}/m", **fields}).status == 200
    assert "billing-header" not in str(upstream.bodies[0])
    assert "You help." in str(upstream.bodies[0])


# ---------------------------------------------------------------------------------------------
# T18: upgrades


HTTP2 = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAA"}
SOCKET = {
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "sec-websocket-version": "13",
}


@pytest.mark.parametrize("path", [CHAT, ANTHROPIC, RESPONSES])
def test_t18_an_upgrade_to_http_2_is_ignored(
    served: Gateway, upstream: Scripted, path: str
) -> None:
    upstream.say("m", chat_body({"content": "a"}))
    said = {"input": "hi"} if path == RESPONSES else {"messages": [USER], "max_tokens": 9}
    assert served.post(path, {"model": "plain/m", **said}, **HTTP2).status == 200
    assert served.request("GET", path, None, headers=HTTP2).status == 405


@pytest.mark.parametrize("path", [ANTHROPIC, CHAT, "/v1beta/models/plain/m:generateContent"])
def test_t18_a_socket_where_none_is_served_is_426_in_every_dialect(
    served: Gateway, path: str
) -> None:
    answer = served.request("GET", path, None, headers=SOCKET)
    assert (answer.status, answer.headers["allow"]) == (426, "POST")


# ---------------------------------------------------------------------------------------------
# T20: stops that are cut here


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        (ANTHROPIC, {"max_tokens": 20, "stop_sequences": ["END"]}, "stop_reason"),
        (
            "/model/resp%2Fgood/converse",
            {"inferenceConfig": {"stopSequences": ["END"]}},
            "stopReason",
        ),
    ],
)
@pytest.mark.parametrize("text", ["one END two", "END two"])
def test_t20_a_stop_that_is_cut_here_is_called_one(
    served: Gateway, upstream: Scripted, *, text: str, path: str, fields: JSON, field: str
) -> None:
    upstream.say("good", responses_body(text))
    user = {"role": "user", "content": [{"text": "hi"}]} if "converse" in path else USER
    answer = served.post(path, {"model": "resp/good", "messages": [user], **fields})
    assert answer.json()[field] == "stop_sequence"
    assert "two" not in answer.content.decode()
    chat = served.post(CHAT, {"model": "resp/good", "messages": [USER], "stop": "END"})
    assert chat.json()["choices"][0]["finish_reason"] == "stop"


# ---------------------------------------------------------------------------------------------
# C9: the model that was asked for

CONTENTS: JSON = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


ROUTED = "anthropic/claude-opus-5.5"
LONG = "word " * 1000


@pytest.mark.parametrize("streamed", [False, True])
def test_t5_a_chat_clients_long_prompt_is_marked_for_claude_behind_a_router(
    served: Gateway, upstream: Scripted, *, streamed: bool
) -> None:
    said = [{"role": "system", "content": LONG}, USER]
    done = {"delta": {"content": "a"}, "index": 0, "finish_reason": "stop"}
    chunk = json.dumps({"id": "c", "model": ROUTED, "choices": [done]})
    frames = f"data: {chunk}\n\ndata: [DONE]\n\n".encode()
    upstream.say(ROUTED, frames if streamed else chat_body({"content": "a"}))
    body = {"model": f"router/{ROUTED}", "messages": said, "stream": streamed}
    answer = served.post(CHAT, body)
    assert answer.status == 200, answer.content
    sent = upstream.bodies[-1]["messages"]
    assert [each["content"][-1]["cache_control"] for each in sent] == [{"type": "ephemeral"}] * 2


@pytest.mark.parametrize(
    ("model", "system"),
    [
        (ROUTED, [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]),
        (ROUTED, "short"),
        ("openai/gpt-6.1-sol", LONG),
    ],
)
def test_t5_other_prompts_of_chat_clients_pass_as_they_are(
    served: Gateway, upstream: Scripted, model: str, system: Any
) -> None:
    said = [{"role": "system", "content": system}, USER]
    upstream.say(model, chat_body({"content": "a"}))
    assert served.post(CHAT, {"model": f"router/{model}", "messages": said}).status == 200
    assert upstream.bodies[-1] == {"model": model, "messages": said}


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        (ANTHROPIC, {"max_tokens": 9, "messages": [USER]}, "model"),
        ("/v1beta/models/fast-7:generateContent", CONTENTS, "modelVersion"),
        ("/v1beta/interactions", {"input": "hi"}, "model"),
        ("/api/chat", {"messages": [USER], "stream": False}, "model"),
    ],
)
def test_c9_a_pattern_is_named_as_it_was_asked_for_on_every_wire(
    served: Gateway, upstream: Scripted, *, path: str, fields: JSON, field: str
) -> None:
    upstream.say("m", chat_body({"content": "a"}))
    answer = served.post(path, {"model": "fast-7", **fields})
    assert answer.json()[field] == "fast-7"
    assert answer.headers["polycall-model"] == "plain/m"
