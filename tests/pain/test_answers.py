"""Ends, counts and errors of answers, for every pair of dialects: no loss without a sign."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from google import genai

from polycall import errors
from polycall.errors import PolycallError, UpstreamError
from polycall.fold import fold, unfold
from polycall.ir import JSON, Refusal, Response, Usage
from tests import sdk
from tests.pain.bodies import (
    ANTHROPIC_USAGE,
    BODIES,
    anthropic_body,
    chat_body,
    chat_call,
    gemini_body,
    responses_body,
)
from tests.pain.talks import PNG
from tests.pain.wires import (
    ALL_CROSS,
    ALL_PAIRS,
    ANTHROPIC,
    CHAT,
    GEMINI,
    NAMES,
    RESPONSES,
    answer,
    dialect,
)


def both(client: str, response: Response) -> tuple[JSON, Response]:
    """The client's body, and what its own decoder reads in the stream of the same answer."""
    shown = dialect(client).render_response(response)
    encoder, decoder = dialect(client).StreamEncoder(), dialect(client).StreamDecoder()
    data = b"".join([*(encoder.feed(event) for event in unfold(response)), encoder.close()])
    return shown, fold([*decoder.feed(data), *decoder.close()])


def word(client: str, shown: JSON) -> Any:
    """The client's own word for the end."""
    match client:
        case "openai-chat":
            return shown["choices"][0]["finish_reason"]
        case "openai-responses":
            details = shown.get("incomplete_details") or {}
            return (shown["status"], details.get("reason"))
        case "anthropic":
            return shown["stop_reason"]
        case _:
            return shown["candidates"][0]["finishReason"]


REFUSAL = {"type": "refusal", "refusal": "No."}
REFUSED: dict[str, JSON] = {
    CHAT: chat_body({"refusal": "No."}),
    RESPONSES: responses_body(
        [{"type": "message", "id": "m", "role": "assistant", "content": [REFUSAL]}]
    ),
}


@pytest.mark.parametrize("upstream", REFUSED)
@pytest.mark.parametrize("client", NAMES)
def test_refusals_are_told_in_every_clients_way(client: str, upstream: str) -> None:
    response, shown = answer(upstream, client, REFUSED[upstream])
    assert response.finish_reason == "refusal"
    assert [part.text for part in response.message.parts if isinstance(part, Refusal)] == ["No."]
    assert "No." in str(shown)
    assert (
        word(client, shown)
        == {
            CHAT: "stop",  # as OpenAI ends one: the refusal has a field of its own
            RESPONSES: ("completed", None),
            ANTHROPIC: "refusal",
            GEMINI: "SAFETY",
        }[client]
    )
    again = dialect(client).parse_response(shown)
    assert again.finish_reason in ("refusal", "content_filter")
    assert both(client, response)[1].finish_reason == again.finish_reason


FILTERED: dict[str, JSON] = {
    CHAT: chat_body({"content": ""}, "content_filter"),
    RESPONSES: responses_body([], "incomplete", incomplete_details={"reason": "content_filter"}),
    ANTHROPIC: anthropic_body([], "refusal"),
    GEMINI: {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "m"},
}


@ALL_CROSS
def test_a_filtered_answer_never_looks_whole(client: str, upstream: str) -> None:
    response, shown = answer(upstream, client, FILTERED[upstream])
    assert response.finish_reason in ("content_filter", "refusal")
    assert (
        word(client, shown)
        == {
            CHAT: "content_filter",
            RESPONSES: ("incomplete", "content_filter"),
            ANTHROPIC: "refusal",
            GEMINI: "SAFETY",
        }[client]
    )
    assert both(client, response)[1].finish_reason in ("content_filter", "refusal")


LENGTH_WORDS: dict[str, Any] = {
    CHAT: "length",
    RESPONSES: ("incomplete", "max_output_tokens"),
    ANTHROPIC: "max_tokens",
    GEMINI: "MAX_TOKENS",
}


