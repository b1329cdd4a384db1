"""The addresses of a provider's requests, and the headers that all of them have."""

from __future__ import annotations

import re
from urllib.parse import quote

from polycall.providers.hosting import base_url
from polycall.providers.provider import Provider

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/:?=&@%._~-]*")
_PLACES_MAX = 1024


def place_of(
    provider: Provider, key: str, path: str, *, stream: bool
) -> tuple[str, dict[str, str]]:
    """Address and headers, the same for most requests to one model; nobody changes them."""
    if provider.places or provider.hosting:  # the environment has a word in it, or the headers do
        return address(provider, path), headers_for(provider, key, stream=stream)
    name = (id(provider), key, path, stream)
    found = _places.get(name)
    if found is None or found[0] is not provider:
        if len(_places) >= _PLACES_MAX:
            _places.clear()
        made = address(provider, path), headers_for(provider, key, stream=stream)
        found = _places[name] = (provider, *made)
    return found[1], found[2]


def joined_headers(headers: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    """Both, `more` before `headers`; the previews of both are named, each of them once."""
    joined = {**headers, **more}
    if (name := "anthropic-beta") in headers and name in more:
        betas = [beta.strip() for beta in f"{headers[name]},{more[name]}".split(",")]
        joined[name] = ",".join(dict.fromkeys(filter(None, betas)))
    return joined


def address(provider: Provider, path: str) -> str:
    """The provider's URL for a path relative to its base."""
    if _PLAIN_PATH.fullmatch(path) is None:
        path = quote(path, safe="/:?=&@%-_.~")
    return base_url(provider).rstrip("/") + path


def headers_for(provider: Provider, key: str, *, stream: bool) -> dict[str, str]:
    """The headers of a request with a JSON body."""
    return {
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        **provider.headers,
        **provider.auth_headers(key),
    }


# By the provider's object, since its row may have been replaced.
_places: dict[tuple[int, str, str, bool], tuple[Provider, str, dict[str, str]]] = {}
