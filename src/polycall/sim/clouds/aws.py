"""AWS's door: Signature Version 4 as its service checks it, and Bedrock's keys.

From "Troubleshoot Signature Version 4 signing" and "Create a signed AWS API request"
(docs.aws.amazon.com/IAM/latest/UserGuide, read 2026-11-29).
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import quote, unquote

from polycall.sim.clouds.state import CloudState
from polycall.sim.script import Refused

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_SKEW_S = 300


def refuse(kind: str, message: str, status: int = 403) -> Refused:
    """An error as AWS's REST services write it: the type is in a header."""
    return Refused(status, {"message": message}, {"x-amzn-errortype": kind})


class SignedRequest:
    """The signed parts of a request, as they came."""

    def __init__(
        self, method: str, raw_path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.query = query
        self.headers = headers
        self.body = body


def check(state: CloudState, request: SignedRequest, service: str) -> str:
    """Raise `Refused` for a key or signature that is not right; gives the region."""
    given = request.headers.get("authorization", "")
    if given.startswith("Bearer "):
        if given[7:] not in state.bedrock_keys:
            raise refuse("AccessDeniedException", "Authentication failed: the API key is not valid")
        return state.region
    if not given:
        raise refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _HEADER.fullmatch(given)
    if match is None:
        raise refuse("IncompleteSignatureException", "Authorization header is not well formed")
    key_id, day, region, named, names, signature = match.groups()
    _check_scope(state, region, named, service)
    secret = state.aws_keys.get(key_id)
    if secret is None:
        raise refuse(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    stamp = request.headers.get("x-amz-date", "")
    _check_time(state, stamp, day)
    _check_session(state, request.headers.get("x-amz-security-token", ""), key_id)
    signed = names.split(";")
    for needed in ("host", *(n for n in request.headers if n.startswith("x-amz-"))):
        if needed not in signed:
            raise refuse("InvalidSignatureException", f"'{needed}' must be a signed header")
    expected = _signature(request, secret, stamp, f"{day}/{region}/{named}/aws4_request", signed)
    if not hmac.compare_digest(expected, signature):
        raise refuse(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method.",
        )
    return region


def _check_scope(state: CloudState, region: str, named: str, service: str) -> None:
    if named != service:
        raise refuse("InvalidSignatureException", f"Credential should be scoped to '{service}'.")
    if region != state.region and region not in state.regions_out:
        words = f"Credential should be scoped to a valid region, not '{region}'."
        raise refuse("InvalidSignatureException", words)


def _check_time(state: CloudState, stamp: str, day: str) -> None:
    try:
        at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        words = "Date must be in ISO-8601 'basic format'"
        raise refuse("IncompleteSignatureException", words) from None
    if not stamp.startswith(day):
        raise refuse("InvalidSignatureException", "Date in Credential scope does not match")
    now = state.now()
    if at < now - _SKEW_S:
        raise refuse("InvalidSignatureException", f"Signature expired: {stamp} is now too old")
    if at > now + _SKEW_S:
        raise refuse("InvalidSignatureException", f"Signature not yet current: {stamp}")


def _check_session(state: CloudState, token: str, key_id: str) -> None:
    if not key_id.startswith("ASIA"):
        return
    ends = state.aws_sessions.get(token)
    if ends is None:
        raise refuse(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    if state.now() >= ends:
        raise refuse(
            "ExpiredTokenException", "The security token included in the request is expired"
        )


def _signature(
    request: SignedRequest, secret: str, stamp: str, scope: str, signed: list[str]
) -> str:
    lines = [f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed]
    canonical = [
        request.method,
        _twice_escaped(request.raw_path),
        _sorted_query(request.query),
        *lines,
        "",
        ";".join(signed),
        hashlib.sha256(request.body).hexdigest(),
    ]
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashed])
    key = b"AWS4" + secret.encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _twice_escaped(raw_path: str) -> str:
    """The path as every service but S3 has it: what is escaped on the wire, escaped again."""
    return "/".join(quote(segment, safe="-_.~") for segment in raw_path.split("/")) or "/"


def _sorted_query(query: str) -> str:
    pairs = [piece.partition("=") for piece in query.split("&") if piece]
    escaped = [
        (quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~"))
        for name, _, value in pairs
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(escaped))
