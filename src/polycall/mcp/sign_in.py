"""The way to a server's tokens: kept ones, renewed ones, or those of a person's sign-in.

The protocol's library does discovery, registration and PKCE.  It holds its lock while a server
answers, renews what another process has renewed, and believes what it is told; so requests are
sent from here, and the library is asked only what a sign-in's next request is.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.auth.utils import (
    extract_field_from_www_auth,
    extract_scope_from_www_auth,
    issuers_match,
)
from mcp.shared.auth import OAuthClientMetadata, OAuthMetadata
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from pydantic import PrivateAttr

from polycall._support.printable import printable_line
from polycall.errors import ToolServerError
from polycall.mcp.kept_tokens import TokenKeeper
from polycall.mcp.token_requests import (
    check_address,
    exchanged,
    refusal,
    taken_registration,
    taken_tokens,
)

logger = logging.getLogger("polycall.mcp")

Flow: TypeAlias = AsyncGenerator[httpx2.Request, httpx2.Response]

_OFFLINE = "offline_access"  # asked for where a server gives no tokens to renew without it
_BUSY = 429
_TRIES = 4  # a kept token, one of another process, a renewed one, one of a sign-in


class BoundedMetadata(OAuthClientMetadata):
    """The metadata of our registration, whose `scope` is never wider than the operator's.

    The library takes the scopes that a server names, at each step.
    """

    _allowed: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def of(cls, metadata: OAuthClientMetadata, scopes: tuple[str, ...]) -> BoundedMetadata:
        """The same, bounded by these scopes where there are any."""
        made = cls.model_validate(metadata.model_dump())
        made._allowed = scopes
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "scope" and self._allowed:
            extra = [_OFFLINE] if _OFFLINE in (value or "").split() else []
            value = " ".join(dict.fromkeys([*self._allowed, *extra]))
        super().__setattr__(name, value)


class SignIn(OAuthClientProvider):
    """Sign-in by a person, at a page: authorization code with PKCE."""

    keeper: TokenKeeper
    _needs_page = True

    def keep_in(self, keeper: TokenKeeper) -> SignIn:
        """Keep the tokens there.  To be called once, before all else."""
        self.keeper, keeper.context = keeper, self.context
        self._signing = asyncio.Lock()
        self._useless = ""  # a refresh token that was refused
        self._renewing: set[asyncio.Task[None]] = set()
        metadata = self.context.client_metadata
        self.context.client_metadata = BoundedMetadata.of(metadata, keeper.oauth.scopes)
        return self

    async def async_auth_flow(self, request: httpx2.Request) -> Flow:
        """Send a request of the server's with a token, again where that has to be another one."""
        self.context.protocol_version = request.headers.get(MCP_PROTOCOL_VERSION_HEADER)
        await self._ready()
        is_asked = False
        for _ in range(_TRIES):
            used = self._token
            self._add_auth_header(request)
            response = yield request
            if is_asked or not (response.status_code == 401 or _is_step_up(response)):
                return
            is_asked = await self._sign_in(request, response, used)

    @property
    def _token(self) -> str:
        tokens = self.context.current_tokens
        return "" if tokens is None else tokens.access_token

    @property
    def _can_renew(self) -> bool:
        tokens = self.context.current_tokens
        return (
            tokens is not None
            and tokens.refresh_token != self._useless
            and self.context.can_refresh_token()
        )

    @property
    def _is_ready(self) -> bool:
        return self._initialized and (self.context.is_token_valid() or not self._can_renew)

    async def _initialize(self) -> None:
        """Read what is kept, by whatever process, and who renews it."""
        await super()._initialize()
        if (kept := self.keeper.found) is not None:
            self.context.token_expiry_time = kept.ends_at
            self.context.oauth_metadata = kept.server
            self.context.protected_resource_metadata = kept.resource
            if kept.resource is not None:
                self.context.auth_server_url = str(kept.resource.authorization_servers[0])

    async def _ready(self) -> None:
        """Have tokens that are not over, if there are any."""
        if self._is_ready:
            return
        async with self._signing:
            if not self._is_ready:
                await self.keeper.take_old()
                await self._initialize()
            if not self._is_ready:
                await self._renewed()

    async def _renewed(self) -> None:
        """Renew the tokens.  A caller that leaves does not end it: the old ones may be used up."""
        task = asyncio.ensure_future(self._renew())
        self._renewing.add(task)
        task.add_done_callback(self._forget)
        await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._renewing.discard(task)
        if not task.cancelled():
            task.exception()  # where its caller left, nobody else is to hear of it

    async def _renew(self) -> None:
        async with self.keeper.oauth.alone():
            before = self._token
            await self._initialize()
            if self._token != before or not self._can_renew:
                return  # another process did, or there is nothing to do it with
            tokens = self.context.current_tokens
            assert tokens is not None
            answer = await exchanged(await self._refresh_token(), self.keeper.url)
            if answer.status_code == _BUSY or answer.status_code >= 500:
                raise refusal(answer)
            if not answer.is_success:
                logger.warning("%s; somebody has to sign in again", refusal(answer))
                self._useless = tokens.refresh_token or ""
                return
            await self._handle_refresh_response(taken_tokens(answer))

    async def _sign_in(self, request: httpx2.Request, response: httpx2.Response, used: str) -> bool:
        """Have another token than the one that was refused; whether it was asked for anew."""
        async with self._signing:
            if self._token != used:
                return False  # another request has it already
            if response.status_code == 401:
                await self._initialize()  # another process may have it
                if self._token in ("", used) and self._can_renew:
                    await self._renewed()
                if self._token not in ("", used):
                    return False
                self.context.clear_tokens()
            else:
                self._check_scopes(response)
            await self._ask(request, response)
            return True

    async def _ask(self, request: httpx2.Request, refused: httpx2.Response) -> None:
        """Go the library's way to tokens, whose first step is the request that was refused."""
        flow = super().async_auth_flow(request)
        is_answered = False
        try:
            sent = await anext(flow)
            while sent is not request or not is_answered:
                answer = refused if sent is request else await self._exchange(sent)
                is_answered = is_answered or sent is request
                sent = await flow.asend(answer)
        finally:
            await flow.aclose()

    async def _exchange(self, sent: httpx2.Request) -> httpx2.Response:
        if sent.method == "GET":
            return await exchanged(sent, self.keeper.url)
        self._check_server()
        is_registration = sent.headers.get("content-type") == "application/json"
        if is_registration and self.keeper.oauth.authorize is None:
            raise needs_person(self.keeper.url)
        answer = await exchanged(sent, self.keeper.url)
        if is_registration:
            return taken_registration(answer, self.keeper.oauth.redirect_url)
        return taken_tokens(answer)

    async def _perform_authorization(self) -> httpx2.Request:
        self._check_server()
        return await super()._perform_authorization()

    def _check_server(self) -> None:
        """Raise where the authorization server is not one to sign in with."""
        oauth, metadata = self.keeper.oauth, self.context.oauth_metadata
        led_to = printable_line(self.context.auth_server_url or self.keeper.url)[:300]
        kept = None if self.keeper.found is None else self.keeper.found.server
        known = oauth.issuer
        if not known and oauth.client_id and kept is not None:
            known = str(kept.issuer)
        if metadata is None:
            if self.context.auth_server_url or known:
                raise ToolServerError(
                    f"the authorization server {led_to!r} has no metadata that can be used; "
                    "nothing was sent to it"
                )
            return
        if known and not issuers_match(str(metadata.issuer), known):
            raise ToolServerError(
                f"the server leads its sign-in to {str(metadata.issuer)!r}, and the client is "
                f"known to {known!r} (oauth.issuer says which); nothing was sent there"
            )
        self._check_endpoints(metadata)

    def _check_endpoints(self, metadata: OAuthMetadata) -> None:
        places = (metadata.token_endpoint, metadata.registration_endpoint)
        pages = (metadata.authorization_endpoint,) if self._needs_page else ()
        for each in (*places, *pages):
            if each is not None:
                check_address(str(each), self.keeper.url)
        if not self._needs_page:
            return
        if "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise ToolServerError(
                f"the authorization server {str(metadata.issuer)!r} does not say that it knows "
                "PKCE with S256 (code_challenge_methods_supported), without which a code can be "
                "stolen; nothing was sent to it"
            )
        page, token = metadata.authorization_endpoint.host, metadata.token_endpoint.host
        if page != token and not metadata.authorization_response_iss_parameter_supported:
            logger.warning(
                "the page to sign in is of %s, and %s gets what it says: sign in only if both are "
                "the server's",
                page,
                token,
            )

    def _check_scopes(self, response: httpx2.Response) -> None:
        allowed = self.keeper.oauth.scopes
        wanted = (extract_scope_from_www_auth(response) or "").split()
        beyond = [each for each in wanted if each not in allowed]
        if allowed and beyond:
            raise ToolServerError(
                f"{_host(self.keeper.url)} wants the scopes "
                f"{printable_line(' '.join(beyond))[:300]!r}, which are not among those that it "
                f"may have (oauth.scopes: {' '.join(allowed)!r})"
            )


class SecretSignIn(SignIn, ClientCredentialsOAuthProvider):
    """Sign-in by a client's own secret."""

    _needs_page = False

    @classmethod
    def of(cls, keeper: TokenKeeper) -> SignIn:
        """The sign-in that the keeper's options describe."""
        oauth = keeper.oauth
        with warnings.catch_warnings():
            # Without an issuer, the one that was met first is kept to (`_check_server`).
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            made = cls(
                keeper.url,
                keeper,
                oauth.client_id,
                oauth.client_secret,
                scope=" ".join(oauth.scopes) or None,
                issuer=oauth.issuer or None,
            )
        return made.keep_in(keeper)


def needs_person(url: str) -> ToolServerError:
    """The error where nobody can sign in."""
    return ToolServerError(
        f"{_host(url)} wants a person to sign in; 'polycall mcp login' does it, or give "
        "OAuth(authorize=...)"
    )


def _is_step_up(response: httpx2.Response) -> bool:
    wanted = extract_field_from_www_auth(response, "error")
    return response.status_code == 403 and wanted == "insufficient_scope"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
