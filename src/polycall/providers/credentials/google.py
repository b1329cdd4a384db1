"""Access tokens of Google Cloud, by `google-auth`: service accounts, workloads, the machine's own.

docs/providers.md#vertex lists them.  The key is the JSON of a service account or of a workload's
configuration; without one, Google's default chain is asked.
"""

from __future__ import annotations

import json
import time
from datetime import UTC
from typing import Any

from polycall.errors import AuthenticationError, RequestError, UpstreamConnectionError
from polycall.providers.credentials.renewal import Expiring

_UNKNOWN_LIFE_S = 3600.0


class GoogleTokens:
    """Fetches access tokens."""

    def __init__(self, info: str, scope: str) -> None:
        self._info = info
        self._scopes = [scope]
        self._credentials: Any = None

    def fetch(self) -> Expiring[str]:
        """A new token; `AuthenticationError` where Google refuses, with its words."""
        try:
            from google.auth import exceptions  # noqa: PLC0415 - an extra
            from google.auth.transport.requests import Request  # noqa: PLC0415
        except ImportError:
            raise RequestError("Vertex needs google-auth; install 'polycall[vertex]'") from None
        try:
            if self._credentials is None:
                self._credentials = self._load()
            self._credentials.refresh(Request())
        except exceptions.TransportError as error:
            raise UpstreamConnectionError(f"Google gave no token: {error}") from None
        except (exceptions.GoogleAuthError, ValueError, KeyError) as error:
            raise AuthenticationError(
                f"Google gave no token: {_words(error)}", code="token_refused"
            ) from None
        expiry: Any = self._credentials.expiry
        ends = expiry.replace(tzinfo=UTC).timestamp() if expiry else time.time() + _UNKNOWN_LIFE_S
        return Expiring(str(self._credentials.token), ends)

    def _load(self) -> Any:
        import google.auth  # noqa: PLC0415 - an extra

        auth: Any = google.auth
        if not self._info:
            return auth.default(scopes=self._scopes)[0]
        info = json.loads(self._info)
        if info.get("type") == "service_account":
            from google.oauth2 import service_account  # noqa: PLC0415 - as above

            credentials: Any = service_account.Credentials
            return credentials.from_service_account_info(info, scopes=self._scopes)
        return auth.load_credentials_from_dict(info, scopes=self._scopes)[0]


def _words(error: Exception) -> str:
    """The error's text, without the key material that some messages quote."""
    text = " ".join(str(each) for each in error.args if isinstance(each, str)) or str(error)
    return text.replace("\n", " ")[:300]
