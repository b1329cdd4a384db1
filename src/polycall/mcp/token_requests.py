"""The requests of a sign-in to an authorization server, and its answers.

A server says where its tokens are had, so anybody may stand there.  Each request goes out by a
client of its own: the headers of the server's requests are not on it, and an answer that is long,
slow, compressed or from elsewhere ends the sign-in.  Of an answer only what a sign-in needs is
taken, and an error never has a token in it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2

from polycall._support import jsontext
from polycall._support.printable import printable_line
from polycall.errors import ToolServerError
from polycall.ir import JSON
from polycall.mcp.guard import guarded

_WITHIN_S = 30.0
_BYTES_MAX = 256 * 1024
_WORDS_MAX = 300
_LIFE_S_MAX = 10 * 366 * 86_400
_TOKEN = re.compile(r"[!-~]{1,16384}")  # what a header can hold
_ID = re.compile(r"[ -~]{1,4096}")
_REGISTERED = ("token_endpoint_auth_method", "grant_types", "client_secret_expires_at")


def check_address(address: str, server_url: str) -> None:
    """Raise where a sign-in must not go: from https to http, or with a user's name in front."""
    parts = urlsplit(address)
    shown = printable_line(f"{parts.scheme}://{parts.netloc}")[:_WORDS_MAX]
    if "@" in parts.netloc:
        raise ToolServerError(
            f"the sign-in leads to {shown!r}, which hides where it leads behind a user's name; "
            "that is not followed"
        )
    if parts.scheme != "https" and server_url.startswith("https://"):
        raise ToolServerError(
            f"the sign-in leads to {shown!r}, which is not https as the server is; that is not "
            "followed"
        )


async def exchanged(sent: httpx2.Request, server_url: str) -> httpx2.Response:
    """Send one request of the sign-in to the server at `server_url`; the answer, read whole."""
    check_address(str(sent.url), server_url)
    sent.headers["accept-encoding"] = "identity"
    place = _place(sent)
    try:
        async with (
            asyncio.timeout(_WITHIN_S),
            httpx2.AsyncClient(transport=guarded(server_url), timeout=_WITHIN_S) as http,
        ):
            response = await http.send(sent, stream=True)
            try:
                body = await _read(response, place)
            finally:
                await response.aclose()
    except TimeoutError:
        raise ToolServerError(f"{place} did not answer the sign-in in {_WITHIN_S:g} s") from None
    except httpx2.HTTPError as error:
        kind = type(error).__name__
        raise ToolServerError(f"{place} cannot be asked to sign in: {kind}: {error}") from None
    kind = response.headers.get("content-type", "")
    head = {"content-type": kind, "location": response.headers.get("location", "")}
    return httpx2.Response(response.status_code, headers=head, content=body, request=sent)


async def _read(response: httpx2.Response, place: str) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ToolServerError(
            f"{place} answered the sign-in compressed ({printable_line(encoding)[:40]}), though "
            "that was not asked for"
        )
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > _BYTES_MAX:
            raise ToolServerError(f"{place} answered the sign-in with over {_BYTES_MAX} bytes")
    return body


def refusal(response: httpx2.Response) -> ToolServerError:
    """The error for a refused request, without the values that we had sent."""
    words = f"HTTP status {response.status_code}"
    if response.is_redirect:
        location = printable_line(response.headers["location"].partition("?")[0])[:_WORDS_MAX]
        words += f", a redirect to {location!r}, which is not followed"
    found = _table(response)
    for name in ("error", "error_description"):
        told = found.get(name)
        if isinstance(told, str):
            for secret in sorted(_sent_values(response.request), key=len, reverse=True):
                told = told.replace(secret, "[redacted]")
            words += f", {printable_line(told)[:_WORDS_MAX]}"
    return ToolServerError(f"{_place(response.request)} refused the sign-in: {words}")


def taken_tokens(response: httpx2.Response) -> httpx2.Response:
    """An answer with tokens, as far as they can be used; `ToolServerError` where they cannot.

    A life that is no number of seconds, none or more than ten years says nothing: then the server
    decides when a token ends.
    """
    if response.status_code not in (200, 201):
        raise refusal(response)
    place, found = _place(response.request), _table(response)
    taken: JSON = {"token_type": "Bearer"}
    kind = found.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ToolServerError(f"{place} gave a token that is not of the type Bearer")
    for name in ("access_token", "refresh_token"):
        value = found.get(name)
        if name == "refresh_token" and value in (None, ""):
            continue
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise ToolServerError(
                f"{place} gave no {name} that can be used: 1 to 16,384 characters without spaces"
            )
        taken[name] = value
    life_s = _seconds(found.get("expires_in"))
    if 1 <= life_s <= _LIFE_S_MAX:
        taken["expires_in"] = int(life_s)
    scope = found.get("scope")
    if isinstance(scope, str) and _ID.fullmatch(scope):
        taken["scope"] = scope
    return httpx2.Response(200, json=taken, request=response.request)


def taken_registration(response: httpx2.Response, redirect_url: str) -> httpx2.Response:
    """An answer that registers us, as far as it can be used."""
    if response.status_code not in (200, 201):
        raise refusal(response)
    place, found = _place(response.request), _table(response)
    taken: JSON = {name: found[name] for name in _REGISTERED if name in found}
    for name in ("client_id", "client_secret"):
        value = found.get(name)
        if name == "client_secret" and value in (None, ""):
            continue
        if not isinstance(value, str) or not _ID.fullmatch(value):
            raise ToolServerError(f"{place} registered us without a {name} that can be used")
        taken[name] = value
    places = found.get("redirect_uris") or [redirect_url]
    if not isinstance(places, list) or redirect_url not in places:
        raise ToolServerError(
            f"{place} registered us with other addresses to come back to than {redirect_url}; "
            "that is not followed"
        )
    taken["redirect_uris"] = [redirect_url]
    return httpx2.Response(201, json=taken, request=response.request)


def _seconds(value: Any) -> float:
    try:
        return 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _table(response: httpx2.Response) -> JSON:
    try:
        found = jsontext.decode(response.content)
    except ValueError:
        return {}
    return cast("JSON", found) if isinstance(found, dict) else {}


def _sent_values(sent: httpx2.Request) -> Iterable[str]:
    """The values of a request that no error may show."""
    found = {value for _, value in parse_qsl(sent.content.decode("utf-8", "replace"))}
    basic = sent.headers.get("authorization", "").partition(" ")[2]
    try:
        secret = base64.b64decode(basic).decode("utf-8", "replace").partition(":")[2]
    except binascii.Error:
        secret = ""
    return [value for value in {*found, basic, secret, unquote(secret)} if len(value) >= 6]


def _place(sent: httpx2.Request) -> str:
    return f"{sent.url.scheme}://{sent.url.netloc.decode('ascii', 'replace')}"
