"""Values of a session as they lie in the database: JSON, or JSON that is encrypted."""

from __future__ import annotations

import base64
from typing import Any, TypeVar

import msgspec

from polycall._support import jsontext
from polycall.errors import RequestError

_ValueT = TypeVar("_ValueT")

# Which value of its session it is.  One that was moved does not open.
STATE = "state"
_MARK = "sealed1:"
_SECRET_CHARACTERS_MIN = 16


def message_place(number: int) -> str:
    """Where a message is."""
    return f"message/{number}"


def turn_place(count: int) -> str:
    """Where the state after a turn is."""
    return f"turn/{count}"


class SealedValues:
    """Encodes values, under a secret where there is one, and decodes them."""

    def __init__(self, secret: str | bytes | None) -> None:
        self._vault = None
        if secret is None:
            return
        if len(secret) < _SECRET_CHARACTERS_MIN:
            raise RequestError(
                f"a secret of sessions has {_SECRET_CHARACTERS_MIN} characters or more; "
                "secrets.token_hex(32) makes one"
            )
        from polycall._support.vault import Vault  # noqa: PLC0415 - only with a secret

        key = secret.encode() if isinstance(secret, str) else secret
        self._vault = Vault(key, b"polycall sessions")

    def sealed(self, session: str, place: str, value: Any) -> str:
        """The value as text for the database."""
        text = jsontext.encode(value)
        if self._vault is None:
            return text
        return _MARK + base64.b64encode(self._vault.lock(session, place, text.encode())).decode()

    def opened(self, session: str, place: str, text: str, kind: type[_ValueT]) -> _ValueT:
        """The value; `RequestError` where it is not one, or not under this secret."""
        try:
            return msgspec.convert(jsontext.decode(self._plain(session, place, text)), kind)
        except (ValueError, msgspec.ValidationError) as error:
            raise RequestError(f"the database holds no {kind.__name__} here: {error}") from None

    def _plain(self, session: str, place: str, text: str) -> str:
        if self._vault is None:
            if text.startswith(_MARK):
                raise RequestError(
                    f"the session {session!r} is encrypted; write Sessions(..., secret=...)"
                )
            return text
        if not text.startswith(_MARK):
            raise RequestError(
                f"the session {session!r} is not encrypted: open it without a secret, export it, "
                "delete it, and import it with the secret"
            )
        plain = self._vault.unlock(session, place, base64.b64decode(text.removeprefix(_MARK)))
        if plain is None:
            raise RequestError(
                f"the session {session!r} was encrypted with another secret, or changed"
            )
        return plain.decode()
