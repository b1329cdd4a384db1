"""Checks of a request's head beyond those of llhttp (RFC 9110 and 9112)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import httptools

from polycall._support.memo import Memo

Headers = list[tuple[bytes, bytes]]

NOT_HTTP = "this is not HTTP/1.1; look at the request line, the headers and how the body is framed"

# A second one of these says something else than the first; a server and a proxy before it may
# each believe another.
_SINGLE = frozenset(
    {b"host", b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"content-encoding"}
)
_HOST = re.compile(rb"(?:[\w.~%!$&'()*+,;=-]*|\[[0-9A-Za-z:.]+\])(?::\d*)?", re.ASCII)
_HOST_BYTES = 255  # of one that is remembered
_VERSIONS = ("1.1", "1.0")
# What asks for another protocol.  Where there is none, a server may continue as if unasked;
# Java's own client asks for HTTP/2 with every first request, and sends its body along.
_UPGRADES = (b"http2-settings", b"connection")  # without these, `upgrade` asks for nothing


class RefusedRequest(Exception):  # noqa: N818 - the client's error, not ours
    """A request that is answered before any application sees it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def check_head(
    method: bytes, target: bytes, version: str, headers: Headers
) -> tuple[dict[bytes, bytes], bool]:
    """Each header by its name, the last of several; whether the client waits to be asked.

    Raises `RefusedRequest` for a head that is well-formed, and still no request for us.
    """
    if version not in _VERSIONS:
        raise RefusedRequest(505, f"HTTP/{version} is not spoken here; use HTTP/1.1")
    _check_target(method, target)
    names = dict(headers)
    if len(names) < len(headers):
        _check_once(headers)
    host = names.get(b"host")
    if host is None:
        if version == "1.1":
            raise RefusedRequest(400, "the header 'host' is missing, which HTTP/1.1 asks for")
    elif not (_is_host[host] if len(host) <= _HOST_BYTES else _matches(host)):
        raise RefusedRequest(400, "the header 'host' is not a host; write NAME:PORT")
    if b"transfer-encoding" in names:
        for value in _values(headers, b"transfer-encoding"):
            if version == "1.0" or value.strip().lower() != b"chunked":
                raise RefusedRequest(400, f"{NOT_HTTP}; only 'chunked' is a known encoding")
    if b"expect" not in names or version != "1.1":
        return names, False
    for value in _values(headers, b"expect"):
        if value.lower() != b"100-continue":
            shown = value[:60].decode("latin-1")
            raise RefusedRequest(417, f"{shown!r} cannot be expected here; only 100-continue")
    return names, True


def _matches(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


_is_host = Memo(_matches, 256)  # clients say the same one in each request


def _check_once(headers: Headers) -> None:
    """Refuse a second header of a name that says one thing."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen:
            raise RefusedRequest(400, f"the header {name.decode()!r} is there twice")
        if name in _SINGLE:
            seen.add(name)


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for each, value in headers if each == name]


def check_line(text: bytes, place: int, method: bytes, target: bytes) -> int:
    """Follow the request line in `text` from `place`; returns the place of its version.

    Raises `RefusedRequest` where it has more than single spaces, which the parser lets through.
    """
    line = b"%b %b HTTP/" % (method, target)
    found = text.find(line, place)
    # A request that was sent ahead may be like one behind it.
    if found < 0 or (found > place and _has_spaces(text[place:found], method, target)):
        raise RefusedRequest(400, f"{NOT_HTTP}; one space stands between the words of its line")
    return found + len(line)


def _has_spaces(text: bytes, method: bytes, target: bytes) -> bool:
    return re.search(b"%b +%b +HTTP/" % (method, re.escape(target)), text) is not None


def _check_target(method: bytes, target: bytes) -> None:
    if method == b"CONNECT":
        raise RefusedRequest(400, "this is not a proxy; CONNECT is refused")
    is_known = target.startswith((b"/", b"http://", b"https://"))
    if not (is_known or (target == b"*" and method == b"OPTIONS")) or target.find(b"#") >= 0:
        shown = target[:60].decode("latin-1")
        raise RefusedRequest(400, f"the target {shown!r} is not a path")


def head_bytes(target: bytes, headers: Headers) -> int:
    """The length of the head in bytes, without its first line's other words."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def address_of(name: Any) -> tuple[str, int] | None:
    """Host and port of what a transport says of its end; `None` where that has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple | list) and name else None  # pyright: ignore[reportUnknownArgumentType]


def split_target(target: bytes) -> tuple[str, bytes, bytes]:
    """Path, the path as it is written, and the query of a request's target."""
    if target.startswith(b"/"):
        raw, _, query = target.partition(b"?")
    else:
        parsed = httptools.parse_url(target)
        raw, query = parsed.path or b"/", parsed.query or b""
    path = raw.decode("ascii")
    return (unquote(path) if "%" in path else path), raw, query


def wants_socket(method: bytes, version: str, headers: Headers) -> bool:
    """Whether the request asks for a WebSocket, as a request can."""
    names = dict(headers)
    has_body = b"content-length" in names or b"transfer-encoding" in names
    wants = names.get(b"upgrade", b"").strip().lower() == b"websocket"
    return wants and method == b"GET" and version == "1.1" and not has_body


def without_upgrade(headers: Headers) -> Headers:
    """The headers without the request's request for another protocol."""
    kept = [pair for pair in headers if pair[0] not in _UPGRADES]
    if any(name == b"connection" and b"close" in value.lower() for name, value in headers):
        kept.append((b"connection", b"close"))
    return kept


def written_head(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The head of a request with these headers."""
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version.encode(), lines)
