"""Which paths generate and count, and whose shape a caller reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from polycall.gateway.generation.client_request import Endpoint
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


def dialect_for(path: str, headers: Mapping[bytes, bytes]) -> Dialect:
    """Whose shape the caller reads, by path or headers."""
    if path.startswith(("/v1beta", "/v1beta1")) or b"x-goog-api-key" in headers:
        return DIALECTS["gemini"]
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return DIALECTS["anthropic"]
    is_responses = path.startswith("/v1/responses")
    return DIALECTS["openai-responses" if is_responses else "openai-chat"]
