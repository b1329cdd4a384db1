"""Calls that begin by Twilio's signed requests: their checks, their tokens and their ends.

`answer` takes the requests, `refuses_media` and `media` the streams, without a word of HTTP.  What
a call is, is a subclass's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from polycall._support.urls import parts_of
from polycall.config.secret_source import read_secret
from polycall.errors import PolycallError, RequestError
from polycall.realtime.telephone import twilio
from polycall.realtime.telephone.tokens import CallDetails, CallTokens
from polycall.voices.connection import ConnectionClosedError, Socket

START_S = 5.0
_WAITING_MORE = 16  # streams that have not begun, beyond those that may
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

log = logging.getLogger("polycall.realtime.telephone.telephone")


class AnyCall(Protocol):
    """A call that continues, whatever carries it."""

    number: int
    ended_by: str

    def hang_up(self, reason: str = "talk") -> None:
        """End it."""
        ...

    async def close(self) -> None:
        """Close its stream."""
        ...


class SignedCalls:
    """Calls that Twilio has announced, signed; each has earned its token."""

    def __init__(self, *, public_url: str, auth_token: str, media_url: str, calls_max: int) -> None:
        if calls_max < 1:
            raise RequestError(f"calls_max is positive, not {calls_max!r}")
        self._public_url = _checked(public_url, "public_url", "https")
        default = "ws" + self._public_url.removeprefix("http") + "/media"
        self._media_url = _checked(media_url or default, "media_url", "wss")
        self._auth_token = _secret(auth_token)
        self._calls_max = calls_max
        self._tokens: CallTokens | None = None
        self._waiting = 0
        self._count = 0
        self._calls: dict[AnyCall, None] = {}
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.is_draining = False

    def _twiml(self, parameters: dict[str, str]) -> str:
        """The TwiML that connects a call with its stream."""
        raise NotImplementedError

    def _start_of(self, frame: str | bytes) -> tuple[Any, str, dict[str, str]] | None:
        """The start that a frame is, its call and its parameters; `None` for what comes before.

        `MalformedFrameError` for anything else.
        """
        raise NotImplementedError

    def _made(self, details: CallDetails, socket: Socket, start: Any) -> AnyCall:
        """The call of a stream that has begun."""
        raise NotImplementedError

    async def _held(self, call: Any) -> str:
        """Hold the call to its end; what the log says of it."""
        raise NotImplementedError

    @property
    def calls_count(self) -> int:
        """The number of open calls."""
        return len(self._calls)

    def answer(self, target: str, headers: Mapping[str, str], form: twilio.Form) -> tuple[int, str]:
        """The status and the body for a POST of Twilio's; `headers` have names in small letters.

        `target` is path and query, as they came.  An unsigned request gets 403, and nothing else.
        """
        if not self._is_signed(self._public_url + target, headers, form):
            log.warning("a request without a valid signature was refused")
            return 403, ""
        path = parts_of(target).path
        fields = dict(form)
        if path == "/status":
            if fields.get("StreamEvent") == "stream-error":
                log.warning("a stream failed: %.200s", fields.get("StreamError", ""))
            return 204, ""
        if path != "/voice":
            return 404, ""
        call_id = fields.get("CallSid", "")
        if not call_id or self._issued.was_used(call_id):
            log.warning("a request for a call that has begun already was refused")
            return 403, ""
        details = CallDetails(call_id, fields.get("From", ""), fields.get("To", ""))
        token = None if self._is_full() else self._issued.issue(details)
        if token is None:
            log.warning("a call was refused: %s", "draining" if self.is_draining else "busy")
            return 200, twilio.busy_twiml()
        return 200, self._twiml({"token": token})

    def refuses_media(self, target: str, headers: Mapping[str, str]) -> int:
        """The status that refuses a WebSocket, or 0: its stream may begin."""
        split = parts_of(target)
        if split.path != urlsplit(self._media_url).path or split.query:
            return 404
        if not self._is_signed(self._media_url, headers, ()):
            log.warning("a stream without a valid signature was refused")
            return 403
        if self.is_draining or self._waiting >= self._calls_max + _WAITING_MORE:
            return 503
        return 0

    async def media(self, socket: Socket) -> None:
        """Serve one stream to its end.  No voice is reached before its `start` was found valid."""
        self._waiting += 1
        try:
            async with asyncio.timeout(START_S):
                begun = await self._start(socket)
        except (TimeoutError, ConnectionClosedError, twilio.MalformedFrameError) as error:
            log.warning("a stream did not begin: %s", type(error).__name__)
            begun = None
        finally:
            self._waiting -= 1
        if begun is None:
            await socket.close()
            return
        start, details = begun
        self._count += 1
        await self._serve(self._made(details, socket, start))

    async def drain(self, wait_s: float = 30.0) -> None:
        """Take no new call, wait for those that continue, and end what is left after `wait_s`."""
        self.is_draining = True
        try:
            async with asyncio.timeout(wait_s):
                await self._is_idle.wait()
        except TimeoutError:
            for call in list(self._calls):
                call.hang_up("drain")
            await self._is_idle.wait()

    def serve(self, *, host: str = "127.0.0.1", port: int = 8080, drain_s: float = 30.0) -> None:
        """Answer calls until SIGTERM or Ctrl-C, then let those that continue end."""
        from polycall.realtime.telephone.server import serve  # noqa: PLC0415 - loads aiohttp

        asyncio.run(serve(self, host=host, port=port, drain_s=drain_s))

    @property
    def _issued(self) -> CallTokens:
        if self._tokens is None:
            self._tokens = CallTokens(lambda: asyncio.get_running_loop().time(), self._calls_max)
        return self._tokens

    async def _start(self, socket: Socket) -> tuple[Any, CallDetails] | None:
        """Read up to a valid start; `None` for one that is not, or anything before it."""
        while (found := self._start_of(await socket.receive())) is None:
            pass
        start, call_id, parameters = found
        details = self._issued.redeem(parameters.get("token", ""), call_id)
        if details is None or self.is_draining:
            log.warning("a stream with an invalid token was refused")
            return None
        return start, details

    async def _serve(self, call: AnyCall) -> None:
        """One call; whatever happens in it stays in it."""
        self._calls[call] = None
        self._is_idle.clear()
        log.info("call %d begins", call.number)
        try:
            how = await self._held(call)
            log.info("call %d ended: %s, %s", call.number, call.ended_by, how)
        except PolycallError as error:
            log.error("call %d failed: %s", call.number, type(error).__name__)  # noqa: TRY400
        except Exception as error:  # noqa: BLE001 - the other calls continue
            # What an error of a tool or a library says may hold what the caller said.
            place = _place(error)
            log.error("call %d failed: %s at %s", call.number, type(error).__name__, place)  # noqa: TRY400
        finally:
            await call.close()
            del self._calls[call]
            if not self._calls:
                self._is_idle.set()

    def _is_full(self) -> bool:
        return self.is_draining or len(self._calls) + len(self._issued) >= self._calls_max

    def _is_signed(self, url: str, headers: Mapping[str, str], form: twilio.Form) -> bool:
        found = headers.get(twilio.SIGNATURE_HEADER, "")
        return twilio.is_signed(self._auth_token, found, twilio.with_and_without_port(url), form)


def _place(error: BaseException) -> str:
    """The place where an error was raised, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _secret(source: str) -> str:
    try:
        return read_secret(source, os.environ, Path.cwd())
    except ValueError as error:
        raise RequestError(
            f"auth_token: {error}; it is the account's, at Twilio's console"
        ) from None


def _checked(url: str, name: str, scheme: str) -> str:
    """An address that Twilio can reach safely; one on the loopback may do without TLS."""
    split = urlsplit(url)
    is_local = split.hostname in _LOOPBACK and split.scheme == scheme.rstrip("s")
    if not split.hostname or split.query or split.fragment or split.username:
        raise RequestError(f"{name} is such as '{scheme}://bell.example.com', not {url!r}")
    if split.scheme != scheme and not is_local:
        raise RequestError(f"{name} begins with '{scheme}://', not {url!r}: keys are sent there")
    return url.rstrip("/")


def read_form(body: str) -> list[tuple[str, str]]:
    """The fields of a form; `ValueError` where it has too many."""
    return parse_qsl(body, keep_blank_values=True, max_num_fields=100)
