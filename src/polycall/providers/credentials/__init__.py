"""Credentials of clouds: tokens that expire, and signatures.  Loaded where a provider needs them.

renewal.py   one refresh for many requests, ahead of expiry
google.py    Google's service accounts and workloads     entra.py  Microsoft's identities
aws.py       AWS's keys and their signatures
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from polycall.transport.base import Credential

if TYPE_CHECKING:
    from polycall.providers.provider import Provider

_REMEMBERED_MAX = 256
_known: dict[tuple[str, ...], Credential] = {}


def credential_for(provider: Provider, key: str) -> Credential | None:
    """The credential of a provider with this key; `None` where the key itself is sent.

    One for all requests of the process, so that they share its tokens.
    """
    make = _MAKERS.get(provider.auth)
    if make is None or (key and not key.startswith("{")):
        return None
    place = provider.values()
    name = (provider.auth, key, provider.scope, provider.name, *map("=".join, place.items()))
    found = _known.get(name)
    if found is None:
        if len(_known) >= _REMEMBERED_MAX:
            _known.clear()
        found = _known[name] = make(provider, key, place)
    return found


def _aws(provider: Provider, key: str, place: dict[str, str]) -> Credential:
    from polycall.providers.credentials.aws import AWSCredential  # noqa: PLC0415 - seldom used

    return AWSCredential(
        provider.name,
        region=place.get("region", ""),
        service=provider.scope,
        profile=place.get("profile", ""),
        keys=key,
    )


def _google(provider: Provider, key: str, place: dict[str, str]) -> Credential:
    from polycall.providers.credentials.google import GoogleTokens  # noqa: PLC0415 - as above
    from polycall.providers.credentials.renewal import TokenCredential  # noqa: PLC0415

    return TokenCredential(provider.name, GoogleTokens(key, provider.scope))


def _entra(provider: Provider, key: str, place: dict[str, str]) -> Credential:
    from polycall.providers.credentials.entra import EntraTokens  # noqa: PLC0415 - as above
    from polycall.providers.credentials.renewal import TokenCredential  # noqa: PLC0415

    return TokenCredential(provider.name, EntraTokens(provider.scope))


_MAKERS: dict[str, Callable[[Provider, str, dict[str, str]], Credential]] = {
    "aws": _aws,
    "google": _google,
    "entra": _entra,
}
