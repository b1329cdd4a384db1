"""Whatever is sent to the administration, it refuses by name or does; nothing of it fails."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import time
from typing import Any

import msgspec
import pytest

from polycall.admin.routes import ROUTES, Route
from tests.console.conftest import Served

ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, -1e308, 2**63, -(2**63), 10**30, ""),
    *("x", "\x00", "\u202egnp.exe", "\x1b[2J", "\ud83d\ude00", "é" * 5000, "../../x", "'; --"),
    *([], [1], [None], ["\u202ex"], [[]], {}, {"a": {}}, ["x" * 5000], ["x"] * 5000),
]
CHANGES = [route for route in ROUTES if route.method != "GET" and not route.path.endswith("out")]
_NAME = re.compile(r"\{\w+\}")


def path_of(route: Route, name: str) -> str:
    if "{rest}" in route.path:
        return route.path.replace("{rest}", "/v1/chat/completions")
    return _NAME.sub(name, route.path)


@pytest.mark.parametrize("route", CHANGES, ids=lambda route: f"{route.method} {route.path}")
def test_no_value_of_any_field_makes_a_route_fail(served: Served, route: Route) -> None:
    names = (
        []
        if route.body is None
        else [each.encode_name for each in msgspec.structs.fields(route.body)]
    )
    bodies: list[Any] = [b"", b"null", b"[[]]", b"\xff", b'{"a":' * 5000, b'{"a":"\\ud800"}']
    bodies += [{name: value} for name in [*names, "nothing"] for value in ODD]
    path = path_of(route, "nothing-like-this")
    for body in bodies:
        answer = served.gateway.request(route.method, path, body, key=served.keys["owner"])
        assert answer.status < 500, (body, answer.content)
        assert b"its log has the reason" not in answer.content, (body, answer.content)


@pytest.mark.parametrize(
    "name", ["%00", "%ff", "%E2%80%AEx", "%2e%2e%2f", "a" * 399, "%F0%9F%98%81", "%0d%0ax:y"]
)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_name_in_a_path_makes_a_route_fail(served: Served, route: Route, name: str) -> None:
    if "{" not in route.path or "{rest}" in route.path:
        return
    answer = served.gateway.request(
        route.method, path_of(route, name), {}, key=served.keys["owner"]
    )
    assert answer.status in (400, 403, 404, 405), answer.content


QUERIES = [
    *(
        "=",
        "&",
        "a",
        "limit=-1",
        "limit=1e400",
        "limit=0x1",
        "limit=%D9%A3",
        "before=-5",
        "before=1e99",
    ),
    *("since=-1e12&until=1e12", "since=1e-320&until=1e300", "every_s=1e-300", "every_s=-1"),
    *(
        "every_s=1e308&since=0&until=1",
        "by=" + "key," * 50,
        "by=key,key",
        "text=%25%25_!",
        "text=%00",
    ),
    *(
        "status=999",
        "status=%D9%A3",
        "cost_min=1e999",
        "cost_min=-0",
        "key=%ff%fe",
        "team=%E2%80%AE",
    ),
    *(
        "after=W10=",
        "after=WzEsMl0=",
        "after=WzFlOTk5LCJ4Il0=",
        "after=W251bGwsbnVsbF0=",
        "after=a",
    ),
    *(
        "failed=1",
        "warned=TRUE",
        "state=",
        "limit=5&limit=x",
        "&".join(f"a{n}=" for n in range(99)),
    ),
]


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method == "GET"], ids=lambda r: r.path)
def test_no_query_makes_a_route_fail(served: Served, route: Route) -> None:
    for query in QUERIES:
        path = f"{path_of(route, 'nothing-like-this')}?{query}"
        answer = served.gateway.request("GET", path, key=served.keys["owner"])
        assert answer.status < 500, (query, answer.content)


@pytest.mark.parametrize("letters", ["\u202e", "\x1b[2J", "\u200b", "\x00", "\n", "\u2066x\u2069"])
@pytest.mark.parametrize("field", ["name", "owner", "models", "mcp", "mcp_default", "team"])
def test_what_people_see_has_only_letters_that_are_seen(
    served: Served, field: str, letters: str
) -> None:
    value = f"fast{letters}"
    several = field in ("models", "mcp", "mcp_default")
    body = {"name": "seen", field: [value] if several else value}
    assert served.ask("POST", "/keys", body).status == 400
    assert "seen" not in [key["name"] for key in served.ask("GET", "/keys").json()["keys"]]


def exchange(served: Served, head: str, body: bytes) -> tuple[int, Any]:
    with socket.create_connection(("127.0.0.1", served.gateway.port), timeout=10) as peer:
        key = served.keys["owner"]
        peer.sendall(
            f"{head}\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
            "content-type: application/json\r\n".encode()
            + body
        )
        response = http.client.HTTPResponse(peer)
        response.begin()
        return response.status, json.loads(response.read())


def in_chunks(body: bytes) -> bytes:
    return b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_a_body_in_chunks_counts_as_any_other(served: Served) -> None:
    """It says no length, and was taken for none: what it asked for was not what was done."""
    made = served.ask("POST", "/keys", {"name": "in-chunks"}).json()
    rotate = f"POST /admin/v1/keys/{made['id']}/rotate HTTP/1.1"
    status, shown = exchange(served, rotate, in_chunks(b'{"grace_s": 0}'))
    (ended,) = [each["expires"] for each in shown["secrets"] if each["expires"]]
    assert (status, ended <= time.time()) == (200, True)
    status, said = exchange(served, rotate, in_chunks(b'{"grace": 0}'))
    assert (status, "unknown field `grace`" in said["error"]["message"]) == (400, True)
    revoke = f"POST /admin/v1/keys/{made['id']}/revoke HTTP/1.1"
    assert exchange(served, revoke, in_chunks(b"[]"))[0] == 400
    assert exchange(served, revoke, in_chunks(b" " * 300_000))[0] == 413
    assert served.ask("GET", f"/keys/{made['id']}").json()["status"] == "active"


def test_a_body_is_as_long_as_it_expands_to(served: Served) -> None:
    packed = gzip.compress(b'{"link":"' + b"x" * 5_000_000 + b'"}')
    head = b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    status, said = exchange(served, "POST /admin/v1/sign-in HTTP/1.1", head + packed)
    assert (status, "larger than 262144 bytes" in said["error"]["message"]) == (413, True)
