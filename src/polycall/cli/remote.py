"""A gateway's administration from another machine: `--gateway URL` and an administrator's key."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import UNSET, to_builtins

from polycall.admin.fields import KeyFields
from polycall.admin.keys import GRACE_S
from polycall.errors import RequestError
from polycall.ir import JSON

KEY_VARIABLE = "POLYCALL_ADMIN_KEY"
_DEADLINE_S = 30.0
_BYTES_MAX = 16 * 1024 * 1024


def add_gateway_option(parser: argparse.ArgumentParser) -> None:
    """`--gateway`."""
    parser.add_argument(
        "--gateway",
        metavar="URL",
        help=f"a running gateway instead of its store; {KEY_VARIABLE} is an administrator's key",
    )


class RemoteGateway:
    """Asks a gateway's `/admin/v1`."""

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(f"{url!r} is no address of a gateway; write http://HOST:PORT")
        self._parts = parts
        self._key = key or os.environ.get(KEY_VARIABLE, "")
        if not self._key:
            raise RequestError(f"{KEY_VARIABLE} is not set; it is to hold an administrator's key")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One exchange; no redirect is followed, since it would take the key along."""
        parts = self._parts
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(
                host, port, timeout=_DEADLINE_S, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_DEADLINE_S)
        )
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, f"{parts.path.rstrip('/')}/admin/v1{path}", data, headers)
            response = connection.getresponse()
            content, status = response.read(_BYTES_MAX), response.status
        except (OSError, http.client.HTTPException) as error:
            raise RequestError(f"the gateway at {host} cannot be reached: {error}") from None
        finally:
            connection.close()
        try:
            answer = json.loads(content)
        except ValueError:
            raise RequestError(f"{host} is no gateway: status {status}, no JSON") from None
        if status != 200:
            raise RequestError(_message(answer, status))
        return answer


class RemoteKeys:
    """The keys of a running gateway, as `KeyAdministration` has those of a store."""

    def __init__(self, gateway: RemoteGateway) -> None:
        self._gateway = gateway

    async def create(self, fields: KeyFields) -> JSON:
        """A new key."""
        return self._gateway.ask("POST", "/keys", _given(fields))

    async def list(self) -> list[JSON]:
        """All keys."""
        return self._gateway.ask("GET", "/keys")["keys"]

    async def show(self, name: str) -> JSON:
        """One key."""
        return self._gateway.ask("GET", self._path(name))

    async def limit(self, name: str, fields: KeyFields) -> JSON:
        """Change limits."""
        return self._gateway.ask("PATCH", self._path(name), _given(fields))

    async def rotate(self, name: str, grace_s: float = GRACE_S) -> JSON:
        """A new secret."""
        return self._gateway.ask("POST", f"{self._path(name)}/rotate", {"grace_s": grace_s})

    async def revoke(self, name: str) -> JSON:
        """End a key."""
        return self._gateway.ask("POST", f"{self._path(name)}/revoke", {})

    def _path(self, name: str) -> str:
        """The path of the key, by its id, since a name may hold a slash."""
        found = self._gateway.ask("GET", "/keys")["keys"]
        for key in found:
            if name in (key["name"], key["id"]):
                return f"/keys/{quote(key['id'], safe='')}"
        known = ", ".join(key["name"] for key in found) or "none yet"
        raise RequestError(f"no key is called {name!r}; there are: {known}")


def _given(fields: KeyFields) -> JSON:
    names = KeyFields.__struct_fields__
    given = {name: getattr(fields, name) for name in names if getattr(fields, name) is not UNSET}
    return to_builtins(given)


def _message(answer: Any, status: int) -> str:
    try:
        return str(answer["error"]["message"])
    except (KeyError, TypeError):
        return f"the gateway answered {status}"
