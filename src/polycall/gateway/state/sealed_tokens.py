"""Sealed tokens: state that travels through a client and comes back, or is known to be forged.

A token is standard base64 (Gemini's SDK insists on that) of a mark, a MAC and the payload.  The
MAC covers the owner, so a token of one client is worthless in another's hands.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_MARK = b"polycall1"  # nine bytes: the encoded mark is the same whatever follows
_MAC_BYTES = 18
_SLICE_BYTES = 3 * 2**18  # that are encoded at once

PREFIX = base64.b64encode(_MARK).decode()


class Sealer:
    """Seals and opens tokens under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, owner: str, payload: bytes) -> str:
        """A token for `payload`."""
        # What stands before the payload is a multiple of three bytes: each is encoded by itself.
        pieces = [base64.b64encode(_MARK + self._mac(owner, payload)).decode()]
        for start in range(0, len(payload), _SLICE_BYTES):
            piece = payload[start : start + _SLICE_BYTES]
            pieces.append(binascii.b2a_base64(piece, newline=False).decode())
        return "".join(pieces)

    def open(self, owner: str, token: str) -> bytes | None:
        """The payload; `None` for a token that was not made here for this owner."""
        if "-" in token or "_" in token:  # some clients re-encode in the URL alphabet
            token = token.replace("-", "+").replace("_", "/")
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), validate=True)
        except (binascii.Error, ValueError):
            return None
        if not data.startswith(_MARK):
            return None
        mac = data[len(_MARK) : len(_MARK) + _MAC_BYTES]
        payload = data[len(_MARK) + _MAC_BYTES :]
        return payload if hmac.compare_digest(mac, self._mac(owner, payload)) else None

    def _mac(self, owner: str, payload: bytes) -> bytes:
        mac = hmac.new(self._secret, owner.encode() + b"\0", hashlib.sha256)
        mac.update(payload)
        return mac.digest()[:_MAC_BYTES]


def is_token(text: object) -> bool:
    """Whether this claims to be a token of ours, forged or not."""
    return isinstance(text, str) and text.startswith(PREFIX)
