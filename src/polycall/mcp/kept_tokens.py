"""A server's tokens, with all that belongs to them: whose they are, when they end, who renews them.

They are kept as one value: a process that is killed leaves the old ones or the new ones.  They
belong to the address that they were given for, and no other address gets them.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from pydantic import BaseModel, Json, ValidationError

from polycall._support import jsontext

if TYPE_CHECKING:
    from polycall.mcp.oauth import OAuth

logger = logging.getLogger("polycall.mcp")

KeptT = TypeVar("KeptT", bound=BaseModel)


class KeptTokens(BaseModel):
    """The stored tokens of a sign-in at `url`."""

    url: str
    tokens: OAuthToken
    ends_at: float | None = None  # in seconds since 1970; nobody said where it is `None`
    server: OAuthMetadata | None = None
    resource: ProtectedResourceMetadata | None = None


class KeptClient(BaseModel):
    """A registration, for the server at `url`."""

    url: str
    client: OAuthClientInformationFull


class _OldTokens(BaseModel):
    """Tokens as they were kept before: without an address, in values of their own."""

    tokens: Json[OAuthToken]
    expires: float | None
    server: Json[OAuthMetadata] | None


class TokenKeeper:
    """Tokens as the protocol's library keeps them.  `context` is what it knows of the sign-in."""

    context: OAuthContext

    def __init__(self, oauth: OAuth, url: str) -> None:
        self.oauth = oauth
        self.url = url
        self.found: KeptTokens | None = None  # what was read or written last

    async def take_old(self) -> None:
        """Bind to this address what was kept without one, the one time that there is such."""
        if not (await self._old("tokens") or await self._old("client")):
            return
        async with self.oauth.alone():
            if client := await self._old("client"):
                info = _read(OAuthClientInformationFull, client)
                if info is not None:
                    await self._save("client", KeptClient(url=self.url, client=info))
            if tokens := await self._old("tokens"):
                load = self.oauth.tokens.load
                values = {
                    "tokens": tokens,
                    "expires": await load("expires") or None,
                    "server": await load("server"),
                }
                old = _read(_OldTokens, jsontext.encode(values))
                if old is not None:
                    kept = KeptTokens(
                        url=self.url, tokens=old.tokens, ends_at=old.expires, server=old.server
                    )
                    await self._save("tokens", kept)

    async def _old(self, name: str) -> str:
        """The value that is kept without an address; empty where there is none."""
        text = await self.oauth.tokens.load(name)
        try:
            found = jsontext.decode(text or "")
        except ValueError:
            return ""
        return text or "" if isinstance(found, dict) and "url" not in found else ""

    async def _save(self, name: str, kept: BaseModel) -> None:
        await self.oauth.tokens.save(name, kept.model_dump_json(exclude_none=True))

    async def get_tokens(self) -> OAuthToken | None:
        """The stored tokens, if they are of this server."""
        text = await self.oauth.tokens.load("tokens")
        kept = None if text is None else _read(KeptTokens, text)
        self.found = kept if kept is not None and kept.url == self.url else None
        if self.found is None:
            return None
        self._tell(self.found.tokens)
        return self.found.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep these in the place of older ones."""
        if self.oauth.grant == "client_credentials":
            tokens.refresh_token = None  # the secret gets another token, and goes nowhere else
        self._tell(tokens)
        life_s = tokens.expires_in
        self.found = KeptTokens(
            url=self.url,
            tokens=tokens,
            ends_at=None if life_s is None else time.time() + life_s,
            server=self.context.oauth_metadata,
            resource=self.context.protected_resource_metadata,
        )
        await self._save("tokens", self.found)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Our registration; `client_id` of the options goes before all else."""
        oauth = self.oauth
        if oauth.client_id:
            method = "client_secret_post" if oauth.client_secret else "none"
            return OAuthClientInformationFull.model_validate(
                {
                    "client_id": oauth.client_id,
                    "client_secret": oauth.client_secret or None,
                    "redirect_uris": [oauth.redirect_url],
                    "token_endpoint_auth_method": method,
                }
            )
        text = await oauth.tokens.load("client")
        kept = None if text is None else _read(KeptClient, text)
        if kept is None or kept.url != self.url:
            return None
        places = [str(each) for each in kept.client.redirect_uris or []]
        if oauth.authorize is not None and oauth.redirect_url not in places:
            return None  # the page is to come back to another address now: it registers anew
        self.oauth.learn(filter(None, [kept.client.client_secret]))
        return kept.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep how we are registered."""
        self.oauth.learn(filter(None, [client_info.client_secret]))
        await self._save("client", KeptClient(url=self.url, client=client_info))

    def _tell(self, tokens: OAuthToken) -> None:
        self.oauth.learn(filter(None, [tokens.access_token, tokens.refresh_token]))


def _read(kind: type[KeptT], text: str) -> KeptT | None:
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        logger.warning("what was kept of a sign-in cannot be read; somebody has to sign in again")
        return None
