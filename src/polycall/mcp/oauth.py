"""Signing in to servers by OAuth 2.1: where tokens lie, and how a person comes to the page."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from polycall._support import jsontext
from polycall._support.printable import printable_line
from polycall.errors import StoreError, ToolServerError
from polycall.mcp.guard import check_page
from polycall.mcp.kept_tokens import TokenKeeper
from polycall.mcp.sign_in import SecretSignIn, SignIn, needs_person
from polycall.mcp.token_requests import check_address

try:
    import fcntl
except ImportError:  # not on Windows, where processes that share a file may renew at once
    fcntl = None

_PAGE = b"<!doctype html><title>polycall</title><p>Done. You can close this page."
_OTHER_PAGE = b"<!doctype html><title>polycall</title><p>This is not what was waited for here."
_CALLBACK_S = 300.0
_READ_S = 10.0
_TURN_S = 0.05


class TokenStore(Protocol):
    """A store of tokens: `name` is a short word, the value text.  Keep it secret.

    One that several processes use has `alone()` too, an asynchronous context manager: held while
    tokens are renewed, by one at a time of all that use them, since old ones end.
    """

    async def load(self, name: str) -> str | None:
        """The saved value, if there is one."""
        ...

    async def save(self, name: str, value: str) -> None:
        """Keep it, in the place of an older one."""
        ...


class MemoryTokens:
    """Tokens for as long as the process lives."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._turn = asyncio.Lock()

    async def load(self, name: str) -> str | None:
        return self._values.get(name)

    async def save(self, name: str, value: str) -> None:
        self._values[name] = value

    def alone(self) -> AbstractAsyncContextManager[None]:
        return self._turn


class TokenFile:
    """Tokens in a file that only its owner can read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    async def load(self, name: str) -> str | None:
        return self._read().get(name)

    async def save(self, name: str, value: str) -> None:
        text = jsontext.encode({**self._read(), name: value})
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
            fresh.replace(self.path)
        except OSError as error:
            raise StoreError(f"the tokens cannot be written to {self.path}: {error}") from None

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            number = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"the tokens cannot be renewed at {self.path}: {error}") from None
        try:
            while True:
                if _is_locked(number):
                    break
                await asyncio.sleep(_TURN_S)
            yield
        finally:
            os.close(number)

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"the tokens cannot be read from {self.path}: {error}") from None


def _is_locked(number: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Shows a person the page where they say yes, and gives the address to which that led afterwards.
Authorize: TypeAlias = Callable[[str], Awaitable[str]]


def _learn_nothing(_: Iterable[str]) -> None:
    """Nobody keeps texts in which tokens could stand."""


@dataclass(frozen=True)
class OAuth:
    """The sign-in to one server.

    `authorize` brings a person to the page; without it, a server that wants one is an error that
    says so.  With `grant="client_credentials"` no person is needed, but `client_id` and
    `client_secret` are.  Without `client_id` the client registers itself.  `issuer` is the
    authorization server that knows the client: its secret goes to no other.  No more scopes than
    `scopes` are asked for, where it has any.  `learn` hears of each token: it must stand nowhere.
    """

    tokens: TokenStore = field(default_factory=MemoryTokens, repr=False)
    authorize: Authorize | None = None
    scopes: tuple[str, ...] = ()
    redirect_url: str = "http://127.0.0.1:8971/callback"
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    client_metadata_url: str = ""
    grant: str = "authorization_code"
    client_name: str = "polycall"
    issuer: str = ""
    learn: Callable[[Iterable[str]], None] = field(default=_learn_nothing, repr=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False, compare=False)

    def alone(self) -> AbstractAsyncContextManager[None]:
        """The store's turn to change tokens; one of this process where the store has none."""
        of_store = getattr(self.tokens, "alone", None)
        return self._turn if of_store is None else of_store()

    def auth(self, url: str) -> httpx2.Auth:
        """The authentication for the HTTP client of the server at `url`."""
        keeper = TokenKeeper(self, url)
        if self.grant == "client_credentials":
            return SecretSignIn.of(keeper)
        flow = _Flow(self.authorize, url)
        by_person = SignIn(
            server_url=url,
            client_metadata=OAuthClientMetadata.model_validate(
                {
                    "client_name": self.client_name,
                    "redirect_uris": [self.redirect_url],
                    "grant_types": ["authorization_code", "refresh_token"],
                    "response_types": ["code"],
                    "scope": " ".join(self.scopes) or None,
                }
            ),
            storage=keeper,
            redirect_handler=flow.redirect,
            callback_handler=flow.callback,
            client_metadata_url=self.client_metadata_url or None,
        )
        return by_person.keep_in(keeper)


