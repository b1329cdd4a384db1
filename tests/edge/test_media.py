"""Media by URL: no spelling leads inside, and no request or client takes more than its share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from polycall._support.addresses import is_never_dialled, is_public
from polycall.errors import MalformedRequestError
from polycall.gateway.media import fetch
from polycall.gateway.media.fetch import Fetcher
from polycall.ir import Media, Message, Request

PNG = b"\x89PNG\r\n\x1a\n"


class Origin:
    """A server of pictures; `/to?URL` redirects, `/slow` never answers, `/big` is 1 MB."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.port = 0
        self.open = 0
        self.most = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            self.paths.append(path)
            kind = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n"
            if path.startswith("/to?"):
                writer.write(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: ")
                writer.write(path[4:].encode() + b"\r\n\r\n")
            elif path.startswith("/slow"):
                await reader.read()
            elif path.startswith("/big"):
                writer.write(kind + b"content-length: 1000000\r\n\r\n" + b"x" * 1_000_000)
            elif path.startswith("/gzip"):
                writer.write(
                    kind + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08"
                )
            else:
                writer.write(kind + b"content-length: %d\r\n\r\n%b" % (len(PNG), PNG))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def fetching(**options: Any) -> AsyncGenerator[tuple[Origin, Fetcher]]:
    origin = Origin()
    server = await asyncio.start_server(origin, "127.0.0.1", 0)
    origin.port = server.sockets[0].getsockname()[1]
    settings: dict[str, Any] = {"size_bytes_max": 2_000_000, "allows_private": False, **options}
    fetcher = Fetcher(**settings)
    try:
        yield origin, fetcher
    finally:
        await fetcher.close()
        server.close()


def asking(*urls: str) -> Request:
    return Request(model="m", messages=[Message("user", [Media("image", url=u) for u in urls])])


# What IDNA makes of these is 127.0.0.1, and what a person reads is too.
SPELLINGS = [
    "１２７.０.０.１",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "127．0．0．1",
    "127｡0｡0｡1",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "𝟙𝟚𝟟.0.0.1",
    "1２7.0.0.1",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "0177.0.0.1",
    "0x7f000001",
    "2130706433",
    "localhost",
    "LOCALHOST",
    "ｌｏｃａｌｈｏｓｔ",
    "localhost.",
    "ⓛocalhost",
    "[::ffff:7f00:1]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::1]",
    "[::]",
    "0",
    "127.1",
    "user:pass@127.0.0.1",
    "169.254.169.254@127.0.0.1",
    "example.org#@127.0.0.1",
    "0x7f.1",
    "127.0.1",
    "0177.1",
    "0x7F.0x0.0x0.0x1",
    "127.0.0.1\t",
    "12\n7.0.0.1",
    "127.0.0.1%00.example.org",
    "127.0.0.1\\@example.org",
    "\u00ad127.0.0.1",
    "127\u200b.0.0.1",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[::127.0.0.1]",
    "[::1%25lo]",
    "[2002:7f00:1::]",
    "ip6-localhost",
    "localhost.localdomain",
    "local\u00adhost",
]


@pytest.mark.parametrize("host", SPELLINGS)
@pytest.mark.parametrize("is_redirect", [False, True])
async def test_a1_no_spelling_of_this_machine_is_dialled(
    host: str, is_redirect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fetching() as (origin, fetcher):
        url = f"http://{host}:{origin.port}/secret"
        if is_redirect:
            # The first hop is let through as if it were somebody else's.
            allowed = [True]

            def is_public_once(address: str) -> bool:
                return allowed.pop() if allowed else is_public(address)

            monkeypatch.setattr(fetch, "is_public", is_public_once)
            url = f"http://127.0.0.1:{origin.port}/to?{url}"
        monkeypatch.setattr(fetch, "FETCH_S", 0.5)
        with pytest.raises(MalformedRequestError):
            await fetcher.with_bytes(asking(url), "gemini")
        assert [path for path in origin.paths if "/to?" not in path] == []


METADATA = [
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "192.0.0.192"),
    *("100.100.100.200", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fe80::a9fe:a9fe"),
    *("fec0::1", "fec0:0:0:ffff::1", "feff::1", "fd00:c1::a9fe:a9fe"),
    *("::ffff:169.254.169.254", "::ffff:168.63.129.16", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b::c000:c0", "2002:a9fe:a9fe::", "2002:6464:64c8::1", "::169.254.169.254"),
    # A network's own NAT64, whose prefix has 48, 56, 64 or 96 bits, whatever stands behind.
    *("64:ff9b:1:a9fe:a9:fe00:808:808", "64:ff9b:1:aba9:fe:a9fe:808:808"),
    *("64:ff9b:1:abcd:a9:fea9:fe08:808", "64:ff9b:1:a83f:81:1000:808:808"),
    *("64:ff9b:1::a9fe:a9fe", "2a00::5efe:169.254.169.254", "2001:0:1::5601:5601"),
    *("::ffff:0:169.254.169.254", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "nonsense", ""),
]


@pytest.mark.parametrize("address", METADATA)
def test_a1_services_of_the_machine_are_never_dialled(address: str) -> None:
    assert is_never_dialled(address)
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("192.0.0.8", "192.88.99.1", "::127.0.0.1", "64:ff9b:1::7f00:1", "5f00::1", "3fff::1"),
        "64:ff9b:1::808:808",
        *("2001:2::1", "2002:7f00:1::", "64:ff9b::a00:1", "::ffff:10.0.0.1", "fd00::1", "10.1.1.1"),
        *("100.64.0.1", "198.18.0.1", "240.0.0.1", "2a00::5efe:10.0.0.1", "2001:db8::1", "100::1"),
    ],
)
def test_a1_what_is_not_the_open_internet_is_not_public(address: str) -> None:
    assert not is_public(address)
    assert not is_never_dialled(address), "an operator may open these"


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "8.8.8.8", "64:ff9b::808:808", "2a00::1"]
)
def test_a1_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)
    assert not is_never_dialled(address)


