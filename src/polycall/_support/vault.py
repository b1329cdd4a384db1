"""Values as they lie in the database: encrypted, and bound to their place.

A dump or a backup then tells nobody what was said, nor any provider's signatures; and a value that
was moved to another owner's row does not open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MARK = b"\x01"
_NONCE_BYTES = 12
_PIECE_BYTES = 1024 * 1024


class Vault:
    """Locks and unlocks values under one secret."""

    def __init__(self, secret: bytes, purpose: bytes = b"polycall states") -> None:
        # A key of its own: the same secret also signs tokens.
        self._key = hmac.new(secret, purpose, hashlib.sha256).digest()

    @cached_property
    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415 - 7 MB, for those who lock
            AESGCM,
        )

        return AESGCM(self._key)

    def lock(self, owner: str, name: str, value: bytes) -> bytes:
        """The value as it may be kept under this owner and name."""
        nonce = os.urandom(_NONCE_BYTES)
        if len(value) > _PIECE_BYTES:
            return self._lock_long(nonce, value, _place(owner, name))
        return _MARK + nonce + self._cipher.encrypt(nonce, value, _place(owner, name))

    def _lock_long(self, nonce: bytes, value: bytes, place: bytes) -> bytes:
        """The same, held once while it is made."""
        from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.modes import GCM  # noqa: PLC0415

        cipher = Cipher(AES(self._key), GCM(nonce)).encryptor()
        cipher.authenticate_additional_data(place)
        locked, left = BytesIO(), memoryview(value)
        locked.write(_MARK + nonce)
        for start in range(0, len(value), _PIECE_BYTES):
            locked.write(cipher.update(left[start : start + _PIECE_BYTES]))
        locked.write(cipher.finalize() + cipher.tag)
        return locked.getvalue()

    def unlock(self, owner: str, name: str, locked: bytes) -> bytes | None:
        """The value; `None` where it was not locked under this secret, owner and name."""
        if not locked.startswith(_MARK):
            return None
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above

        nonce, rest = locked[1 : 1 + _NONCE_BYTES], memoryview(locked)[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, _place(owner, name))
        except (InvalidTag, ValueError):
            return None


def _place(owner: str, name: str) -> bytes:
    return f"{owner}\0{name}".encode()
