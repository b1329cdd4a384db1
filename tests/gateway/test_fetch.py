"""Media by URL: fetched for those who need bytes, and never from inside the house."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from polycall.errors import MalformedRequestError
from polycall.gateway.media import fetch
from polycall.gateway.media.fetch import Fetcher, is_public
from polycall.ir import Media, Message, Request, Text, ToolResult
from tests.origins import Handler, started

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100


class Origin(Handler):
    seen: list[str]
    targets: dict[str, str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("location", self.targets[self.path])
            self.end_headers()
            return
        kind = "text/x-python" if "code" in self.path else "image/png"
        data = PNG * 1000 if "big" in self.path else PNG
        if "exe" in self.path:
            kind = "application/x-msdownload"
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def origin() -> Iterator[ThreadingHTTPServer]:
    Origin.seen = []
    Origin.targets = {"/to/ftp": "ftp://x/y", "/to/loop": "/to/loop"}
    server = started(Origin)
    yield server
    server.shutdown()
    server.server_close()


def request_for(*urls: str) -> Request:
    parts: list[Any] = [Media("image", url=url) for url in urls]
    result = ToolResult("c", [Text("t"), Media("image", url=urls[0])])
    return Request(model="m", messages=[Message("user", parts), Message("tool", [result])])


def url_of(server: ThreadingHTTPServer, path: str, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.server_address[1]}{path}"


async def test_fetched_where_needed(origin: ThreadingHTTPServer) -> None:
    fetcher = Fetcher(size_bytes_max=10_000, allows_private=True)
    asked = request_for(url_of(origin, "/a.png"))
    try:
        assert await fetcher.with_bytes(asked, "anthropic") is asked
        found = await fetcher.with_bytes(asked, "gemini")
    finally:
        await fetcher.close()
    media = Media("image", media_type="image/png", data=base64.b64encode(PNG).decode())
    assert found.messages[0].parts == [media]
    (result,) = found.messages[1].parts
    assert isinstance(result, ToolResult)
    assert result.content == [Text("t"), media]
    assert Origin.seen == ["/a.png"], "the same address is fetched once"


@pytest.mark.parametrize("path", ["/big", "/exe", "/missing", "/to/ftp"])
async def test_bounds(origin: ThreadingHTTPServer, path: str) -> None:
    fetcher = Fetcher(size_bytes_max=10_000, allows_private=True)
    try:
        with pytest.raises(MalformedRequestError):
            await fetcher.with_bytes(request_for(url_of(origin, path)), "gemini")
    finally:
        await fetcher.close()


INSIDE = [
    "http://127.0.0.1:{port}/a.png",
    "http://localhost:{port}/a.png",
    "http://0.0.0.0:{port}/a.png",
    "http://[::1]:{port}/a.png",
    "http://[::ffff:127.0.0.1]:{port}/a.png",
    "http://2130706433:{port}/a.png",
    "http://0x7f.1:{port}/a.png",
    "http://127.1:{port}/a.png",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/",
    "http://user@127.0.0.1:{port}/a.png",
]


@pytest.mark.parametrize("url", INSIDE)
async def test_j02_private_addresses_are_refused(origin: ThreadingHTTPServer, url: str) -> None:
    fetcher = Fetcher(size_bytes_max=10_000, allows_private=False)
    asked = request_for(url.format(port=origin.server_address[1]))
    try:
        with pytest.raises(MalformedRequestError) as caught:
            await fetcher.with_bytes(asked, "gemini")
    finally:
        await fetcher.close()
    # Two of the spellings are no addresses at all for the HTTP library.
    words = ("its address is not a public one", "InvalidUrl")
    assert any(word in str(caught.value) for word in words)
    assert Origin.seen == []


async def test_j02_redirects_are_checked_too(
    origin: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first hop is made to look public; the second is what it is.
    port = origin.server_address[1]
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(fetch, "HOPS_MAX", 3)
    fetcher = Fetcher(size_bytes_max=10_000, allows_private=False)
    try:
        for target in (f"http://[::1]:{port}/secret", "http://10.1.2.3/secret"):
            Origin.targets["/to/inside"] = target
            with pytest.raises(MalformedRequestError) as caught:
                await fetcher.with_bytes(request_for(url_of(origin, "/to/inside")), "gemini")
            assert "not a public one" in str(caught.value)
        with pytest.raises(MalformedRequestError) as caught:
            await fetcher.with_bytes(request_for(url_of(origin, "/to/loop")), "gemini")
        assert Origin.seen.count("/to/loop") == 3
    finally:
        await fetcher.close()
    assert not [path for path in Origin.seen if path == "/secret"]


async def test_j02_a_name_is_resolved_once_and_that_address_used(
    origin: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["93.184.216.34", "127.0.0.1"])
    asked: list[str] = []

    async def rebinding(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    import asyncio

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding, raising=False)
    monkeypatch.setattr(fetch, "FETCH_S", 1.0)
    fetcher = Fetcher(size_bytes_max=10_000, allows_private=False)
    try:
        with pytest.raises(MalformedRequestError):
            await fetcher.with_bytes(request_for("http://rebind.test/a.png"), "gemini")
    finally:
        await fetcher.close()
    assert asked == ["rebind.test"]
    assert Origin.seen == []


PUBLIC = {
    "93.184.216.34": True,
    "2606:2800:220:1:248:1893:25c8:1946": True,
    "100.64.0.1": False,
    "192.168.1.1": False,
    "224.0.0.1": False,
    "fe80::1%eth0": False,
    "::ffff:10.0.0.1": False,
    "64:ff9b::7f00:1": False,
    "2002:7f00:1::": False,
    "fd00::1": False,
    "nonsense": False,
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address) is PUBLIC[address]