@pytest.mark.parametrize("client", NAMES)
def test_a_call_that_the_limit_cut_says_length_and_never_runs(client: str) -> None:
    call = chat_call("c1", "f", '{"city": "Se')
    response, shown = answer(CHAT, client, chat_body({"tool_calls": [call]}, "length"))
    assert word(client, shown) == LENGTH_WORDS[client]
    again = dialect(client).parse_response(shown)
    assert again.finish_reason == "length"
    assert all(each.arguments is None for each in again.tool_calls)
    _, streamed = both(client, response)
    assert streamed.finish_reason == "length"
    assert all(each.arguments is None for each in streamed.tool_calls)
    if client == RESPONSES:
        assert shown["output"][0]["status"] == "incomplete"


PAUSED = anthropic_body([{"type": "text", "text": "x"}], "pause_turn")
BROKEN = gemini_body([], "MALFORMED_FUNCTION_CALL")


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_a_pause_is_not_an_end(client: str) -> None:
    _, shown = answer(ANTHROPIC, client, PAUSED)
    assert word(client, shown) == {**LENGTH_WORDS, RESPONSES: ("incomplete", "pause_turn")}[client]


def test_a_model_that_failed_never_looks_whole() -> None:
    words: dict[str, Any] = {
        CHAT: "length",
        RESPONSES: ("failed", None),
        ANTHROPIC: "max_tokens",
    }
    for client, expected in words.items():
        response, shown = answer(GEMINI, client, BROKEN)
        assert response.finish_reason == "error"
        assert word(client, shown) == expected


@pytest.mark.parametrize("client", NAMES)
def test_media_of_an_answer_are_shown_or_named(client: str) -> None:
    sound = {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    response, shown = answer(GEMINI, client, gemini_body([image, sound]))
    told = str(shown)
    assert (PNG in told) == (client != ANTHROPIC)
    assert "audio" in told
    _, streamed = both(client, response)
    assert streamed.text == dialect(client).parse_response(shown).text


# ---------------------------------------------------------------------------------------------
# Counts


WRITES: dict[str, JSON] = {
    CHAT: {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
    RESPONSES: {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 150,
    },
    ANTHROPIC: {**ANTHROPIC_USAGE, "input_tokens": 50, "cache_creation_input_tokens": 10},
    GEMINI: {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 30,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 150,
    },
}


def plain(upstream: str, usage: JSON) -> JSON:
    """An answer of one word, with these counts."""
    key = "usageMetadata" if upstream == GEMINI else "usage"
    return {**BODIES[upstream], key: usage}


def without_wire(usage: Usage) -> Usage:
    return usage + Usage()


@ALL_PAIRS
def test_counts_of_every_pair(client: str, upstream: str) -> None:
    """Cached tokens are within the input and reasoning within the output, on every wire."""
    response, shown = answer(upstream, client, plain(upstream, WRITES[upstream]))
    written = 0 if upstream == GEMINI else 10
    assert without_wire(response.usage) == Usage(100, 50, 40, written, 20)
    wire = shown["usageMetadata" if client == GEMINI else "usage"]
    if client == ANTHROPIC != upstream:
        # Its clients want every field of the schema; those without a counterpart are null.
        nulls = {field: wire.pop(field) for field in [*wire] if field not in ANTHROPIC_USAGE}
        assert nulls == dict.fromkeys(
            ("cache_creation", "inference_geo", "server_tool_use", "service_tier")
        )
    if client != GEMINI and written == 0:
        expected: JSON = {
            CHAT: {
                **WRITES[CHAT],
                "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
            },
            RESPONSES: {
                **WRITES[RESPONSES],
                "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
            },
            ANTHROPIC: ANTHROPIC_USAGE,
        }[client]
    else:
        expected = WRITES[client]  # Gemini has no field for what was written to a cache
    assert wire == expected
    again = both(client, response)[1].usage
    assert without_wire(again) == Usage(100, 50, 40, 0 if client == GEMINI else written, 20)


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_what_nobody_counted_is_not_zero(client: str) -> None:
    given = chat_body({"content": "x"})
    del given["usage"]
    response, shown = answer(CHAT, client, given)
    assert not response.usage.is_reported
    assert shown.get("usage") is None
    assert "usageMetadata" not in shown


# ---------------------------------------------------------------------------------------------
# Errors

UPSTREAM = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UpstreamError) and kind is not UpstreamError
]
# A provider that was not reached says nothing: for a client it is a failure of ours.
READ_AS: dict[type[UpstreamError], type[UpstreamError]] = {
    errors.UpstreamConnectionError: errors.ServerError,
    errors.ModelOutputError: errors.ServerError,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", UPSTREAM)
def test_an_error_reads_back_as_what_it_was(name: str, kind: type[UpstreamError]) -> None:
    status, shown = dialect(name).render_error(kind("boom"))
    assert 400 <= status < 600
    assert type(dialect(name).parse_error(status, shown)) is READ_AS.get(kind, kind)


OURS: list[tuple[PolycallError, type[UpstreamError]]] = [
    (errors.RequestError("boom"), errors.InvalidRequestError),
    (errors.UnsupportedError("boom", feature="tools"), errors.InvalidRequestError),
    (errors.MalformedRequestError("boom", path="messages[0]"), errors.InvalidRequestError),
    (errors.SchemaError("boom"), errors.InvalidRequestError),
    (errors.ProtocolError("boom"), errors.ServerError),
    (errors.TruncatedError("boom"), errors.ServerError),
    (errors.ToolError("boom"), errors.ServerError),
    (errors.ConfigError(["boom"]), errors.ServerError),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("error", "kind"), OURS)
def test_errors_of_ours_blame_the_right_side(
    name: str, error: PolycallError, kind: type[UpstreamError]
) -> None:
    status, shown = dialect(name).render_error(error)
    again = dialect(name).parse_error(status, shown)
    assert type(again) is kind
    assert "boom" in str(again)


def openai_error(message: str, kind: str, code: str | None) -> JSON:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic_error(kind: str, message: str = "boom") -> JSON:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}


