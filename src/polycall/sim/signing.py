"""Tokens that only this simulation can have issued, and that notice any change.

Stateless, so that a conversation can continue after the simulation was restarted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from polycall._support import jsontext

# Whether tokens that others issued are taken on trust: for recorded requests of real vendors.
_FOREIGN: ContextVar[bool] = ContextVar("takes_foreign", default=False)
_SECRET = b"a simulation has no secrets; this one only marks what it issued"
_MAC_BYTES = 12


@contextmanager
def foreign_tokens_taken() -> Generator[None]:
    """Take tokens of a real vendor on trust, for as long as this lasts."""
    token = _FOREIGN.set(True)
    try:
        yield
    finally:
        _FOREIGN.reset(token)


def takes_foreign() -> bool:
    """Whether tokens that others issued are taken on trust now."""
    return _FOREIGN.get()


def digest(*pieces: str) -> bytes:
    """A keyed digest of the pieces, each kept apart from the next."""
    text = "".join(f"{len(piece)}:{piece}" for piece in pieces)
    mac = hmac.new(_SECRET, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return mac.digest()[:_MAC_BYTES]


def issue(scope: str, data: dict[str, Any], *bound: str) -> str:
    """A token that carries `data` openly and binds it to `scope` and to what is `bound`."""
    payload = jsontext.encode_bytes(data)
    mac = digest(scope, payload.decode(), *bound)
    return base64.b64encode(mac + payload).decode("ascii")


def read(scope: str, token: str) -> dict[str, Any] | None:
    """The data of a token that has the form of one of `scope`; `None` for any other.

    The check of what it is bound to is `holds`.
    """
    try:
        raw = base64.b64decode(token.replace("-", "+").replace("_", "/") + "=" * (-len(token) % 4))
        data = jsontext.decode(raw[_MAC_BYTES:])
    except (binascii.Error, ValueError):
        return None
    if not isinstance(data, dict):
        return None
    fields = cast("dict[str, Any]", data)
    return fields if fields.get("scope", scope) == scope else None


def holds(scope: str, token: str, *bound: str) -> bool:
    """Whether the token was issued for this scope and for exactly what is `bound`."""
    data = read(scope, token)
    if data is None:
        return False
    return canonical(token) == canonical(issue(scope, data, *bound))


def canonical(token: str) -> str:
    """One spelling for a token in either base64 alphabet, with or without padding."""
    return token.replace("-", "+").replace("_", "/").rstrip("=")


def mark(scope: str, nonce: str, index: int) -> str:
    """A call id's body of 24 characters that tells later that its answer had reasoning."""
    return f"{nonce}{index:02d}{digest('mark', scope, nonce, str(index)).hex()[:10]}"


def marked_nonce(scope: str, call_id: str) -> str:
    """The nonce of an id that `mark` made; `""` for any other id."""
    body = call_id.rpartition("_")[2]
    nonce, index = body[:12], body[12:14]
    if len(body) != 24 or not index.isdigit() or mark(scope, nonce, int(index)) != body:
        return ""
    return nonce
