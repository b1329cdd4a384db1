"""Google Cloud's door: its token endpoint, its tokens, and the publishers' paths.

From "Using OAuth 2.0 for Server to Server Applications" (developers.google.com/identity) and the
requests of google-genai 3.6 and anthropic 2.14 (read 2026-11-29).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from polycall._support import jsontext
from polycall.sim.clouds.state import CloudState
from polycall.sim.script import Refused
from polycall.sim.shape import JSON

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_PATH = re.compile(
    r"/v1(?:beta1)?/projects/([^/]+)/locations/([^/]+)/publishers/([^/]+)/models/([^/:]+):(\w+)"
)
_VERSIONS = frozenset({"vertex-2023-10-16", "2026-10-21"})
_LIFE_MAX_S = 3600


def refuse(message: str, status: int, name: str, reason: str = "") -> Refused:
    """An error of Google Cloud's."""
    error: JSON = {"code": status, "message": message, "status": name}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
    return Refused(status, {"error": error})


def token(state: CloudState, body: bytes) -> JSON:
    """The token endpoint's answer to a service account's assertion."""
    fields = dict(parse_qsl(body.decode("utf-8", "replace")))
    if fields.get("grant_type") != _GRANT:
        raise Refused(400, {"error": "unsupported_grant_type"})
    if state.refuses_tokens:
        raise _invalid_grant("Account has been deleted or disabled.")
    _check_assertion(state, fields.get("assertion", ""))
    value, life_s = state.issue()
    return {"access_token": value, "expires_in": int(life_s), "token_type": "Bearer"}


def _check_assertion(state: CloudState, assertion: str) -> None:
    signed, _, signature = assertion.rpartition(".")
    try:
        claims: Any = json.loads(_decoded(signed.partition(".")[2]))
        head: Any = json.loads(_decoded(signed.partition(".")[0]))
        public = state.google_keys.get(str(claims.get("iss")))
        if public is None:
            raise _invalid_grant("account not found")
        if head.get("alg") != "RS256":
            raise _invalid_grant("Invalid JWT Signature.")
        public.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, AttributeError, InvalidSignature):
        raise _invalid_grant("Invalid JWT Signature.") from None
    now, issued, ends = state.now(), int(claims.get("iat", 0)), int(claims.get("exp", 0))
    is_timely = issued - 300 <= now < ends and ends - issued <= _LIFE_MAX_S
    if not is_timely:
        raise _invalid_grant(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
            "timeframe. Check your iat and exp values in the JWT claim."
        )
    if state.google_audience and claims.get("aud") != state.google_audience:
        raise _invalid_grant("Invalid JWT: aud")
    if not claims.get("scope"):
        raise Refused(400, {"error": "invalid_scope"})


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _invalid_grant(words: str) -> Refused:
    return Refused(400, {"error": "invalid_grant", "error_description": words})


def check_token(state: CloudState, headers: Mapping[str, str]) -> None:
    """Raise `Refused` where the bearer token is missing, unknown or over."""
    given = headers.get("authorization", "")
    if not given.startswith("Bearer "):
        words = "Request is missing required authentication credential."
        raise refuse(words, 401, "UNAUTHENTICATED", "CREDENTIALS_MISSING")
    problem = state.token_problem(given[7:])
    if problem:
        reason = "ACCESS_TOKEN_EXPIRED" if problem == "expired" else "ACCESS_TOKEN_TYPE_UNSUPPORTED"
        words = "Request had invalid authentication credentials. Expected OAuth 2 access token."
        raise refuse(words, 401, "UNAUTHENTICATED", reason)


def behind(
    state: CloudState, path: str, body: bytes, headers: dict[str, str]
) -> tuple[str, bytes, dict[str, str]]:
    """The vendor's own path, body and headers for a request of Vertex's."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise refuse("The requested URL was not found on this server.", 404, "NOT_FOUND")
    _, location, publisher, model, method = match.groups()
    if location in state.regions_out:
        raise refuse("The service is currently unavailable.", 503, "UNAVAILABLE")
    model = unquote(model)
    if publisher == "google":
        if method.endswith("Predict"):
            raise refuse(f"{method} is not for this model.", 400, "INVALID_ARGUMENT")
        if method == "countTokens":
            body = _counted(body, model)
        return f"/google/v1beta/models/{model}:{method}", body, {"x-goog-api-key": "vertex"}
    if publisher == "anthropic" and (model, method) == ("count-tokens", "rawPredict"):
        counted = _fields(body)
        if counted.pop("anthropic_version", None) not in _VERSIONS:
            raise refuse("anthropic_version: Field required", 400, "INVALID_ARGUMENT")
        path = "/anthropic/v1/messages/count_tokens"
        return path, jsontext.encode_bytes(counted), _anthropic_headers(headers)
    if publisher != "anthropic" or method not in ("rawPredict", "streamRawPredict"):
        words = f"Publisher Model `publishers/{publisher}/models/{model}` was not found."
        raise refuse(words, 404, "NOT_FOUND")
    return "/anthropic/v1/messages", _messages(body, model, method), _anthropic_headers(headers)


def _fields(body: bytes) -> JSON:
    try:
        fields: Any = jsontext.decode(body)
    except ValueError:
        raise refuse("Invalid JSON payload received.", 400, "INVALID_ARGUMENT") from None
    if not isinstance(fields, dict):
        raise refuse("Invalid JSON payload received.", 400, "INVALID_ARGUMENT")
    return dict(fields)  # pyright: ignore[reportUnknownArgumentType]


def _counted(body: bytes, model: str) -> bytes:
    """Vertex's CountTokensRequest, whose fields are a generation's, for the vendor's own."""
    fields = _fields(body)
    for name in fields:
        if name not in ("contents", "systemInstruction", "tools", "generationConfig"):
            words = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
            raise refuse(words, 400, "INVALID_ARGUMENT")
    whole = {"generateContentRequest": {"model": f"models/{model}", **fields}}
    return jsontext.encode_bytes(whole)


def _messages(body: bytes, model: str, method: str) -> bytes:
    rest = _fields(body)
    if "model" in rest:
        raise refuse("model: Extra inputs are not permitted", 400, "INVALID_ARGUMENT")
    version = rest.pop("anthropic_version", None)
    if version not in _VERSIONS:
        raise refuse("anthropic_version: Field required", 400, "INVALID_ARGUMENT")
    if bool(rest.get("stream")) != (method == "streamRawPredict"):
        raise refuse(f"stream does not fit {method}", 400, "INVALID_ARGUMENT")
    return jsontext.encode_bytes({"model": model, **rest})


def _anthropic_headers(headers: dict[str, str]) -> dict[str, str]:
    own = {"x-api-key": "vertex", "anthropic-version": "2023-06-01"}
    if "anthropic-beta" in headers:
        own["anthropic-beta"] = headers["anthropic-beta"]
    return own