def google_error(code: int, status: str, message: str = "boom", reason: str = "") -> JSON:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}
    details = [info] if reason else []
    return {"error": {"code": code, "message": message, "status": status, "details": details}}


_OPENAI: list[tuple[int, JSON, type[UpstreamError]]] = [
    (400, openai_error("boom", "invalid_request_error", None), errors.InvalidRequestError),
    (
        400,
        openai_error("boom", "invalid_request_error", "context_length_exceeded"),
        errors.RequestTooLargeError,
    ),
    (
        401,
        openai_error("boom", "invalid_request_error", "invalid_api_key"),
        errors.AuthenticationError,
    ),
    (402, openai_error("boom", "unknown_error", "invalid_request_error"), errors.BillingError),
    (403, openai_error("boom", "invalid_request_error", None), errors.PermissionDeniedError),
    (404, openai_error("boom", "invalid_request_error", "model_not_found"), errors.NotFoundError),
    (429, openai_error("boom", "insufficient_quota", "insufficient_quota"), errors.BillingError),
    (429, openai_error("boom", "tokens", "rate_limit_exceeded"), errors.RateLimitError),
    (500, openai_error("boom", "server_error", None), errors.ServerError),
    (503, openai_error("boom", "server_error", None), errors.OverloadedError),
    (504, openai_error("boom", "server_error", None), errors.UpstreamTimeoutError),
]
_ANTHROPIC: list[tuple[int, JSON, type[UpstreamError]]] = [
    (400, anthropic_error("invalid_request_error"), errors.InvalidRequestError),
    (
        400,
        anthropic_error("invalid_request_error", "prompt is too long: 9 > 8"),
        errors.RequestTooLargeError,
    ),
    (401, anthropic_error("authentication_error"), errors.AuthenticationError),
    (402, anthropic_error("billing_error"), errors.BillingError),
    (403, anthropic_error("permission_error"), errors.PermissionDeniedError),
    (404, anthropic_error("not_found_error"), errors.NotFoundError),
    (413, anthropic_error("request_too_large"), errors.RequestTooLargeError),
    (429, anthropic_error("rate_limit_error"), errors.RateLimitError),
    (500, anthropic_error("api_error"), errors.ServerError),
    (504, anthropic_error("timeout_error"), errors.UpstreamTimeoutError),
    (529, anthropic_error("overloaded_error"), errors.OverloadedError),
]
_GOOGLE: list[tuple[int, JSON, type[UpstreamError]]] = [
    (400, google_error(400, "INVALID_ARGUMENT"), errors.InvalidRequestError),
    (
        400,
        google_error(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID"),
        errors.AuthenticationError,
    ),
    (
        400,
        google_error(400, "INVALID_ARGUMENT", "token count (9) exceeds the maximum (8)"),
        errors.RequestTooLargeError,
    ),
    (403, google_error(403, "PERMISSION_DENIED"), errors.PermissionDeniedError),
    (403, google_error(403, "PERMISSION_DENIED", reason="BILLING_DISABLED"), errors.BillingError),
    (404, google_error(404, "NOT_FOUND"), errors.NotFoundError),
    (429, google_error(429, "RESOURCE_EXHAUSTED"), errors.RateLimitError),
    (500, google_error(500, "INTERNAL"), errors.ServerError),
    (503, google_error(503, "UNAVAILABLE"), errors.OverloadedError),
    (504, google_error(504, "DEADLINE_EXCEEDED"), errors.UpstreamTimeoutError),
]
REPORTED = [
    *((name, *row) for name in (CHAT, RESPONSES) for row in _OPENAI),
    *((ANTHROPIC, *row) for row in _ANTHROPIC),
    *((GEMINI, *row) for row in _GOOGLE),
]


@pytest.mark.parametrize(("upstream", "status", "given", "kind"), REPORTED)
@pytest.mark.parametrize("client", NAMES)
def test_an_error_keeps_its_class_through_another_dialect(
    client: str, upstream: str, status: int, given: JSON, kind: type[UpstreamError]
) -> None:
    error = dialect(upstream).parse_error(status, given)
    assert type(error) is kind
    told, shown = dialect(client).render_error(error)
    if client == upstream:
        assert (told, shown) == (status, given)
    again = dialect(client).parse_error(told, shown)
    assert type(again) is kind
    assert isinstance(again, UpstreamError)
    assert isinstance(error, UpstreamError)
    assert again.should_retry == error.should_retry


SDK_ERRORS: dict[str, tuple[type[Exception], type[Exception]]] = {
    CHAT: (openai.AuthenticationError, openai.RateLimitError),
    RESPONSES: (openai.AuthenticationError, openai.RateLimitError),
    ANTHROPIC: (anthropic.AuthenticationError, anthropic.RateLimitError),
    GEMINI: (genai.errors.ClientError, genai.errors.ClientError),
}


@pytest.mark.parametrize("client", NAMES)
def test_the_sdks_raise_their_own_class(client: str) -> None:
    wrong_key = google_error(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")
    too_fast = anthropic_error("rate_limit_error")
    given = (
        dialect(GEMINI).parse_error(400, wrong_key),
        dialect(ANTHROPIC).parse_error(429, too_fast),
    )
    for error, expected in zip(given, SDK_ERRORS[client], strict=True):
        status, shown = dialect(client).render_error(error)
        with (
            sdk.canned(status, "application/json", sdk.json.dumps(shown).encode()) as url,
            pytest.raises(expected),
        ):
            sdk._READERS[client](url, False)
