"""Tokens of Microsoft Entra ID, by `azure-identity`'s default chain (docs/providers.md#azure)."""

from __future__ import annotations

from typing import Any

from polycall.errors import AuthenticationError, RequestError, UpstreamConnectionError
from polycall.providers.credentials.renewal import Expiring


class EntraTokens:
    """Fetches tokens of whichever identity the environment or the machine has."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._credential: Any = None

    def fetch(self) -> Expiring[str]:
        """A new token; `AuthenticationError` where no identity may have one."""
        try:
            from azure.core import exceptions  # noqa: PLC0415 - an extra
            from azure.identity import DefaultAzureCredential  # noqa: PLC0415
        except ImportError:
            raise RequestError("Entra needs azure-identity; install 'polycall[azure]'") from None
        try:
            if self._credential is None:
                self._credential = DefaultAzureCredential()
            token: Any = self._credential.get_token(self._scope)
        except exceptions.ServiceRequestError as error:
            raise UpstreamConnectionError(f"Entra gave no token: {error}"[:300]) from None
        except exceptions.ClientAuthenticationError as error:
            words = " ".join(str(error).split())[:300]
            raise AuthenticationError(
                f"Entra gave no token: {words}", code="token_refused"
            ) from None
        return Expiring(str(token.token), float(token.expires_on))
