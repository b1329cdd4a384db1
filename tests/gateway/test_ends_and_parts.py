"""Failures inside answers, careful servers and translated fields, through a real gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from polycall.client import Client
from polycall.errors import ModelOutputError
from polycall.fold import fold
from polycall.providers.provider import Provider
from polycall.transport.base import Retry
from tests.gateway.harness import Gateway, provider_table
from tests.gateway.scripted import (
    Scripted,
    call,
    chat_body,
    chat_chunk,
    chat_stream,
    function,
    scripted,
    sse,
)

JSON = dict[str, Any]
CHAT, RESPONSES, ANTHROPIC = "/v1/chat/completions", "/v1/responses", "/v1/messages"
USER = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture(scope="module")
def served(upstream: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    base = upstream.base_url
    tables = [
        provider_table("plain", base + "/v1", "openai-chat"),
        provider_table("router", base + "/v1", "openai-chat", 'quirks = "openrouter"'),
        provider_table("local", base + "/v1", "openai-chat", 'quirks = "vllm"'),
        provider_table("lms", base + "/v1", "openai-chat", 'quirks = "lmstudio"'),
        provider_table("claude", base, "anthropic"),
        provider_table("google", base, "gemini"),
        provider_table("resp", base + "/v1", "openai-responses"),
    ]
    models = (
        "[server]\nwait_s_max = 1\n"
        '[models.two]\nroute = ["plain/bad", "plain/good"]\n'
        '[models.claudes]\nroute = ["claude/bad", "claude/good"]\n'
        '[models.gemini-then-plain]\nroute = ["google/bad", "plain/good"]\n'
    )
    gateway = Gateway(tmp_path_factory.mktemp("ends"), "\n".join([*tables, models])).start()
    yield gateway
    gateway.stop()


GOOD = chat_body({"content": "fine"})
GOOD_STREAM = chat_stream(chat_chunk({"content": "fine"}), chat_chunk({}, "stop"))

FAILED: dict[str, JSON] = {
    "an error object in the choice": chat_body(
        {"content": ""}, "error", error={"code": 502, "message": "upstream died"}
    ),
    "native_finish_reason": chat_body(
        {"content": ""}, "stop", native_finish_reason="network_error"
    ),
    "a word for a failure": chat_body({"content": "half an ans"}, "insufficient_system_resource"),
    "an error in the message": chat_body({"content": "", "error": {"message": "lost"}}, "stop"),
}


@pytest.mark.parametrize("name", FAILED)
@pytest.mark.parametrize("path", [CHAT, ANTHROPIC])
def test_t14_a_failure_inside_an_answer_goes_to_the_next_stop(
    served: Gateway, upstream: Scripted, path: str, name: str
) -> None:
    upstream.say("bad", FAILED[name])
    upstream.answers["good"] = [(200, GOOD)]
    answer = served.post(path, {"model": "two", "max_tokens": 9, "messages": [USER]})
    assert answer.status == 200
    assert b"fine" in answer.content
    assert upstream.asked()[:2] == ["bad", "good"]


FAILED_STREAMS: dict[str, bytes] = {
    "an error object in the choice": chat_stream(
        chat_chunk({"content": ""}, "error", error={"code": 502, "message": "upstream died"})
    ),
    "native_finish_reason": chat_stream(
        chat_chunk({"content": ""}, "stop", native_finish_reason="network_error")
    ),
    "an error chunk behind the opening": chat_stream(
        {"error": {"code": 503, "message": "no room"}}
    ),
}


@pytest.mark.parametrize("name", FAILED_STREAMS)
@pytest.mark.parametrize("path", [CHAT, ANTHROPIC, RESPONSES])
def test_t14_a_failure_inside_a_stream_goes_to_the_next_stop(
    served: Gateway, upstream: Scripted, path: str, name: str
) -> None:
    upstream.say("bad", FAILED_STREAMS[name])
    upstream.answers["good"] = [(200, GOOD_STREAM)]
    body = {"model": "two", "stream": True, "messages": [USER], "input": "hi"}
    body.pop("input" if path != RESPONSES else "messages")
    if path == ANTHROPIC:
        body["max_tokens"] = 9
    answer = served.post(path, body)
    assert answer.status == 200
    assert b"fine" in answer.content
    assert b"died" not in answer.content
    assert upstream.asked()[:2] == ["bad", "good"]


def test_t14_geminis_and_anthropics_failures_go_to_the_next_stop(
    served: Gateway, upstream: Scripted
) -> None:
    upstream.say("bad", {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}]})
    upstream.answers["good"] = [(200, GOOD)]
    answer = served.post(CHAT, {"model": "gemini-then-plain", "messages": [USER]})
    assert b"fine" in answer.content
    message = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    bad = {**message, "stop_reason": "error", "usage": usage}
    good = {**bad, "content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn"}
    upstream.say("bad", bad)
    upstream.answers["good"] = [(200, good)]
    answer = served.post(CHAT, {"model": "claudes", "messages": [USER]})
    assert b"fine" in answer.content


BLAMES: dict[str, JSON] = {
    "groq": {
        "error": {
            "message": "Failed to call a function. Please adjust your prompt.",
            "type": "invalid_request_error",
            "code": "tool_use_failed",
            "failed_generation": "<function=f>",
        }
    },
    "json": {"error": {"message": "Failed to generate JSON.", "code": "json_validate_failed"}},
    "words": {"error": {"message": "model output could not be parsed", "type": "bad_request"}},
}


@pytest.mark.parametrize("name", BLAMES)
def test_t15_a_refusal_that_blames_the_model_is_asked_once_more_then_the_next_stop(
    served: Gateway, upstream: Scripted, name: str
) -> None:
    upstream.say("bad", (400, BLAMES[name]), GOOD)
    answer = served.post(CHAT, {"model": "plain/bad", "messages": [USER]})
    assert answer.status == 200, answer.content
    assert upstream.asked() == ["bad", "bad"]
    upstream.say("bad", (400, BLAMES[name]))
    upstream.answers["good"] = [(200, GOOD)]
    answer = served.post(CHAT, {"model": "two", "messages": [USER]})
    assert b"fine" in answer.content
    upstream.say("bad", (400, BLAMES[name]))
    answer = served.post(CHAT, {"model": "plain/bad", "messages": [USER]})
    assert upstream.asked() == ["bad", "bad"]
    assert answer.status >= 400


def test_t15_a_refusal_of_the_request_is_not_asked_again(
    served: Gateway, upstream: Scripted
) -> None:
    upstream.say("bad", (400, {"error": {"message": "temperature is too high"}}))
    answer = served.post(CHAT, {"model": "plain/bad", "messages": [USER]})
    assert answer.status == 400
    assert upstream.asked() == ["bad"]


@pytest.mark.parametrize("word", ["brand_new_end", "max_compute", "guardrail"])
def test_t16_an_unknown_end_is_no_clean_end(served: Gateway, upstream: Scripted, word: str) -> None:
    upstream.say("good", chat_body({"content": "half"}, word))
    answer = served.post(ANTHROPIC, {"model": "plain/good", "max_tokens": 9, "messages": [USER]})
    assert answer.json()["stop_reason"] not in ("end_turn", "stop_sequence")
    assert "finish_reason" in answer.headers.get("polycall-warnings", ""), answer.headers
    answer = served.post(RESPONSES, {"model": "plain/good", "input": "hi"})
    assert answer.json()["status"] != "completed"
    answer = served.post(CHAT, {"model": "plain/good", "messages": [USER]})
    assert answer.json()["choices"][0]["finish_reason"] == word


def client(upstream: Scripted) -> Client:
    rows = [Provider("plain", "openai-chat", upstream.base_url + "/v1", needs_key=False)]
    return Client(providers=rows, retry=Retry(attempts=3, base_s=0.01))


@pytest.mark.parametrize("name", FAILED)
async def test_t14_the_library_asks_the_next_model_too(upstream: Scripted, name: str) -> None:
    upstream.say("bad", FAILED[name])
    upstream.answers["good"] = [(200, GOOD)]
    async with client(upstream) as library:
        response = await library.generate("plain/bad,plain/good", "hi")
    assert response.text == "fine"


@pytest.mark.parametrize("name", FAILED_STREAMS)
async def test_t14_the_library_streams_from_the_next_model_too(
    upstream: Scripted, name: str
) -> None:
    upstream.say("bad", FAILED_STREAMS[name])
    upstream.answers["good"] = [(200, GOOD_STREAM)]
    async with client(upstream) as library, library.stream("plain/bad,plain/good", "hi") as stream:
        events = [event async for event in stream]
    assert fold(events).text == "fine"


async def test_t15_the_library_asks_once_more_then_the_next_model(upstream: Scripted) -> None:
    upstream.say("bad", (400, BLAMES["groq"]))
    upstream.answers["good"] = [(200, GOOD)]
    async with client(upstream) as library:
        response = await library.generate("plain/bad,plain/good", "hi")
        assert response.text == "fine"
        assert upstream.asked() == ["bad", "bad", "good"]
        upstream.say("bad", (400, BLAMES["groq"]))
        with pytest.raises(ModelOutputError):
            await library.generate("plain/bad", "hi")


# ---------------------------------------------------------------------------------------------
# Careful servers, for clients of Chat too


@pytest.mark.parametrize("finish", ["stop", "eos", None])
def test_t19_an_unknown_servers_end_with_calls_is_tool_calls(
    served: Gateway, upstream: Scripted, finish: str | None
) -> None:
    upstream.say("good", chat_body({"content": None, "tool_calls": [call()]}, finish))
    body = {"model": "plain/good", "messages": [USER], "tools": [function()]}
    answer = served.post(CHAT, body)
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    piece = {**call(), "index": 0}
    upstream.say(
        "good", chat_stream(chat_chunk({"tool_calls": [piece]}), chat_chunk({}, finish or "stop"))
    )
    answer = served.post(CHAT, {**body, "stream": True})
    assert b'"finish_reason":"tool_calls"' in answer.content.replace(b'": "', b'":"')


TEXTS: dict[str, tuple[JSON, str]] = {
    "a word of another wire": (chat_body({"content": "fine"}, "end_turn"), "stop"),
    "upper case": (chat_body({"content": "fine"}, "STOP"), "stop"),
    "no word": (chat_body({"content": "fine"}, None), "stop"),
    "an empty word": (chat_body({"content": "fine"}, ""), "stop"),
    "a bound": (chat_body({"content": "fine"}, "max_tokens"), "length"),
    "parts": (chat_body({"content": [{"type": "text", "text": "fine"}]}), "stop"),
    "as of completions": (
        {**chat_body({}), "choices": [{"index": 0, "text": "fine", "finish_reason": "stop"}]},
        "stop",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_t19_a_text_of_an_unknown_server_reads_as_openais(
    served: Gateway, upstream: Scripted, name: str
) -> None:
    answered, finish = TEXTS[name]
    upstream.say("good", answered)
    answer = served.post(CHAT, {"model": "plain/good", "messages": [USER]})
    choice = answer.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("fine", finish)


def test_t19_a_call_in_the_older_spelling_is_one_of_the_clients_tools(
    served: Gateway, upstream: Scripted
) -> None:
    called = {"name": "f", "arguments": '{"a": 1}'}
    upstream.say("good", chat_body({"content": None, "function_call": called}, "function_call"))
    body: JSON = {"model": "plain/good", "messages": [USER]}
    choice = served.post(CHAT, {**body, "tools": [function()]}).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "f"
    assert "function_call" not in choice["message"]
    older = [function()["function"]]
    choice = served.post(CHAT, {**body, "functions": older}).json()["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"]["name"] == "f"


EMPTY: dict[str, JSON] = {
    "no choice": {**chat_body({}), "choices": []},
    "null": {**chat_body({}), "choices": None},
    "a status in the body": {
        "choices": None,
        "base_resp": {"status_code": 1002, "status_msg": "rate limit"},
    },
    "an error beside": {**chat_body({"content": "x"}), "error": {"message": "lost", "code": 500}},
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("path", [CHAT, ANTHROPIC])
def test_t14_an_answer_without_one_goes_to_the_next_stop(
    served: Gateway, upstream: Scripted, path: str, name: str
) -> None:
    upstream.say("bad", EMPTY[name])
    upstream.answers["good"] = [(200, GOOD)]
    answer = served.post(path, {"model": "two", "max_tokens": 9, "messages": [USER]})
    assert answer.status == 200
    assert b"fine" in answer.content


def test_t19_what_plain_servers_refuse_is_translated_for_chat_clients(
    served: Gateway, upstream: Scripted
) -> None:
    upstream.say("good", GOOD)
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}
    body = {
        "model": "plain/good",
        "messages": [
            {"role": "developer", "content": "be brief"},
            {**USER, "content": [{"type": "text", "text": "hi"}]},
        ],
        "tools": [function("f"), function("g")],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
        "max_completion_tokens": 9,
        "guided_json": {"of": "the server"},
    }
    assert served.post(CHAT, body).status == 200
    sent = upstream.bodies[0]
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["messages"][1]["content"] == "hi"
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f"]
    assert sent.get("tool_choice", "auto") == "auto"
    assert sent["max_tokens"] == 9
    assert sent["guided_json"] == {"of": "the server"}, "a field of the server's own stays"


def test_t19_plain_text_is_still_passed_through(served: Gateway, upstream: Scripted) -> None:
    odd = chat_body({"content": "fine", "own_field": 1})
    upstream.say("good", odd)
    answer = served.post(CHAT, {"model": "plain/good", "messages": [USER]})
    assert answer.json() == {**odd, "model": "plain/good"}


@pytest.mark.parametrize(
    "more",
    [
        {"n": 1},
        {"user": "somebody"},
        {"store": False, "metadata": {"a": "b"}},
        {"safety_identifier": "x", "n": 1},
    ],
)
def test_c3_defaults_and_wishes_are_not_sent_to_a_careful_server(
    served: Gateway, upstream: Scripted, more: JSON
) -> None:
    upstream.say("good", GOOD)
    answer = served.post(CHAT, {"model": "plain/good", "messages": [USER], **more})
    assert answer.status == 200
    assert not upstream.bodies[0].keys() & {*more, "user", "safety_identifier"}


def test_c3_a_schema_is_asked_for_in_words(served: Gateway, upstream: Scripted) -> None:
    upstream.say("good", chat_body({"content": "{}"}))
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    answer = served.post(
        CHAT, {"model": "plain/good", "messages": [USER], "response_format": wanted}
    )
    assert answer.status == 200
    assert upstream.bodies[0]["response_format"] == {"type": "json_object"}
    assert "city" in str(upstream.bodies[0]["messages"])


@pytest.mark.parametrize("form", ["webp", "png"])
def test_c5_unknown_fields_inside_messages_are_left_out_for_chat_clients(
    served: Gateway, upstream: Scripted, form: str
) -> None:
    upstream.say("good", GOOD)
    image = {"url": "https://e.org/a.png", "detail": "low", "format": form}
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": image}]},
        {"role": "assistant", "content": None, "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "1"},
        {"role": "user", "content": "on"},
    ]
    served.post(CHAT, {"model": "plain/good", "messages": messages, "tools": [function()]})
    sent = upstream.bodies[0]["messages"]
    assert sent[0]["content"][0]["image_url"] == {"url": "https://e.org/a.png", "detail": "low"}
    assert "name" not in sent[2]


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "ls -la", "5"])
@pytest.mark.parametrize("provider", ["plain", "local", "lms"])
def test_t11_arguments_that_are_no_object_are_wrapped_for_chat_relatives(
    served: Gateway, upstream: Scripted, provider: str, arguments: str
) -> None:
    upstream.say("good", GOOD)
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call(arguments=arguments)]},
        {"role": "tool", "tool_call_id": "call_1", "content": "no"},
    ]
    served.post(CHAT, {"model": f"{provider}/good", "messages": messages, "tools": [function()]})
    text = upstream.bodies[0]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(text) == {"invalid_arguments_json": arguments}


# ---------------------------------------------------------------------------------------------
# Choices


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_t9_a_choice_without_tools_is_never_sent(
    served: Gateway, upstream: Scripted, choice: str
) -> None:
    upstream.say("good", GOOD)
    body: JSON = {"model": "plain/good", "input": "hi", "tools": [], "tool_choice": choice}
    assert served.post(RESPONSES, body).status == 200
    assert not upstream.bodies[0].keys() & {"tools", "tool_choice"}
    upstream.say("good", GOOD)
    body = {"model": "plain/good", "max_tokens": 9, "messages": [USER]}
    assert served.post(ANTHROPIC, {**body, "tool_choice": {"type": choice}}).status == 200
    assert not upstream.bodies[0].keys() & {"tools", "tool_choice"}


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "web_search"}, {"type": "any"}])
@pytest.mark.parametrize("target", ["plain", "local", "resp", "google"])
def test_c4_a_choice_of_a_tool_that_was_left_out_goes_with_it(
    served: Gateway, upstream: Scripted, target: str, choice: JSON
) -> None:
    upstream.say("good", GOOD)
    search = {"type": "web_search_20250305", "name": "web_search"}
    body = {"model": f"{target}/good", "max_tokens": 9, "messages": [USER], "tools": [search]}
    served.post(ANTHROPIC, {**body, "tool_choice": choice}, **{"polycall-lossy": "true"})
    assert not upstream.bodies[0].keys() & {"tools", "tool_choice", "toolConfig"}


def test_c4_a_choice_of_a_left_out_tool_beside_others_is_dropped(
    served: Gateway, upstream: Scripted
) -> None:
    upstream.say("good", GOOD)
    tools = [
        {"type": "web_search_20250305", "name": "web_search"},
        {"name": "f", "input_schema": {"type": "object"}},
    ]
    body = {"model": "local/good", "max_tokens": 9, "messages": [USER], "tools": tools}
    choice = {"type": "tool", "name": "web_search"}
    answer = served.post(ANTHROPIC, {**body, "tool_choice": choice}, **{"polycall-lossy": "true"})
    assert "tool_choice" not in upstream.bodies[0]
    assert "tool_choice" in answer.headers["polycall-warnings"]


@pytest.mark.parametrize("stream", [False, True])
def test_c6_a_named_choice_becomes_the_only_tool_where_objects_are_refused(
    served: Gateway, upstream: Scripted, stream: bool
) -> None:
    upstream.say("good", GOOD_STREAM if stream else GOOD)
    choice = {"type": "function", "function": {"name": "g"}}
    body = {"model": "lms/good", "messages": [USER], "tools": [function("f"), function("g")]}
    served.post(CHAT, {**body, "tool_choice": choice, "stream": stream})
    assert upstream.bodies[0]["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in upstream.bodies[0]["tools"]] == ["g"]


# ---------------------------------------------------------------------------------------------
# Reasoning that Chat clients cannot hold

DETAILS = [{"type": "reasoning.encrypted", "data": "SEALED", "format": "google-gemini-v1"}]


@pytest.mark.parametrize(
    "case",
    [
        ("router", {"reasoning_details": DETAILS}, ("reasoning_details", DETAILS)),
        ("local", {"reasoning": "I THINK"}, ("reasoning", "I THINK")),
        ("lms", {"reasoning_content": "I THINK"}, ("reasoning_content", "I THINK")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_t12_reasoning_beside_calls_comes_back_for_clients_of_standard_fields(
    served: Gateway,
    upstream: Scripted,
    case: tuple[str, JSON, tuple[str, Any]],
    stream: bool,
) -> None:
    provider, thought, kept = case
    piece = {**call(), "index": 0}
    upstream.say(
        "good",
        chat_stream(
            chat_chunk(thought), chat_chunk({"tool_calls": [piece]}), chat_chunk({}, "tool_calls")
        )
        if stream
        else chat_body({"content": None, "tool_calls": [call()], **thought}, "tool_calls"),
    )
    body = {"model": f"{provider}/good", "messages": [USER], "tools": [function()]}
    answer = served.post(CHAT, {**body, "stream": stream})
    if stream:
        shown = answer.content.decode()
        call_id = shown.partition('"id":"call_')[2].partition('"')[0]
        call_id = f"call_{call_id}"
    else:
        call_id = answer.json()["choices"][0]["message"]["tool_calls"][0]["id"]
    upstream.say("good", GOOD)
    history = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call(call_id=call_id)]},
        {"role": "tool", "tool_call_id": call_id, "content": "1"},
    ]
    served.post(CHAT, {**body, "messages": history})
    field, value = kept
    assert upstream.bodies[0]["messages"][1][field] == value
    assert upstream.bodies[0]["messages"][1]["tool_calls"][0]["id"] == "call_1"


# ---------------------------------------------------------------------------------------------
# Headers, errors, stops, users, nonces


def test_t4_the_beta_header_is_kept_where_anthropic_is_translated_to_anthropic(
    served: Gateway, upstream: Scripted
) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "x", "usage": usage}
    text = [{"type": "text", "text": "fine"}]
    good = {**message, "content": text, "stop_reason": "end_turn"}
    upstream.say("bad", good)
    body = {
        "model": "claudes",
        "max_tokens": 9,
        "messages": [USER],
        "context_management": {"edits": []},
    }
    beta = "context-management-2025-06-27"
    served.post(ANTHROPIC, body, **{"anthropic-beta": beta})
    assert upstream.heads[0]["anthropic-beta"] == beta
    assert upstream.bodies[0]["context_management"] == {"edits": []}
    upstream.say("good", GOOD)
    answer = served.post(ANTHROPIC, {**body, "model": "plain/good"}, **{"anthropic-beta": beta})
    assert "anthropic-beta" not in upstream.heads[0]
    assert "context_management" not in upstream.bodies[0]
    # An empty list of edits asks for nothing, so nothing is lost.
    assert "polycall-warnings" not in answer.headers


OVERFLOWS = {
    "This model's maximum context length is 128000 tokens. However, your messages resulted in "
    "130500 tokens.": "prompt is too long: 130500 tokens > 128000 maximum",
    "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).": (
        "prompt is too long: 1048577 tokens > 1048576 maximum"
    ),
    "the request exceeds the available context size (4096 tokens), it has 5000": (
        "prompt is too long: 5000 tokens > 4096 maximum"
    ),
    "input exceeds the context window": "prompt is too long: input exceeds the context window",
}


@pytest.mark.parametrize("words", OVERFLOWS)
@pytest.mark.parametrize("status", [400, 413])
def test_c1_an_overflow_reads_as_anthropics_own(
    served: Gateway, upstream: Scripted, words: str, status: int
) -> None:
    upstream.say("bad", (status, {"error": {"message": words, "code": "context_length_exceeded"}}))
    answer = served.post(ANTHROPIC, {"model": "plain/bad", "max_tokens": 9, "messages": [USER]})
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(OVERFLOWS[words])
    assert words in error["message"]


def test_c1_too_many_bytes_stay_a_413(served: Gateway, upstream: Scripted) -> None:
    upstream.say("bad", (413, {"error": {"message": "the body has 40 MB; 32 MB are allowed"}}))
    answer = served.post(ANTHROPIC, {"model": "plain/bad", "max_tokens": 9, "messages": [USER]})
    assert (answer.status, answer.json()["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize("kind", ["api_error", "overloaded_error"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_t20_anthropics_503_stays_one(
    served: Gateway, upstream: Scripted, path: str, kind: str
) -> None:
    upstream.say("bad", (503, {"type": "error", "error": {"type": kind, "message": "later"}}))
    body = {"model": "claude/bad", "messages": [USER]}
    if path == RESPONSES:
        body = {"model": "claude/bad", "input": "hi"}
    assert served.post(path, body).status == 503


def responses_body(text: str) -> JSON:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": content}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "usage": usage}
    return {**head, "status": "completed", "output": [{**item, "status": "completed"}]}


def responses_stream(*deltas: str) -> bytes:
    whole = responses_body("".join(deltas))
    item = whole["output"][0]
    empty = {**whole, "status": "in_progress", "output": [], "usage": None}
    at = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    part = {"type": "output_text", "text": "", "annotations": []}
    frames: list[JSON] = [
        {"type": "response.created", "response": empty},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": delta} for delta in deltas),
        {"type": "response.output_text.done", **at, "text": "".join(deltas)},
        {"type": "response.content_part.done", **at, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return sse(*frames, events=True)


@pytest.mark.parametrize("pieces", [("one END two",), ("one E", "N", "D two"), ("one ", "EN", "D")])
def test_t20_stop_sequences_are_cut_here_for_responses(
    served: Gateway, upstream: Scripted, pieces: tuple[str, ...]
) -> None:
    upstream.say("good", responses_body("".join(pieces)))
    body = {"model": "resp/good", "messages": [USER], "stop": ["END", "NEVER"]}
    answer = served.post(CHAT, body)
    choice = answer.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one ", "stop")
    assert "stop" in answer.headers["polycall-warnings"]
    upstream.say("good", responses_stream(*pieces))
    shown = served.post(CHAT, {**body, "stream": True}).content.decode()
    assert "one" in shown
    assert "two" not in shown
    assert "END" not in shown
    assert '"finish_reason":"stop"' in shown


def test_t20_a_text_that_only_begins_like_a_stop_is_whole(
    served: Gateway, upstream: Scripted
) -> None:
    upstream.say("good", responses_stream("one E", "N"))
    body = {"model": "resp/good", "messages": [USER], "stop": "END", "stream": True}
    shown = served.post(CHAT, body).content.decode()
    assert '"content":"EN"' in shown or '"content":"N"' in shown


@pytest.mark.parametrize("count", [2, 3])
def test_t20_several_answers_for_a_client_that_can_be_shown_one_are_refused(
    served: Gateway, upstream: Scripted, count: int
) -> None:
    upstream.say("good", GOOD)
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    path = "/v1beta/models/local/good:generateContent"
    body = {"contents": contents, "generationConfig": {"candidateCount": count}}
    answer = served.post(path, body)
    assert answer.status == 400
    assert "candidates" in answer.json()["error"]["message"]
    body = {"contents": contents, "generationConfig": {"candidateCount": 1}}
    assert served.post(path, body).status == 200
    assert "n" not in upstream.bodies[-1]


CLAUDE_USER = "user_" + "a" * 64 + "_account_" + "b" * 36 + "_session_" + "c" * 36


@pytest.mark.parametrize("user", [CLAUDE_USER, "short", "사용자" * 40])
@pytest.mark.parametrize("target", ["local", "resp"])
def test_t10_another_vendors_user_is_hashed(
    served: Gateway, upstream: Scripted, target: str, user: str
) -> None:
    upstream.say("good", GOOD if target == "local" else responses_body("fine"))
    body = {"model": f"{target}/good", "max_tokens": 9, "messages": [USER]}
    served.post(ANTHROPIC, {**body, "metadata": {"user_id": user}})
    sent = upstream.bodies[0]
    told = sent.get("safety_identifier") or sent.get("user") or ""
    assert told.startswith("user_")
    assert len(told) <= 64
    assert user not in str(sent)


NONCE = "x-anthropic-billing-header: cc_version=2.1; cch=00abc;"


@pytest.mark.parametrize(
    "system",
    [
        [{"type": "text", "text": NONCE}, {"type": "text", "text": "You help."}],
        f"{NONCE}\nYou help.",
        [{"type": "text", "text": f"{NONCE}\n\nYou help."}],
        f"X-Anthropic-Session-Header: 7\r\n  {NONCE}\r\nYou help.",
        [{"type": "text", "text": "You help."}, {"type": "text", "text": NONCE}],
    ],
)
def test_t13_a_line_for_the_clients_own_vendor_is_kept_from_others(
    served: Gateway, upstream: Scripted, system: Any
) -> None:
    upstream.say("good", GOOD)
    body = {"max_tokens": 9, "messages": [USER], "system": system}
    served.post(ANTHROPIC, {**body, "model": "local/good"})
    assert upstream.bodies[0]["messages"][0] == {"role": "system", "content": "You help."}
    served.post(ANTHROPIC, {**body, "model": "claude/good"})
    assert NONCE in str(upstream.bodies[1])


def test_t18_a_websocket_is_opened_for_responses_and_answered_by_426_elsewhere(
    served: Gateway,
) -> None:
    wanted = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "sec-websocket-version": "13",
    }
    assert served.request("GET", RESPONSES, None, headers=wanted).status == 101
    assert served.request("GET", RESPONSES, None).status == 405
    assert served.request("GET", CHAT, None, headers=wanted).status == 426
