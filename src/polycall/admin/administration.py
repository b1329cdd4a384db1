"""One request to the administration: from where, who, may they, what, and how it is sent."""

from __future__ import annotations

import ipaddress
import re
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct, field

from polycall._support import jsontext
from polycall._support.listening import is_loopback
from polycall.admin.openid import OpenID
from polycall.admin.people import People, check_origin, check_role
from polycall.admin.routes import ROUTES, Route, openapi_paths
from polycall.admin.runs import RunAdministration
from polycall.config.admin import AdminSettings
from polycall.errors import InvalidRequestError, NotFoundError, RequestError
from polycall.gateway.app import Gateway
from polycall.gateway.http.bodies import read_body
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.store import Actor, AdminRow
from polycall.ir import JSON

_CSP = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
SECURITY_HEADERS = (
    (b"content-security-policy", _CSP),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
# A proxy in front makes the whole world look like this machine.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")
_PAGE = {
    "/console": ("index.html", b"text/html; charset=utf-8"),
    "/console/": ("index.html", b"text/html; charset=utf-8"),
    "/console/console.css": ("console.css", b"text/css; charset=utf-8"),
    "/console/console.js": ("console.js", b"text/javascript; charset=utf-8"),
    "/console/words.js": ("words.js", b"text/javascript; charset=utf-8"),
    "/console/charts.js": ("charts.js", b"text/javascript; charset=utf-8"),
    "/console/pages.js": ("pages.js", b"text/javascript; charset=utf-8"),
    "/console/try.js": ("try.js", b"text/javascript; charset=utf-8"),
}
_BODY_BYTES_MAX = 256 * 1024


class Call(Struct):
    """One request of an administrator, ready to be answered."""

    gateway: Gateway
    runs: RunAdministration
    people: People
    openid: OpenID
    request: GatewayRequest
    admin: AdminRow
    by: Actor
    names: dict[str, str]  # of the path
    query: dict[str, str]
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])

    @property
    def settings(self) -> AdminSettings:
        """`[admin]` of the configuration."""
        return self.gateway.config.admin


class Administration:
    """Answers at `/admin/v1` and `/console` of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._people = People(gateway.store)
        self._runs = RunAdministration()
        self._openid = OpenID(gateway.store, gateway.services.transport)
        self._page: dict[str, bytes] = {}

    async def close(self) -> None:
        """Let go of the database of runs."""
        await self._runs.close()

    def paths(self) -> JSON:
        """Its routes, as OpenAPI has them."""
        return openapi_paths()

    async def serve(self, gateway_request: GatewayRequest) -> None:
        """Answer one request, or raise what is wrong with it."""
        settings = self._gateway.config.admin
        path = gateway_request.path
        reach = _reach(gateway_request, settings)
        if reach or not settings.enabled or not await self._people.are_set(settings):
            # To those who may not know of it, it is not there.
            raise NotFoundError(
                f"there is no {gateway_request.method} {path[:200]!r} here; "
                "/openapi.json says what is",
                code="unknown_url",
            )
        gateway_request.notes += SECURITY_HEADERS
        if path in _PAGE:
            await self._send_page(gateway_request, path)
            return
        route, names = _route(gateway_request)
        gateway_request.body_is_unread = gateway_request.method not in ("GET", "HEAD")
        if route.role:
            admin, by = await self._people.known(gateway_request, settings)
            check_role(admin, route.role)
        else:
            check_origin(gateway_request, settings)
            admin, by = AdminRow("", "", "reader"), Actor("", "", "link", gateway_request.address)
        call = Call(
            gateway=self._gateway,
            runs=self._runs,
            people=self._people,
            openid=self._openid,
            request=gateway_request,
            admin=admin,
            by=by,
            names=names,
            query=_query(gateway_request),
        )
        if route.streams:
            await route.handler(call)
            return
        if gateway_request.method not in ("GET", "HEAD"):
            call.body = await _body(gateway_request, self._gateway)
        try:
            answer = await route.handler(call)
        except RequestError as error:
            raise InvalidRequestError(str(error)) from None
        await _send(gateway_request, answer, call.headers)

    async def _send_page(self, gateway_request: GatewayRequest, path: str) -> None:
        if gateway_request.method not in ("GET", "HEAD"):
            raise InvalidRequestError(f"{path} takes GET, HEAD", status=405)
        name, content_type = _PAGE[path]
        if name not in self._page:
            self._page[name] = (files("polycall.admin") / "page" / name).read_bytes()
        data = self._page[name]
        headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(data)).encode()),
            *gateway_request.notes,
        ]
        await gateway_request.send_start(200, headers)
        await gateway_request.send_body(data)


def _reach(gateway_request: GatewayRequest, settings: AdminSettings) -> str:
    """Why a request may not reach the administration; empty where it may."""
    host = _host_of(gateway_request.headers.get(b"host", b""))
    if settings.remote:
        known = host in settings.names or is_loopback(host)
        return "" if known else "another host's name"
    if not _is_this_machine(gateway_request.address):
        return "another machine"
    if any(name in gateway_request.headers for name in _FORWARDED):
        return "through a proxy"
    # A page of another site can make its own name lead to this machine.
    return "" if is_loopback(host) else "another host's name"


def _is_this_machine(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _host_of(header: bytes) -> str:
    text = header.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _route(gateway_request: GatewayRequest) -> tuple[Route, dict[str, str]]:
    allowed: list[str] = []
    for route, pattern in _PATTERNS:
        found = pattern.fullmatch(gateway_request.path)
        if found is None:
            continue
        method = "GET" if gateway_request.method == "HEAD" else gateway_request.method
        if route.method == method:
            return route, found.groupdict()
        allowed.append(route.method)
    if allowed:
        words = ", ".join(sorted(set(allowed)))
        gateway_request.notes.append((b"allow", words.encode()))
        raise InvalidRequestError(
            f"{gateway_request.path[:200]} takes {words}, not {gateway_request.method}", status=405
        )
    raise NotFoundError(
        f"there is no {gateway_request.path[:200]!r} here; /openapi.json says what is",
        code="unknown_url",
    )


def _compiled(route: Route) -> re.Pattern[str]:
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]{1,400})", route.path)
    return re.compile(pattern.replace("(?P<rest>[^/]{1,400})", "(?P<rest>/.{1,800})"))


_PATTERNS = [(route, _compiled(route)) for route in ROUTES]


def _query(gateway_request: GatewayRequest) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            gateway_request.query.decode("latin-1"), keep_blank_values=True, max_num_fields=50
        )
    except ValueError:
        raise InvalidRequestError("the query has too many parameters; at most 50") from None
    return dict(pairs)


async def _body(gateway_request: GatewayRequest, gateway: Gateway) -> bytes:
    data = await read_body(gateway_request, gateway.config.server, gateway.memory, _BODY_BYTES_MAX)
    kind = gateway_request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if data and kind != b"application/json":
        # Forms of other sites can send the rest.
        raise InvalidRequestError("send JSON, as content-type application/json", status=415)
    return data


async def _send(
    gateway_request: GatewayRequest, answer: Any, headers: list[tuple[bytes, bytes]]
) -> None:
    data = jsontext.encode_bytes(answer)
    await gateway_request.send_start(
        200,
        [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(data)).encode()),
            (b"polycall-request-id", gateway_request.id.encode()),
            *gateway_request.notes,
            *headers,
        ],
    )
    await gateway_request.send_body(data)
