"""A server behind OAuth, made with the protocol's own library: `python oauth_stock.py PORT`.

It is both the authorization server and the resource.  Everybody who comes to the page says yes.
`MOOD` names a file: `wrong` in it has tokens made for another resource, `revoked` ends all tokens,
and `more` wants more scopes than tokens have that were given before.
Tokens are good for `TTL` seconds.
"""

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

PORT = int(sys.argv[1])
URL = f"http://127.0.0.1:{PORT}"
MOOD = Path(os.environ.get("MOOD", "/nonexistent"))
TTL = int(os.environ.get("TTL", "3600"))


def mood() -> str:
    return MOOD.read_text("utf-8") if MOOD.exists() else ""


class Provider(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Everything in memory."""

    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.refreshed = 0
        self.strong: set[str] = set()

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[str(client_info.client_id)] = client_info

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        code = AuthorizationCode(
            code=secrets.token_urlsafe(24),
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
            subject="somebody",
        )
        self.codes[code.code] = code
        return construct_redirect_uri(
            str(params.redirect_uri), code=code.code, state=params.state, iss=URL
        )

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self.issued(str(client.client_id), authorization_code.scopes)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        return None if mood() == "revoked" else self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refresh[refresh_token.token]
        self.refreshed += 1
        return self.issued(str(client.client_id), scopes)

    async def load_access_token(self, token: str) -> AccessToken | None:
        found = None if mood() == "revoked" else self.access.get(token)
        if found is not None and mood() == "more" and token not in self.strong:
            return found.model_copy(update={"scopes": []})
        return found

    async def revoke_token(self, token: Any) -> None:
        self.access.pop(token.token, None)

    def issued(self, client_id: str, scopes: list[str]) -> OAuthToken:
        resource = "https://another.example/mcp" if mood() == "wrong" else f"{URL}/mcp"
        access = AccessToken(
            token=secrets.token_urlsafe(24),
            client_id=client_id,
            scopes=scopes,
            expires_at=int(time.time()) + TTL,
            resource=resource,
            subject="somebody",
        )
        refresh = RefreshToken(token=secrets.token_urlsafe(24), client_id=client_id, scopes=scopes)
        self.access[access.token] = access
        if mood() == "more":
            self.strong.add(access.token)
        self.refresh[refresh.token] = refresh
        return OAuthToken(
            access_token=access.token,
            expires_in=TTL,
            scope=" ".join(scopes),
            refresh_token=refresh.token,
        )


provider = Provider()
server = MCPServer(
    "guarded",
    auth_server_provider=provider,
    auth=AuthSettings.model_validate(
        {
            "issuer_url": URL,
            "resource_server_url": f"{URL}/mcp",
            "client_registration_options": ClientRegistrationOptions(
                enabled=True, valid_scopes=["tools"], default_scopes=["tools"]
            ),
            "revocation_options": RevocationOptions(enabled=True),
            "required_scopes": ["tools"],
            "validate_token_resource": True,
        }
    ),
)


@server.tool()
def refreshed() -> int:
    """How often tokens were refreshed."""
    return provider.refreshed


@server.tool()
def token() -> str:
    """What the caller has sent, as servers tell it that are debugged."""
    found = get_access_token()
    return "" if found is None else f"authorization: {found.token}"


server.run("streamable-http", host="127.0.0.1", port=PORT)
