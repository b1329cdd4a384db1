"""The common part of Chat Completions and Responses: errors, keys, models, tools and schemas."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from polycall.sim import schemas
from polycall.sim.dated import Refusal
from polycall.sim.script import Failure, ModelSpec, Refused, ToolSpec
from polycall.sim.shape import JSON, ShapeError, object_in, path_text
from polycall.sim.vendors.base import Headers

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]+")
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[^;,]+)*?)(;base64)?,(.*)", re.DOTALL)
_ARTICLES = {
    "array": "an array",
    "object": "an object",
    "integer": "an integer",
    "string": "a string",
    "number": "a decimal",
    "boolean": "a boolean",
    "null": "null",
}


def refuse(
    message: str,
    *,
    status: int = 400,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> Refused:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Refused(status, {"error": error}, headers)


def refuse_by(refusal: Refusal) -> Refused:
    """A dated rule's refusal in OpenAI's shape."""
    kind = refusal.type or "invalid_request_error"
    return refuse(
        refusal.message,
        status=refusal.status,
        kind=kind,
        param=refusal.param,
        code=refusal.code,
    )


def refuse_shape(error: ShapeError, *, flat_unknown: bool) -> Refused:
    """A shape error in OpenAI's words.  Chat has others for unknown fields at the top."""
    place = path_text(error.path, brackets=True)
    match error.problem:
        case "unknown" if flat_unknown and len(error.path) == 1:
            return refuse(f"Unrecognized request argument supplied: {place}")
        case "unknown":
            message, code = f"Unknown parameter: '{place}'.", "unknown_parameter"
        case "missing":
            message, code = f"Missing required parameter: '{place}'.", "missing_required_parameter"
        case "enum":
            message = f"Invalid value: '{error.got}'. Supported values are: {error.wanted}."
            code = "invalid_value"
        case "range":
            word = "below minimum" if error.wanted.startswith(">") else "above maximum"
            message = (
                f"Invalid '{place}': decimal {word} value. "
                f"Expected a value {error.wanted}, but got {error.got} instead."
            )
            code = f"decimal_{word[:9].replace(' ', '_')}_value"
        case "length":
            message, code = _length_words(error, place)
        case _:
            wanted = " or ".join(_ARTICLES[name] for name in error.wanted.split(" or "))
            message = (
                f"Invalid type for '{place}': expected {wanted}, "
                f"but got {_ARTICLES[error.got]} instead."
            )
            code = "invalid_type"
    return refuse(message, param=place, code=code)


def _length_words(error: ShapeError, place: str) -> tuple[str, str]:
    bound = error.wanted.split()[1]
    if error.got == "0":
        return (
            f"Invalid '{place}': empty array. Expected an array with minimum length {bound}, "
            "but got an empty array instead.",
            "empty_array",
        )
    short = error.wanted.startswith(">")
    return (
        f"Invalid '{place}': {'too short' if short else 'too long'}. Expected a "
        f"{'minimum' if short else 'maximum'} length of {bound}, "
        f"but got length {error.got} instead.",
        "string_below_min_length" if short else "string_above_max_length",
    )


def check_bearer(headers: Headers, *, help_text: str) -> None:
    """Demand `Authorization: Bearer`; any key will do that does not say it is invalid."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise refuse(f"You didn't provide an API key. {help_text}", status=401)
    if "invalid" in key.lower():
        raise refuse(f"Incorrect API key provided. {help_text}", status=401, code="invalid_api_key")


def failure_words(failure: Failure) -> tuple[str, str | None, str]:
    """Type, code and message of a failure, by its status."""
    known: Mapping[int, tuple[str, str | None, str]] = {
        400: ("invalid_request_error", None, "Invalid request."),
        401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        403: ("invalid_request_error", None, "You are not allowed to do this."),
        404: ("invalid_request_error", "model_not_found", "The model does not exist."),
        413: ("invalid_request_error", None, "Request too large."),
        429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
        503: ("server_error", None, "The engine is currently overloaded."),
    }
    fallback = (
        "server_error",
        None,
        "The server had an error while processing your request.",
    )
    kind, code, message = known.get(failure.status, fallback)
    return kind, code, failure.message or message


def refuse_failure(failure: Failure) -> Refused:
    """A failure as a whole answer, with the headers that belong to it."""
    kind, code, message = failure_words(failure)
    headers: dict[str, str] = {}
    if failure.retry_after_s is not None:
        headers["retry-after"] = f"{failure.retry_after_s:g}"
        headers["retry-after-ms"] = f"{failure.retry_after_s * 1000:.0f}"
    if failure.status == 429:
        headers["x-ratelimit-limit-requests"] = "500"
        headers["x-ratelimit-remaining-requests"] = "0"
        headers["x-ratelimit-reset-requests"] = "120ms"
    return refuse(message, status=failure.status, kind=kind, code=code, headers=headers)


def refuse_unknown_model(name: str) -> Refused:
    """OpenAI's 404."""
    return refuse(
        f"The model `{name}` does not exist or you do not have access to it.",
        status=404,
        code="model_not_found",
    )


