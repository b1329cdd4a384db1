"""What single headers of a client say: flags, and how long it waits."""

from __future__ import annotations

from polycall.errors import MalformedRequestError
from polycall.gateway.http.request import GatewayRequest


def flag(gateway_request: GatewayRequest, name: bytes) -> bool:
    """A header that is `true` or `false`; another word was meant as something."""
    value = gateway_request.headers.get(name)
    if value is None:
        return False
    word = value.strip().lower()
    if word not in (b"true", b"false"):
        text = value[:60].decode("latin-1")
        raise MalformedRequestError(f"expected true or false, got {text!r}", path=name.decode())
    return word == b"true"


def patience_s(gateway_request: GatewayRequest, most_s: float) -> float:
    """How long the client says that it waits (Google's SDKs do), within what is allowed."""
    said = gateway_request.headers.get(b"x-server-timeout")
    if said is None:
        return most_s
    try:
        seconds = float(said)
    except ValueError:
        return most_s
    return seconds if 0 < seconds < most_s else most_s
