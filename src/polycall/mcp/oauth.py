"""Signing in to servers by OAuth 2.1, through the protocol library's client.

The library does discovery, registration, PKCE, refresh, and the checks of issuer and audience; here
is where tokens lie, and how a person comes to the page that asks.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
)

from polycall._support import jsontext
from polycall.errors import StoreError, ToolServerError

_PAGE = b"<!doctype html><title>polycall</title><p>Done. You can close this page."
_CALLBACK_S = 300.0


class TokenStore(Protocol):
    """Where tokens lie: `name` is a short word, the value text.  Keep it secret."""

    async def load(self, name: str) -> str | None:
        """What was saved, if anything was."""
        ...

    async def save(self, name: str, value: str) -> None:
        """Keep it, in the place of an older one."""
        ...


class MemoryTokens:
    """Tokens for as long as the process lives."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    async def load(self, name: str) -> str | None:
        return self._values.get(name)

    async def save(self, name: str, value: str) -> None:
        self._values[name] = value


class TokenFile:
    """Tokens in a file that only its owner can read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    async def load(self, name: str) -> str | None:
        return self._read().get(name)

    async def save(self, name: str, value: str) -> None:
        text = jsontext.encode({**self._read(), name: value})
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
            fresh.replace(self.path)
        except OSError as error:
            raise StoreError(f"the tokens cannot be written to {self.path}: {error}") from None

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"the tokens cannot be read from {self.path}: {error}") from None


# Shows a person the page where they say yes, and gives the address to which that led afterwards.
Authorize: TypeAlias = Callable[[str], Awaitable[str]]


@dataclass(frozen=True)
class OAuth:
    """How to sign in to one server.

    `authorize` brings a person to the page; without it, a server that wants one is an error that
    says so.  With `grant="client_credentials"` no person is needed, but `client_id` and
    `client_secret` are.  Without `client_id` the client registers itself.
    """

    tokens: TokenStore = field(default_factory=MemoryTokens, repr=False)
    authorize: Authorize | None = None
    scopes: tuple[str, ...] = ()
    redirect_url: str = "http://127.0.0.1:8971/callback"
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    client_metadata_url: str = ""
    grant: str = "authorization_code"
    client_name: str = "polycall"

    def auth(self, url: str) -> httpx2.Auth:
        """For the HTTP client of the server at `url`."""
        storage = _Storage(self)
        scope = " ".join(self.scopes) or None
        if self.grant == "client_credentials":
            return ClientCredentialsOAuthProvider(
                url, storage, self.client_id, self.client_secret, scope=scope
            )
        flow = _Flow(self.authorize, url)
        return _Provider(
            server_url=url,
            client_metadata=OAuthClientMetadata.model_validate(
                {
                    "client_name": self.client_name,
                    "redirect_uris": [self.redirect_url],
                    "grant_types": ["authorization_code", "refresh_token"],
                    "response_types": ["code"],
                    "scope": scope,
                }
            ),
            storage=storage,
            redirect_handler=flow.redirect,
            callback_handler=flow.callback,
            client_metadata_url=self.client_metadata_url or None,
        )


class _Provider(OAuthClientProvider):
    """The library's, which also knows after a restart when tokens end and where they are renewed.

    The library keeps both in memory alone: after a restart it would send an expired token, and take
    the refusal for the need of a person.
    """

    async def _initialize(self) -> None:
        await super()._initialize()
        storage = self.context.storage
        assert isinstance(storage, _Storage)
        if self.context.current_tokens is not None:
            self.context.token_expiry_time = await storage.expires_at()
            self.context.oauth_metadata = await storage.server_metadata()

    async def _handle_token_response(self, response: httpx2.Response) -> None:
        await super()._handle_token_response(response)
        storage = self.context.storage
        assert isinstance(storage, _Storage)
        if self.context.oauth_metadata is not None:
            await storage.set_server_metadata(self.context.oauth_metadata)


class _Storage:
    """Tokens as the protocol's library keeps them."""

    def __init__(self, oauth: OAuth) -> None:
        self._oauth = oauth

    async def get_tokens(self) -> OAuthToken | None:
        found = await self._oauth.tokens.load("tokens")
        return None if found is None else OAuthToken.model_validate_json(found)

    async def set_tokens(self, tokens: OAuthToken) -> None:
        await self._oauth.tokens.save("tokens", tokens.model_dump_json(exclude_none=True))
        ends = "" if tokens.expires_in is None else str(time.time() + tokens.expires_in)
        await self._oauth.tokens.save("expires", ends)

    async def expires_at(self) -> float | None:
        """When the tokens end, in seconds since 1970; `None` where nobody said."""
        found = await self._oauth.tokens.load("expires")
        return float(found) if found else None

    async def server_metadata(self) -> OAuthMetadata | None:
        """Where the tokens are renewed."""
        found = await self._oauth.tokens.load("server")
        return None if found is None else OAuthMetadata.model_validate_json(found)

    async def set_server_metadata(self, metadata: OAuthMetadata) -> None:
        """Keep where the tokens are renewed."""
        await self._oauth.tokens.save("server", metadata.model_dump_json(exclude_none=True))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        found = await self._oauth.tokens.load("client")
        if found is not None:
            client = OAuthClientInformationFull.model_validate_json(found)
            places = [str(each) for each in client.redirect_uris or []]
            if self._oauth.authorize is None or self._oauth.redirect_url in places:
                return client
            # Registered for a page to come back to that is another one now: it registers anew.
        if not self._oauth.client_id:
            return None
        return OAuthClientInformationFull.model_validate(
            {
                "client_id": self._oauth.client_id,
                "client_secret": self._oauth.client_secret or None,
                "redirect_uris": [self._oauth.redirect_url],
                "token_endpoint_auth_method": (
                    "client_secret_post" if self._oauth.client_secret else "none"
                ),
            }
        )

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        if self._oauth.authorize is None:
            return  # nobody will come to the page: the registration is of no use
        text = client_info.model_dump_json(exclude_none=True)
        await self._oauth.tokens.save("client", text)


