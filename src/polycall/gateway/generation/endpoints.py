"""Which paths generate and count, and whose shape a caller reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from polycall.gateway.generation.client_request import Endpoint
from polycall.gateway.http.request import GatewayRequest
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import Dialect

# Gemini's routes hold a model's name; `gemini_endpoint` reads them.
GENERATES: dict[str, Endpoint] = {
    route: Endpoint(dialect)
    for dialect in DIALECTS.values()
    for route in dialect.ROUTES
    if "{" not in route
}
COUNTS: dict[str, Endpoint] = {
    "/v1/messages/count_tokens": Endpoint(DIALECTS["anthropic"]),
    "/v1/responses/input_tokens": Endpoint(DIALECTS["openai-responses"]),
}
_GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
_GEMINI_VERSION = re.compile("/v1(beta1?)?/")


def patience_s(gateway_request: GatewayRequest, most_s: float) -> float:
    """How long the client says that it waits (Google's SDKs do), within what is allowed."""
    said = gateway_request.headers.get(b"x-server-timeout")
    if said is None:
        return most_s
    try:
        seconds = float(said)
    except ValueError:
        return most_s
    return seconds if 0 < seconds < most_s else most_s


def gemini_endpoint(path: str) -> Endpoint | None:
    """What a Gemini path means: `/v1beta/models/NAME/MODEL:generateContent`.

    Some clients take a model's name with a slash for the whole of what stands there.
    """
    resource, colon, method = path.rpartition(":")
    version = _GEMINI_VERSION.match(resource)
    if not colon or version is None or method not in _GEMINI_METHODS:
        return None
    model = resource[version.end() :].removeprefix("models/")
    if not model:
        return None
    return Endpoint(DIALECTS["gemini"], model, method)


def dialect_of(gateway_request: GatewayRequest) -> Dialect:
    """Whose shape the caller of a request reads."""
    return dialect_for(gateway_request.path, gateway_request.headers)


def dialect_for(path: str, headers: Mapping[bytes, bytes]) -> Dialect:
    """Whose shape the caller reads, by path or headers."""
    if path.startswith(("/v1beta", "/v1beta1")) or b"x-goog-api-key" in headers:
        return DIALECTS["gemini"]
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return DIALECTS["anthropic"]
    is_responses = path.startswith("/v1/responses")
    return DIALECTS["openai-responses" if is_responses else "openai-chat"]
