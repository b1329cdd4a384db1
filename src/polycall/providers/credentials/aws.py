"""AWS: the usual chain of keys, and Signature Version 4 over each request.

The signature is a page of HMAC (docs.aws.amazon.com/IAM, "Create a signed AWS API request", read
2026-11-29); the chain is `botocore`'s, loaded only where the environment has no keys itself.
"""

from __future__ import annotations

import email.utils
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec import Struct

from polycall.errors import AuthenticationError, RequestError
from polycall.providers.credentials.renewal import EARLY_S, Expiring, Renewal
from polycall.transport.base import HTTPRequest, HTTPResponse

_ALGORITHM = "AWS4-HMAC-SHA256"
_CLOCK_S = 240.0  # AWS takes five minutes either way
_ASK_AGAIN_S = 300.0  # botocore renews by itself; it is asked this often
_EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException"})


class AWSKeys(Struct, frozen=True):
    """An access key; `token` belongs to temporary ones."""

    key_id: str
    secret: str
    token: str = ""


class KeyChain:
    """Finds keys: those given, the environment's, then botocore's chain."""

    def __init__(self, profile: str = "", given: str = "") -> None:
        """`given` is JSON as AWS's own tools print it (`AccessKeyId`, `SecretAccessKey`, ...)."""
        self._profile = profile
        self._given = given
        self._credentials: Any = None

    def fetch(self) -> Expiring[AWSKeys]:
        """The keys to use now; `AuthenticationError` where there are none."""
        if self._given:
            return Expiring(_given_keys(self._given), float("inf"))
        key_id, secret = (
            os.environ.get("AWS_ACCESS_KEY_ID"),
            os.environ.get("AWS_SECRET_ACCESS_KEY"),
        )
        if key_id and secret and not self._profile:
            keys = AWSKeys(key_id, secret, os.environ.get("AWS_SESSION_TOKEN", ""))
            return Expiring(keys, time.time() + EARLY_S + _ASK_AGAIN_S)
        return Expiring(self._chained(), time.time() + EARLY_S + _ASK_AGAIN_S)

    def _chained(self) -> AWSKeys:
        try:
            from botocore import exceptions, session  # noqa: PLC0415 - an extra  # pyright: ignore[reportMissingTypeStubs]
        except ImportError:
            raise RequestError(
                "AWS's chain of keys needs botocore; install 'polycall[bedrock]', or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a key of Bedrock"
            ) from None
        try:
            if self._credentials is None:
                made: Any = session.Session(profile=self._profile or None)
                self._credentials = made.get_credentials()
            frozen = (
                None if self._credentials is None else self._credentials.get_frozen_credentials()
            )
        except (exceptions.BotoCoreError, ValueError) as error:
            raise AuthenticationError(f"AWS gave no keys: {error}", code="token_refused") from None
        if frozen is None or not frozen.access_key:
            raise AuthenticationError(
                "there are no AWS keys; set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or a profile",
                code="no_credentials",
            )
        return AWSKeys(frozen.access_key, frozen.secret_key, frozen.token or "")


def _given_keys(text: str) -> AWSKeys:
    try:
        fields: Any = json.loads(text)
        fields = fields.get("Credentials", fields)
        return AWSKeys(
            fields["AccessKeyId"], fields["SecretAccessKey"], fields.get("SessionToken") or ""
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        raise AuthenticationError(
            "the AWS key is JSON without AccessKeyId and SecretAccessKey", code="no_credentials"
        ) from None


class AWSCredential:
    """Signs each request; it learns AWS's clock from a refusal, and asks for new keys."""

    def __init__(
        self,
        provider: str,
        *,
        region: str,
        service: str,
        profile: str = "",
        keys: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._region = region
        self._service = service
        self._clock = clock
        self._keys = Renewal(KeyChain(profile, keys), clock=clock)
        self._skew_s = 0.0  # AWS's clock less ours

    async def headers(self, request: HTTPRequest) -> dict[str, str]:
        """`authorization`, `x-amz-date` and what else the signature covers."""
        keys = await self._keys.current()
        now = self._clock() + self._skew_s
        return sign(request, keys, region=self._region, service=self._service, now=now)

    def refused(self, sent: HTTPRequest, http: HTTPResponse) -> bool:
        """Whether the clock was off, or the keys have expired."""
        kind = http.headers.get("x-amzn-errortype", "").partition(":")[0]
        if kind in _EXPIRED:
            return self._keys.reject(_sent_keys(sent, self._keys))
        try:
            server = email.utils.parsedate_to_datetime(http.headers.get("date", "")).timestamp()
        except ValueError:
            return False
        skew_s = server - self._clock()
        if abs(skew_s - self._skew_s) <= _CLOCK_S:
            return False
        self._skew_s = skew_s
        return True


def _sent_keys(sent: HTTPRequest, renewal: Renewal[AWSKeys]) -> AWSKeys:
    """The keys that a request was signed with, where they are still the current ones."""
    held = renewal.held
    named = sent.headers.get("authorization", "")
    if held is not None and f"Credential={held.key_id}/" in named:
        return held
    return AWSKeys("", "")


def sign(
    request: HTTPRequest, keys: AWSKeys, *, region: str, service: str, now: float
) -> dict[str, str]:
    """The headers that sign a request at a second since 1970."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    parts = urlsplit(request.url)
    own = {"x-amz-date": stamp}
    if keys.token:
        own["x-amz-security-token"] = keys.token
    signed = {"host": parts.netloc, **own}
    if content_type := request.headers.get("content-type"):
        signed["content-type"] = content_type
    names = sorted(signed)
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in names)
    canonical = "\n".join(
        (
            request.method,
            # What stands in the path is already escaped, and is escaped once more.
            quote(parts.path or "/", safe="/-_.~"),
            _canonical_query(parts.query),
            lines,
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = _signing_key(keys.secret, stamp[:8], region, service)
    signature = hmac.new(key, f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode(), "sha256")
    return {
        **own,
        "authorization": (
            f"{_ALGORITHM} Credential={keys.key_id}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature.hexdigest()}"
        ),
    }


def _canonical_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(pairs)
    )


def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for piece in (day, region, service, "aws4_request"):
        key = hmac.new(key, piece.encode(), "sha256").digest()
    return key
