"""Signing in at a provider of OpenID Connect: the code flow with PKCE, by Authlib.

Authlib writes the requests and checks the token; the gateway's own transport sends them.  What the
answer is compared with (state, nonce, verifier) lies encrypted in a cookie of the browser that
began, so that any worker and any replica can finish.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import importlib
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

from msgspec import Struct

from polycall._support import jsontext
from polycall._support.vault import Vault
from polycall.admin.people import ROLES, cookie, cookie_value
from polycall.config import is_key_name
from polycall.config.admin import AdminSettings, OpenIDSettings, is_safe_address
from polycall.errors import NotFoundError, PolycallError
from polycall.gateway.store import AdminRow, Store
from polycall.ir import JSON
from polycall.transport.base import Deadlines, HTTPRequest, Transport

if TYPE_CHECKING:
    from polycall.admin.administration import Call

logger = logging.getLogger("polycall.admin")

CALLBACK = "/admin/v1/openid/callback"
BEGIN_S = 600.0
_LEEWAY_S = 60
_METADATA_S = 3600.0
_ANSWER_BYTES_MAX = 1024 * 1024
_DEADLINES = Deadlines(connect_s=5.0, read_s=10.0, total_s=20.0)
_AUTH_METHODS = "token_endpoint_auth_methods_supported"
_SIGNING = "id_token_signing_alg_values_supported"
# No shared secrets, and never 'none'.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
               "EdDSA", "Ed25519")  # fmt: skip


class SignInFailedError(PolycallError):
    """Nobody is signed in.  `code` is for the page, the message for the log."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Attempted(Struct):
    """The values that the browser must bring back."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    at: float


class OpenID:
    """Signs in at a provider; what that says of itself is known for an hour."""

    def __init__(self, store: Store, transport: Transport) -> None:
        self._vault = Vault(store.secret)
        self._transport = transport
        self._lock = asyncio.Lock()
        self._metadata: dict[str, tuple[float, JSON]] = {}
        self._keys: dict[str, JSON] = {}

    async def begin(self, settings: OpenIDSettings, redirect_uri: str) -> tuple[str, bytes]:
        """The address to send the browser to, and the value of its cookie."""
        authlib = await _library()
        metadata = await self._known(settings)
        begun = _Attempted(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=redirect_uri,
            at=time.time(),
        )
        url: str = authlib.prepare_grant_uri(
            metadata["authorization_endpoint"],
            client_id=settings.client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=" ".join(settings.scopes),
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=authlib.create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
        )
        locked = self._vault.lock("openid", settings.issuer, jsontext.encode_bytes(begun))
        return url, base64.urlsafe_b64encode(locked)

    async def finish(self, settings: OpenIDSettings, query: dict[str, str], kept: bytes) -> JSON:
        """The claims of the person who came back; `SignInFailedError` where anything is off."""
        begun = self._begun(settings, kept)
        given = query.get("state", "")
        if begun is None or not hmac.compare_digest(given.encode(), begun.state.encode()):
            raise SignInFailedError("state", "the answer belongs to no sign-in of this browser")
        if query.get("iss", settings.issuer) != settings.issuer:
            raise SignInFailedError("token", f"the answer is of issuer {query['iss']!r:.200}")
        if "error" in query:
            words = f"{query['error']} {query.get('error_description', '')}"
            raise SignInFailedError("refused", f"the provider answered: {words:.500}")
        if not query.get("code"):
            raise SignInFailedError("refused", "the provider sent no code")
        metadata = await self._known(settings)
        if metadata.get("authorization_response_iss_parameter_supported") and "iss" not in query:
            raise SignInFailedError("token", "the answer does not name its issuer")
        tokens = await self._tokens(settings, metadata, query["code"], begun)
        return await self._claims(settings, metadata, tokens, begun.nonce)

    def _begun(self, settings: OpenIDSettings, kept: bytes) -> _Attempted | None:
        try:
            locked = base64.b64decode(kept, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        value = self._vault.unlock("openid", settings.issuer, locked)
        if value is None:
            return None
        begun = _Attempted(**jsontext.decode(value))
        return begun if 0 <= time.time() - begun.at <= BEGIN_S else None

    async def _known(self, settings: OpenIDSettings) -> JSON:
        """The provider's description of itself."""
        issuer = settings.issuer
        async with self._lock:
            fetched_at, metadata = self._metadata.get(issuer, (0.0, {}))
            if time.monotonic() - fetched_at < _METADATA_S and metadata:
                return metadata
            url = issuer.rstrip("/") + "/.well-known/openid-configuration"
            metadata = await self._fetch(HTTPRequest(url, _ACCEPT, method="GET"), "metadata")
            if metadata.get("issuer") != issuer:
                said = metadata.get("issuer")
                raise SignInFailedError(
                    "provider", f"{url} is of issuer {said!r:.200}, not {issuer!r}"
                )
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not is_safe_address(str(metadata.get(name, ""))):
                    said = metadata.get(name)
                    raise SignInFailedError("provider", f"{url}: {name} is {said!r:.200}")
            for name in (_AUTH_METHODS, _SIGNING):
                if not isinstance(metadata.get(name, []), list):
                    said = metadata[name]
                    raise SignInFailedError("provider", f"{url}: {name} is {said!r:.200}")
            if not _algorithms(metadata):
                # For an empty list the library would take its own.
                raise SignInFailedError(
                    "provider", f"{url}: {_SIGNING} has none of {', '.join(_ALGORITHMS)}"
                )
            self._metadata[issuer] = (time.monotonic(), metadata)
            return metadata

    async def _tokens(
        self, settings: OpenIDSettings, metadata: JSON, code: str, begun: _Attempted
    ) -> JSON:
        authlib = await _library()
        known = metadata.get(_AUTH_METHODS, ["client_secret_basic"])
        method = "none"
        if settings.client_secret:
            method = "client_secret_basic"
            if method not in known and "client_secret_post" in known:
                method = "client_secret_post"
        body = authlib.prepare_token_request(
            "authorization_code",
            redirect_uri=begun.redirect_uri,
            code=code,
            code_verifier=begun.verifier,
        )
        headers = {**_ACCEPT, "content-type": "application/x-www-form-urlencoded"}
        client = authlib.ClientAuth(settings.client_id, settings.client_secret, method)
        url, headers, body = client.prepare("POST", metadata["token_endpoint"], headers, body)
        request = HTTPRequest(url, headers, body.encode())
        return await self._fetch(request, "tokens")

    async def _claims(
        self, settings: OpenIDSettings, metadata: JSON, tokens: JSON, nonce: str
    ) -> JSON:
        authlib = await _library()
        token = tokens.get("id_token")
        if not isinstance(token, str) or len(token) > _ANSWER_BYTES_MAX:
            raise SignInFailedError("token", "the provider sent no id_token")
        algorithms = _algorithms(metadata)
        options = {
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.client_id},
            "exp": {"essential": True},
        }
        params = {
            "nonce": nonce,
            "client_id": settings.client_id,
            "access_token": tokens.get("access_token"),
        }
        for is_fresh in (False, True):
            keys = await self._signing_keys(metadata["jwks_uri"], is_fresh=is_fresh)
            try:
                decoded = await asyncio.to_thread(
                    authlib.decode, token, authlib.import_keys(keys), algorithms=algorithms
                )
                claims = authlib.CodeIDToken(decoded.claims, decoded.header, options, params)
                claims.validate(leeway=_LEEWAY_S)
            except (authlib.JoseError, ValueError, TypeError, KeyError) as error:
                # The provider may have changed its keys since they were fetched.
                if is_fresh:
                    raise SignInFailedError("token", f"the id_token is refused: {error}") from None
            else:
                if not claims["sub"] or not isinstance(claims["sub"], str):
                    raise SignInFailedError("token", "the id_token names nobody: 'sub' is empty")
                return cast("JSON", dict(claims))
        raise AssertionError("the second round returns or raises")

    async def _signing_keys(self, url: str, *, is_fresh: bool) -> JSON:
        if is_fresh or url not in self._keys:
            request = HTTPRequest(url, _ACCEPT, method="GET")
            self._keys = {url: await self._fetch(request, "keys")}
        return self._keys[url]

    async def _fetch(self, request: HTTPRequest, what: str) -> JSON:
        try:
            http = await self._transport.open(request, _DEADLINES)
            try:
                data = await http.read(size_bytes_max=_ANSWER_BYTES_MAX)
            finally:
                await http.close()
        except PolycallError as error:
            raise SignInFailedError("provider", f"the {what} cannot be fetched: {error}") from None
        try:
            answer: Any = jsontext.decode(data)
        except ValueError:
            answer = None
        if http.status != 200 or not isinstance(answer, dict):
            # What the provider says goes into the log: it is not the person's to read.
            said = data[:300].decode("utf-8", "replace")
            raise SignInFailedError(
                "provider", f"asked for its {what}, the provider answered {http.status}: {said!r}"
            )
        return cast("JSON", answer)


