"""A resource and its authorization server on one port, which say what a test has them say."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from polycall.mcp import MemoryTokens, OAuth

RESOURCE = "/.well-known/oauth-protected-resource/mcp"
SERVER = "/.well-known/oauth-authorization-server"
REDIRECT = "http://127.0.0.1:8971/callback"


class SentRequest(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body).items()}


class Party:
    """What is asked of it, and what it answers; `answers` go before what an honest one says.

    An answer is a table, `(status, head, body)`, or a coroutine that gives one.
    """

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[SentRequest] = []
        self.answers: dict[str, Any] = {}
        self.good: set[str] = set()  # the tokens that it takes
        self.challenge = ""
        self.made = 0
        self.client: dict[str, Any] = {"client_id": "c1"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mcp(self) -> str:
        return f"{self.url}/mcp"

    def paths(self) -> list[str]:
        return [each.path for each in self.asked]

    def of(self, path: str) -> list[SentRequest]:
        return [each for each in self.asked if each.path == path]

    def metadata(self, **more: Any) -> dict[str, Any]:
        found = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **more,
        }
        return {name: value for name, value in found.items() if value is not None}

    def resource(self, **more: Any) -> dict[str, Any]:
        return {"resource": self.mcp, "authorization_servers": [self.url], **more}

    def tokens(self, **more: Any) -> dict[str, Any]:
        self.made += 1
        found = {
            "access_token": f"access-{self.made}",
            "refresh_token": f"refresh-{self.made}",
            "token_type": "Bearer",
            "expires_in": 3600,
            **more,
        }
        token = found["access_token"]
        if isinstance(token, str) and token:
            self.good.add(token)
        return {name: value for name, value in found.items() if value is not None}

    def _honest(self, asked: SentRequest) -> Any:
        match asked.path:
            case "/mcp":
                token = asked.headers.get("authorization", "").removeprefix("Bearer ")
                if token in self.good:
                    return {"token": token}
                return 401, {"www-authenticate": f"Bearer {self.challenge}"}, ""
            case path if path == RESOURCE:
                return self.resource()
            case path if path == SERVER:
                return self.metadata()
            case "/register":
                return {**json.loads(asked.body), **self.client}
            case "/token":
                return self.tokens()
            case _:
                return 404, {}, ""

    async def _found(self, asked: SentRequest) -> tuple[int, dict[str, str], bytes]:
        found: Any = self.answers.get(urlsplit(asked.path).path, self._honest)
        if callable(found):
            found = found(asked)
        if inspect.isawaitable(found):
            found = await found
        if isinstance(found, dict):
            return 200, {"content-type": "application/json"}, json.dumps(found).encode()
        status, more, text = found
        return status, more, text if isinstance(text, bytes) else text.encode()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            pairs = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = SentRequest(method, target, headers, body.decode())
            self.asked.append(asked)
            status, more, data = await self._found(asked)
            lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in more.items())]
            lines += [f"content-length: {len(data)}", "connection: close", "", ""]
            writer.write("\r\n".join(lines).encode("latin-1") + data)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # who asked has left
        finally:
            writer.close()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Party]:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self


class Person:
    """Says yes at each page, and comes back with what an honest server would send along."""

    def __init__(self, issuer: str = "") -> None:
        self.pages: list[str] = []
        self.issuer = issuer
        self.more: dict[str, str] = {}

    async def __call__(self, page: str) -> str:
        self.pages.append(page)
        state = parse_qs(urlsplit(page).query)["state"][0]
        back = {"code": "code-1", "state": state, "iss": self.issuer, **self.more}
        found = {name: value for name, value in back.items() if value}
        return f"{REDIRECT}?{urlencode(found)}"

    @property
    def asked(self) -> dict[str, str]:
        """The query of the last page."""
        found = parse_qs(urlsplit(self.pages[-1]).query)
        return {name: values[0] for name, values in found.items()}


def client_of(url: str, oauth: OAuth) -> httpx2.AsyncClient:
    """What sends the requests of a server's connection."""
    return httpx2.AsyncClient(auth=oauth.auth(url), headers={"x-secret": "of-the-server"})


def oauth_of(person: Person | None, **options: Any) -> OAuth:
    options.setdefault("tokens", MemoryTokens())
    return OAuth(authorize=person, redirect_url=REDIRECT, **options)
