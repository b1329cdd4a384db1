"""Failures that look like answers, and refusals that blame the model: shared by all dialects.

A provider's status says 200 and the answer inside of it says that it failed; or the status says
400, and it is the model that wrote something unusable.  Both may go well when they are asked again.
"""

from __future__ import annotations

import re
from typing import Any

from polycall import errors
from polycall.ir import JSON
from polycall.translation.error_bodies import is_overflow

_NAME_LENGTH_MAX = 16 * 1024
# Ends of answers that say: the server failed.  In lower case, as any vendor writes them.
_SERVER_FAILED = frozenset(
    {
        "abort",
        "aborted",
        "engine_error",
        "error",
        "failed",
        "insufficient_system_resource",
        "internal_error",
        "network_error",
        "server_error",
        "service_unavailable",
        "timeout",
        "upstream_error",
    }
)
# Ends that say: the model wrote something unusable.
_MODEL_FAILED = frozenset(
    {
        "malformed_function_call",
        "malformed_response",
        "malformed_tool_call",
        "too_many_tool_calls",
        "tool_use_failed",
        "unexpected_tool_call",
    }
)
# Codes with which servers refuse what their own model wrote (Groq's first, documented by it).
_MODEL_CODES = frozenset(
    {
        "tool_use_failed",
        "json_validate_failed",
        "output_parse_failed",
        "failed_generation",
        "invalid_model_output",
        "malformed_function_call",
        "model_output_error",
        "tool_call_parse_error",
    }
)
_MODEL_WORDS = re.compile(
    r"failed_generation"
    r"|failed to (call a function|generate json|parse (the )?(model|tool[ _]call|function[ _]call))"
    r"|(model|generated|tool call) (output|response|text|arguments)[^.]{0,40}"
    r"(could not be parsed|cannot be parsed|is not valid|failed to parse|is malformed)"
    r"|model (generated|produced|returned) (an? )?(invalid|malformed|unparsable)",
    re.IGNORECASE,
)


# How servers say with a status of 400 that they do not have the model; the first two are
# DeepSeek's words.
_NO_MODEL = re.compile(
    r"supported (api )?model names? (are|is)"
    r"|\bmodel not exist"
    r"|\b(unknown|no such) model\b"
    r"|\binvalid model (name|id)\b"
    r"|\bmodel [`'\"]?[^\s`'\"]{1,200}[`'\"]? (does not exist|doesn't exist|(is |was )?not found)",
    re.IGNORECASE,
)


def failed_end(*words: str) -> errors.UpstreamError | None:
    """The error that the words of an end mean, such as `network_error`; `None` for an answer."""
    for word in map(short_word, words):
        if word in _SERVER_FAILED:
            return errors.ServerError(f"the provider ended the answer with {word!r}", code=word)
    return None


def short_word(word: str) -> str:
    """A wire's word in small letters, to be looked up and shown: of a long text its beginning."""
    return word[:_NAME_LENGTH_MAX].lower()


def empty_end(word: str) -> errors.UpstreamError:
    """The error of an answer that ended in one and holds nothing; `word` is the wire's."""
    shown, code = word[:_NAME_LENGTH_MAX], short_word(word)
    if code in _MODEL_FAILED:
        detail = f"the model wrote nothing usable: its answer ended with {shown!r}"
        return errors.ModelOutputError(detail, code=code)
    return errors.ServerError(f"the answer is empty and ended with {shown!r}", code=code)


def check_named(answer_id: str, model: str) -> None:
    """Raise `ProtocolError` for an answer named by a long text: it is said again and again."""
    for name, value in (("id", answer_id), ("model", model)):
        if len(value) > _NAME_LENGTH_MAX:
            raise errors.ProtocolError(
                f"the answer's {name} has {len(value)} characters, more than "
                f"{_NAME_LENGTH_MAX}: {value[:60]!r}"
            )


def blamed(
    error_class: type[errors.UpstreamError], fields: dict[str, Any], code: str, message: str
) -> type[errors.UpstreamError]:
    """The class of a refusal, where a vague status hides it.

    `RequestTooLargeError` where the prompt is too long, `NotFoundError` where the words say that
    there is no such model, `ModelOutputError` where the refusal blames what the model wrote.
    """
    if error_class is not errors.InvalidRequestError:
        return error_class
    if is_overflow(message):
        return errors.RequestTooLargeError
    if _NO_MODEL.search(message) is not None:
        return errors.NotFoundError
    is_models = (
        code.lower() in _MODEL_CODES
        or fields.get("failed_generation") is not None
        or _MODEL_WORDS.search(message) is not None
    )
    return errors.ModelOutputError if is_models else error_class


_NUMBER = r"(\d[\d,_.]{0,24}\d|\d)"  # no count of tokens is longer
_TOKENS_MAX = re.compile(
    r"(?:maximum|max|limit|window|context (?:length|size|window)|n_ctx|less than|<=)"
    r"[^\d]{0,60}?" + _NUMBER,
    re.IGNORECASE,
)
_TOKENS_MAX_BEFORE = re.compile(
    _NUMBER + r"[^\d]{0,12}(?:maximum|max|limit|token limit)", re.IGNORECASE
)


def is_about_bytes(error: errors.RequestTooLargeError) -> bool:
    """Whether the body was too long in bytes, rather than the prompt in tokens."""
    words = f"{error.message} {error.code} {error.type}".lower()
    return error.status == 413 and not any(
        word in words for word in ("token", "context", "prompt is too long")
    )


def with_overflow_code(error: errors.UpstreamError) -> JSON:
    """An error's own body as OpenAI writes it; an overflow has the code that clients look for."""
    body: JSON = error.body
    is_overflow = isinstance(error, errors.RequestTooLargeError) and not is_about_bytes(error)
    if not is_overflow or error.code == "string_above_max_length":
        return body
    return {**body, "error": {**body["error"], "code": "context_length_exceeded"}}


def overflow_words(message: str) -> str:
    """A context overflow as Anthropic's clients read it, with the provider's words behind.

    They look for `prompt is too long: N tokens > M maximum`, and take both numbers from it.
    """
    if message.startswith("prompt is too long"):
        return message
    found = _TOKENS_MAX.search(message) or _TOKENS_MAX_BEFORE.search(message)
    if found is not None:
        most = _count(found[1])
        asked = max((_count(number) for number in re.findall(_NUMBER, message)), default=0)
        if 0 < most < asked:
            return f"prompt is too long: {asked} tokens > {most} maximum ({message})"
    return f"prompt is too long: {message}"


def _count(number: str) -> int:
    return int(re.sub(r"\D", "", number))