class _Flow:
    """One person's way through the page and back."""

    def __init__(self, authorize: Authorize | None, url: str) -> None:
        self._authorize = authorize
        self._url = url
        self._state = ""
        self._answer = ""

    async def redirect(self, page: str) -> None:
        if self._authorize is None:
            raise needs_person(self._url)
        place, _, query = page.rpartition("?")  # the library writes one, whatever there is
        check_address(place, self._url)
        if "#" in place:
            raise ToolServerError(f"{place[:300]!r} is no page that can be asked to sign in")
        await check_page(self._url, place)
        self._state = _state_of(page)
        self._answer = await self._authorize(f"{place}{'&' if '?' in place else '?'}{query}")

    async def callback(self) -> AuthorizationCodeResult:
        if not _is_same(_state_of(self._answer), self._state):
            raise ToolServerError("what came back is not the answer to this sign-in (its state)")
        found = parse_qs(urlsplit(self._answer).query)
        if "code" not in found:
            why = printable_line(found.get("error", ["no code"])[0])[:200]
            raise ToolServerError(f"signing in failed: {why}")
        return AuthorizationCodeResult(
            code=found["code"][0],
            state=found["state"][0],
            iss=found.get("iss", [None])[0],
        )


def _state_of(address: str) -> str:
    return parse_qs(urlsplit(address).query).get("state", [""])[0]


def _is_same(state: str, ours: str) -> bool:
    return secrets.compare_digest(state.encode("utf-8", "replace"), ours.encode())


def authorize_here(
    show: Callable[[str], None], redirect_url: str = "http://127.0.0.1:8971/callback"
) -> Authorize:
    """Wait on this machine for the browser to come back; `show` brings the person to the page.

    Any page in the browser can come here: what does not have the sign-in's state is not it.
    """
    port = urlsplit(redirect_url).port or 80

    async def authorize(page: str) -> str:
        came: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        state = _state_of(page)

        def is_awaited(target: str) -> bool:
            is_callback = urlsplit(target).path == urlsplit(redirect_url).path
            return is_callback and _is_same(_state_of(target), state)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(_READ_S):
                    line = (await reader.readline()).decode("ascii").split(" ")
                target = line[1] if len(line) > 1 else ""
                is_it = is_awaited(target)
                status = b"200 OK" if is_it else b"404 Not Found"
                head = b"HTTP/1.1 " + status + b"\r\ncontent-type: text/html\r\n"
                page = _PAGE if is_it else _OTHER_PAGE
                writer.write(head + b"connection: close\r\n\r\n" + page)
                await writer.drain()
                if is_it and not came.done():
                    came.set_result(target)
            except (OSError, TimeoutError, ValueError):
                return  # of no browser that comes back
            finally:
                writer.close()

        try:
            server = await asyncio.start_server(answer, "127.0.0.1", port, limit=16_384)
        except OSError as error:
            raise ToolServerError(
                f"the browser cannot come back to port {port} of this machine ({error.strerror}); "
                "maybe another sign-in waits there: end it, or use another port"
            ) from None
        async with server:
            show(page)
            try:
                async with asyncio.timeout(_CALLBACK_S):
                    return await came
            except TimeoutError:
                raise ToolServerError(
                    f"nobody signed in within {_CALLBACK_S:g} s; start again"
                ) from None

    return authorize