@pytest.mark.parametrize("host", ["169.254.169.254", "１６９.254.169.254", "[::ffff:a9fe:a9fe]"])
async def test_a1_opening_private_addresses_opens_no_metadata(host: str) -> None:
    async with fetching(allows_private=True) as (origin, fetcher):
        for url in (f"http://{host}/latest", f"http://127.0.0.1:{origin.port}/to?http://{host}/"):
            with pytest.raises(MalformedRequestError):
                await fetcher.with_bytes(asking(url), "gemini")


# A15


@pytest.mark.parametrize(("count", "path"), [(51, "/a"), (400, "/slow"), (1000, "/big")])
async def test_a15_the_count_of_media_is_bounded(count: int, path: str) -> None:
    async with fetching(allows_private=True) as (origin, fetcher):
        urls = [f"http://127.0.0.1:{origin.port}{path}{n}" for n in range(count)]
        with pytest.raises(MalformedRequestError, match=f"{count} media"):
            await fetcher.with_bytes(asking(*urls), "gemini")
        assert origin.paths == []


@pytest.mark.parametrize("spelt", ["HTTP://127.0.0.1:{}/{}?말", "http://127.0.0.1:{}/{}#😀"])
async def test_a15_media_are_counted_however_they_are_spelt(spelt: str) -> None:
    async with fetching(allows_private=True) as (origin, fetcher):
        urls = [spelt.format(origin.port, "a" if n % 2 else f"b{n}") for n in range(60)]
        with pytest.raises(MalformedRequestError, match="60 media"):
            await fetcher.with_bytes(asking(*urls), "gemini")
        assert origin.paths == []


@pytest.mark.parametrize("names", ["0123456789", "0000000000", "0001112223"])
async def test_a15_the_sum_of_media_is_bounded(names: str) -> None:
    # The same picture ten times is ten pictures for whoever is sent them.
    async with fetching(allows_private=True, sum_bytes_max=3_000_000) as (origin, fetcher):
        urls = [f"http://127.0.0.1:{origin.port}/big{name}" for name in names]
        with pytest.raises(MalformedRequestError, match="more than 3000000 bytes"):
            await fetcher.with_bytes(asking(*urls), "gemini")


async def test_a15_what_comes_compressed_is_refused() -> None:
    async with fetching(allows_private=True) as (origin, fetcher):
        with pytest.raises(MalformedRequestError):
            await fetcher.with_bytes(asking(f"http://127.0.0.1:{origin.port}/gzip"), "gemini")


async def test_a15_time_is_for_all_media_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FETCH_S", 0.5)
    async with fetching(allows_private=True) as (origin, fetcher):
        urls = [f"http://127.0.0.1:{origin.port}/slow{n}" for n in range(50)]
        started = time.monotonic()
        with pytest.raises(MalformedRequestError, match=r"within 0\.5 s"):
            await fetcher.with_bytes(asking(*urls), "gemini")
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("how", ["cancelled", "one fails", "one is forbidden"])
async def test_a15_nothing_is_fetched_for_a_request_that_is_over(how: str) -> None:
    async with fetching(allows_private=True) as (origin, fetcher):
        slow = [f"http://127.0.0.1:{origin.port}/slow{n}" for n in range(3)]
        bad = {"one fails": ["ftp://x"], "one is forbidden": ["http://169.254.169.254/"]}
        # The scheme is looked at before: a redirect leads to it.
        bad["one fails"] = [f"http://127.0.0.1:{origin.port}/to?ftp://x/"]
        task = asyncio.create_task(
            fetcher.with_bytes(asking(*slow, *bad.get(how, [])), "gemini", "k")
        )
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, MalformedRequestError)):
            await task
        await asyncio.sleep(0.1)
        assert origin.open == 0
        # The places are free again.
        url = f"http://127.0.0.1:{origin.port}/a"
        async with asyncio.timeout(2):
            await fetcher.with_bytes(asking(url), "gemini", "k")


async def test_a15_one_client_leaves_places_for_others() -> None:
    async with fetching(allows_private=True) as (origin, fetcher):
        slow = [f"http://127.0.0.1:{origin.port}/slow{n}" for n in range(40)]
        tasks = [
            asyncio.create_task(fetcher.with_bytes(asking(*slow), "gemini", "greedy"))
            for _ in range(10)
        ]
        await asyncio.sleep(0.3)
        assert origin.open <= 4
        async with asyncio.timeout(2):
            url = f"http://127.0.0.1:{origin.port}/a"
            await fetcher.with_bytes(asking(url), "gemini", "modest")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