class _Flow:
    """One person's way through the page and back."""

    def __init__(self, authorize: Authorize | None, url: str) -> None:
        self._authorize = authorize
        self._url = url
        self._answer = ""

    async def redirect(self, page: str) -> None:
        if self._authorize is None:
            host = urlsplit(self._url).netloc
            raise ToolServerError(
                f"{host} wants a person to sign in; 'polycall mcp login' does it, or give "
                "OAuth(authorize=...)"
            )
        self._answer = await self._authorize(page)

    async def callback(self) -> AuthorizationCodeResult:
        found = parse_qs(urlsplit(self._answer).query)
        if "code" not in found:
            why = found.get("error", ["no code"])[0]
            raise ToolServerError(f"signing in failed: {why}")
        return AuthorizationCodeResult(
            code=found["code"][0],
            state=found.get("state", [None])[0],
            iss=found.get("iss", [None])[0],
        )


def authorize_here(
    show: Callable[[str], None], redirect_url: str = "http://127.0.0.1:8971/callback"
) -> Authorize:
    """Wait on this machine for the browser to come back; `show` brings the person to the page."""
    port = urlsplit(redirect_url).port or 80

    async def authorize(page: str) -> str:
        came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                line = (await reader.readline()).decode("latin-1").split(" ")
                target = line[1] if len(line) > 1 else ""
                is_callback = urlsplit(target).path == urlsplit(redirect_url).path
                status = b"200 OK" if is_callback else b"404 Not Found"
                head = b"HTTP/1.1 " + status + b"\r\ncontent-type: text/html\r\n"
                writer.write(head + b"connection: close\r\n\r\n" + _PAGE)
                await writer.drain()
                if is_callback and not came.done():
                    came.set_result(target)
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", port, limit=16_384)
        async with server:
            show(page)
            try:
                async with asyncio.timeout(_CALLBACK_S):
                    return await came
            except TimeoutError:
                raise ToolServerError(
                    f"nobody signed in within {_CALLBACK_S:g} s; start again"
                ) from None

    return authorize
