"""The proxies that the environment names, as urllib reads them: `HTTPS_PROXY`, `NO_PROXY`, ..."""

from __future__ import annotations

import base64
import urllib.request
from urllib.parse import unquote, urlsplit

from polycall.errors import ConfigError

_HOSTS_MAX = 1_000  # that are remembered: clients may name some


def proxy_secrets() -> list[str]:
    """The passwords of the environment's proxies, as they are written there and sent to them."""
    found: list[str] = []
    for address in urllib.request.getproxies().values():
        try:
            parts = urlsplit(address if "://" in address else f"//{address}")
        except ValueError:
            continue  # it is no address, and nothing is sent there
        if parts.password:
            user, password = unquote(parts.username or ""), unquote(parts.password)
            pair = f"{user}:{password}".encode()
            found += [parts.password, password, base64.b64encode(pair).decode()]
    return found


class Proxies:
    """The proxies of the environment, as it was when this was made."""

    def __init__(self) -> None:
        self._named = urllib.request.getproxies()
        self._known: dict[tuple[str, str], str] = {}

    def of(self, scheme: str, host: str) -> str:
        """The proxy for this host, an address that may have a user and password; or empty.

        Raises `ConfigError` for one that is not spoken to by plain HTTP.
        """
        if scheme not in self._named:
            return ""
        known = self._known.get((scheme, host))
        if known is None:
            known = "" if urllib.request.proxy_bypass(host) else self._address(scheme)
            if len(self._known) >= _HOSTS_MAX:
                self._known.clear()
            self._known[scheme, host] = known
        return known

    def _address(self, scheme: str) -> str:
        kind, mark, rest = self._named[scheme].rpartition("://")
        if mark and kind.lower() != "http":
            name = f"{scheme.upper()}_PROXY"
            words = (
                f"the environment's proxy for {scheme} is a {kind}:// one, and only http:// ones"
            )
            raise ConfigError([f"{words} can be used: change {name}, or name the host in NO_PROXY"])
        return f"http://{rest}"