_ACCEPT = {"accept": "application/json"}


def _algorithms(metadata: JSON) -> list[str]:
    """Those of the provider's that are good enough."""
    said = metadata.get(_SIGNING, ["RS256"])
    return [name for name in _ALGORITHMS if name in said]


class _Library:
    """The parts of Authlib and joserfc that are used here."""

    def __init__(self) -> None:
        find = importlib.import_module
        parameters = find("authlib.oauth2.rfc6749.parameters")
        self.prepare_grant_uri: Any = parameters.prepare_grant_uri
        self.prepare_token_request: Any = parameters.prepare_token_request
        challenge = find("authlib.oauth2.rfc7636")
        self.create_s256_code_challenge: Any = challenge.create_s256_code_challenge
        self.ClientAuth: Any = find("authlib.oauth2.auth").ClientAuth
        self.CodeIDToken: Any = find("authlib.oidc.core").CodeIDToken
        self.decode: Any = find("joserfc.jwt").decode
        self.import_keys: Any = find("joserfc.jwk").KeySet.import_key_set
        self.JoseError: Any = find("joserfc.errors").JoseError


async def _library() -> _Library:
    try:
        return await asyncio.to_thread(_Library)
    except ModuleNotFoundError as error:
        raise SignInFailedError(
            "provider", f"{error.name} is missing; install 'polycall[openid]'"
        ) from None