def models_body(models: list[ModelSpec], *, owner: str, one: bool) -> JSON:
    """`GET /models`, whole or one."""
    items: list[JSON] = [
        {"id": model.name, "object": "model", "created": 1_790_000_000, "owned_by": owner}
        for model in models
    ]
    return items[0] if one else {"object": "list", "data": items}


def check_tool_name(name: str, place: str) -> None:
    """Letters, digits, `_` and `-`, at most 64 of them."""
    if not name:
        raise refuse(
            f"Invalid '{place}': empty string. Expected a string with minimum length 1, "
            "but got an empty string instead.",
            param=place,
            code="empty_string",
        )
    if len(name) > 64:
        raise refuse(
            f"Invalid '{place}': string too long. Expected a string with maximum length 64, "
            f"but got a string with length {len(name)} instead.",
            param=place,
            code="string_above_max_length",
        )
    if not TOOL_NAME.fullmatch(name):
        raise refuse(
            f"Invalid '{place}': string does not match pattern. Expected a string that matches "
            "the pattern '^[a-zA-Z0-9_-]+$'.",
            param=place,
            code="invalid_value",
        )


def check_function(function: JSON, place: str, *, strict: bool) -> ToolSpec:
    """A function's name and schema; the rules of strict mode where it is on."""
    name = function["name"]
    check_tool_name(name, f"{place}.name")
    schema = object_in(function, "parameters")
    problem = schemas.json_schema_problem(schema)
    if problem is None and schema and schema.get("type") != "object":
        kind = schema.get("type")
        problem = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    if problem is None and strict:
        problem = schemas.openai_strict_problem(schema or {"type": "object"})
    if problem is not None:
        raise refuse(
            f"Invalid schema for function '{name}': {problem}",
            param=f"{place}.parameters",
            code="invalid_function_parameters",
        )
    return ToolSpec(name, function.get("description") or "", schema)


def check_unique(tools: list[ToolSpec], param: str) -> None:
    """Two tools of one name are refused."""
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise refuse(f"Duplicate tool name: '{tool.name}'.", param=param, code="invalid_value")
        seen.add(tool.name)


def check_format_schema(name: str, schema: Any, *, strict: bool, place: str) -> None:
    """The schema of a structured answer."""
    problem = schemas.json_schema_problem(schema)
    if problem is None and strict:
        problem = schemas.openai_strict_problem(schema)
    if problem is not None:
        raise refuse(f"Invalid schema for response_format '{name}': {problem}", param=place)


def check_image_url(url: str, place: str) -> None:
    """A web address, or a data URL of an image that is one."""
    if url.startswith(("https://", "http://")):
        return
    match = _DATA_URL.fullmatch(url)
    if match is None or not match[3]:
        raise refuse(
            f"Invalid '{place}'. Expected a valid URL, but got a value with an invalid format.",
            param=place,
            code="invalid_value",
        )
    if match[1] not in IMAGE_TYPES or not is_image(match[4]):
        raise refuse(
            "You uploaded an unsupported image. Please make sure your image has of one the "
            "following formats: ['png', 'jpeg', 'gif', 'webp'].",
            param=place,
            code="invalid_image_format",
        )


def is_image(data: str) -> bool:
    """Whether base64 text holds the first bytes of a PNG, JPEG, GIF or WebP."""
    return sniff_image(data) != ""


def sniff_image(data: str) -> str:
    """The media type that the first bytes tell; `""` for others."""
    try:
        head = base64.b64decode(data, validate=True)[:12]
    except (binascii.Error, ValueError):
        return ""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return ""