def role_of(settings: OpenIDSettings, claims: JSON) -> str:
    """The highest role that the claims give; empty where that is none."""
    value: Any = claims.get(settings.role_claim)
    if value is None:
        # Some write a path, as in `realm_access.roles`.
        value = claims
        for part in settings.role_claim.split("."):
            value = cast("JSON", value).get(part) if isinstance(value, dict) else None
    if settings.role_claim == "email" and claims.get("email_verified") is not True:
        return ""
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    words = [each for each in values if isinstance(each, str)]
    found = {settings.roles[each] for each in words if each in settings.roles}
    return max(found, key=ROLES.index, default="")


def person_of(settings: OpenIDSettings, claims: JSON, role: str) -> AdminRow:
    """The administrator that the claims describe.

    Who it is, issuer and subject say: a name can be chosen, and given to another person later.
    """
    subject = f"{settings.issuer}\0{claims['sub']}"
    number = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    name: Any = claims.get(settings.name_claim)
    # Some providers say nothing of it, and some say it as text.
    if settings.name_claim == "email" and claims.get("email_verified", True) not in (True, "true"):
        name = None
    for each in (name, claims["sub"]):
        if isinstance(each, str) and is_key_name(each):
            return AdminRow(f"oidc_{number}", each, role, created=time.time())
    return AdminRow(f"oidc_{number}", f"openid {number[:8]}", role, created=time.time())


# The two routes


async def begin(call: Call) -> None:
    """Send the browser to the provider."""
    settings = call.settings
    openid = _settings(call)
    scheme = "https" if settings.has_secure_cookies else "http"
    host = call.request.headers.get(b"host", b"").decode("latin-1")
    own = settings.origin or f"{scheme}://{host}"
    try:
        url, kept = await call.openid.begin(openid, f"{own}{CALLBACK}")
    except SignInFailedError as error:
        await _fail(call, error)
        return
    await _redirect(call, url, [_cookie(settings, kept, BEGIN_S)])


async def callback(call: Call) -> None:
    """Sign in who comes back from the provider."""
    openid = _settings(call)
    query = {
        name: values[0]
        for name, values in parse_qs(
            call.request.query.decode("latin-1"), keep_blank_values=True, max_num_fields=20
        ).items()
    }
    kept = cookie_value(call.request, _name(call.settings))
    try:
        claims = await call.openid.finish(openid, query, kept)
        session = await _taken_in(call, openid, claims)
    except SignInFailedError as error:
        await _fail(call, error)
        return
    signed_in = (b"set-cookie", cookie(call.settings, session))
    await _redirect(call, "/console#/signed-in", [_cookie(call.settings, b"", 0), signed_in])


async def _taken_in(call: Call, settings: OpenIDSettings, claims: JSON) -> bytes:
    """The session of a person with a role here."""
    role = role_of(settings, claims)
    if not role:
        raise SignInFailedError(
            "role", f"{claims['sub']!r:.200} has no role: {settings.role_claim} gives none"
        )
    person = person_of(settings, claims, role)
    session = await call.people.sign_in_person(call.request, person, call.settings)
    if session is None:
        raise SignInFailedError("role", f"the administrator {person.name!r} is revoked")
    return session


def _settings(call: Call) -> OpenIDSettings:
    found = call.settings.openid
    if found is None:
        raise NotFoundError("no provider of OpenID Connect is configured: [admin.openid]")
    return found


async def _fail(call: Call, error: SignInFailedError) -> None:
    logger.warning("no sign-in by OpenID Connect, request %s: %s", call.request.id, error)
    call.people.count_failure(call.request.address)
    await _redirect(call, f"/console#/failed={error.code}", [_cookie(call.settings, b"", 0)])


async def _redirect(call: Call, url: str, headers: list[tuple[bytes, bytes]]) -> None:
    fields = [(b"location", url.encode()), (b"content-length", b"0"), *call.request.notes, *headers]
    await call.request.send_start(303, fields)
    await call.request.send_body(b"")


def _name(settings: AdminSettings) -> str:
    return "__Host-polycall-openid" if settings.has_secure_cookies else "polycall-openid"


def _cookie(settings: AdminSettings, kept: bytes, age_s: float) -> tuple[bytes, bytes]:
    # Lax: the provider, another site, sends the browser back here.
    secure = "; Secure" if settings.has_secure_cookies else ""
    text = f"{_name(settings)}={kept.decode()}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_s:.0f}"
    return b"set-cookie", f"{text}{secure}".encode()
