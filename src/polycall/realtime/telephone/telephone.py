"""A telephone: an agent that answers calls, without a word of HTTP.

`answer` takes Twilio's signed requests, `refuses_media` and `media` its streams.  `server.py` puts
them behind addresses; a test calls them as they are.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from polycall.agents import Agent, Guarded
from polycall.agents.approval_backend import Approve
from polycall.config.secret_source import read_secret
from polycall.errors import PolycallError, RequestError
from polycall.realtime.played import PlayedTime
from polycall.realtime.talk import Talk
from polycall.realtime.telephone import twilio
from polycall.realtime.telephone.call import DigitsMode, OnEvent, PhoneCall
from polycall.realtime.telephone.tokens import CallDetails, CallTokens
from polycall.voices.audio import PCMU
from polycall.voices.capabilities import Voice
from polycall.voices.connection import (
    ConnectionClosedError,
    Connector,
    Socket,
    connect_websocket,
)

START_S = 5.0
_WAITING_MORE = 16  # streams that have not begun, beyond those that may
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

log = logging.getLogger(__name__)


class Telephone:
    """Lets an agent answer telephone calls that come by Twilio's Media Streams.

    `public_url` is the address by which Twilio reaches this machine, https and without a path of
    its own; `auth_token` the account's, or where it is: `env:NAME`, `file:PATH`.  Each call is a
    `Talk` of its own, for at most `call_s_max` seconds and `cost_max` US dollars; the call after
    `calls_max` hears the busy tone.  `digits` are `"event"`, which the model reads as they come,
    or wait for a `"tool"` (`digits_tool`).  `greeting` is said first.  `on_event` sees each event
    of each call, with its `PhoneCall`; what it raises ends that call.  `media_url` is this
    process's own address for streams where several answer at `public_url`.  Raises
    `RequestError` for what no call could do.
    """

    def __init__(
        self,
        agent: Agent[Any, Any] | Guarded[Any],
        *,
        voice: str,
        public_url: str,
        auth_token: str = "env:TWILIO_AUTH_TOKEN",  # noqa: S107 - where it is
        media_url: str = "",
        calls_max: int = 50,
        call_s_max: float = 1800.0,
        cost_max: Decimal | float | None = None,
        digits: DigitsMode = "event",
        greeting: str = "",
        speaker: str = "",
        approve: Approve | Literal["voice"] | None = "voice",
        deps: Any = None,
        variables: dict[str, Any] | None = None,
        capabilities: Voice | None = None,
        on_event: OnEvent | None = None,
        connect: Connector = connect_websocket,
    ) -> None:
        if calls_max < 1 or call_s_max <= 0:
            raise RequestError(
                f"calls_max and call_s_max are positive, not {calls_max!r} and {call_s_max!r}"
            )
        if digits not in ("event", "tool"):
            raise RequestError(f"digits is 'event' or 'tool', not {digits!r}")
        self._public_url = _checked(public_url, "public_url", "https")
        default = "ws" + self._public_url.removeprefix("http") + "/media"
        self._media_url = _checked(media_url or default, "media_url", "wss")
        self._auth_token = _secret(auth_token)
        self._calls_max = calls_max
        self._digits: DigitsMode = digits
        self._greeting = greeting
        self._on_event = on_event
        self._agent = agent
        self._options: dict[str, Any] = {
            "voice": voice,
            "speaker": speaker,
            "approve": approve,
            "deps": deps,
            "variables": variables,
            "cost_max": cost_max,
            "talk_s_max": call_s_max,
            "capabilities": capabilities,
            "connect": connect,
        }
        self._make_talk(None)  # what no call could do is refused now
        self._tokens: CallTokens | None = None
        self._waiting = 0
        self._count = 0
        self._calls: dict[PhoneCall, None] = {}
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.is_draining = False

    @property
    def calls(self) -> list[PhoneCall]:
        """The calls that go on."""
        return list(self._calls)

    def answer(self, target: str, headers: Mapping[str, str], form: twilio.Form) -> tuple[int, str]:
        """The status and the body for a POST of Twilio's; `headers` have names in small letters.

        `target` is path and query, as they came.  An unsigned request gets 403, and nothing else.
        """
        if not self._is_signed(self._public_url + target, headers, form):
            log.warning("a request without a valid signature was refused")
            return 403, ""
        path = urlsplit(target).path
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
        return 200, twilio.stream_twiml(
            self._media_url, {"token": token}, status_url=self._public_url + "/status"
        )

    def refuses_media(self, target: str, headers: Mapping[str, str]) -> int:
        """The status that refuses a WebSocket, or 0: its stream may begin."""
        split = urlsplit(target)
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
        now_s = asyncio.get_running_loop().time
        call = PhoneCall(self._count, details, socket, start, digits=self._digits, now_s=now_s)
        await self._serve(call)

    async def drain(self, wait_s: float = 30.0) -> None:
        """Take no new call, wait for those that go on, and end what is left after `wait_s`."""
        self.is_draining = True
        try:
            async with asyncio.timeout(wait_s):
                await self._is_idle.wait()
        except TimeoutError:
            for call in self.calls:
                call.hang_up("drain")
            await self._is_idle.wait()

    def serve(self, *, host: str = "127.0.0.1", port: int = 8080, drain_s: float = 30.0) -> None:
        """Answer calls until SIGTERM or Ctrl-C, then let those that go on end."""
        from polycall.realtime.telephone.server import serve  # noqa: PLC0415 - loads aiohttp

        asyncio.run(serve(self, host=host, port=port, drain_s=drain_s))

    @property
    def _issued(self) -> CallTokens:
        if self._tokens is None:
            self._tokens = CallTokens(lambda: asyncio.get_running_loop().time(), self._calls_max)
        return self._tokens

    async def _start(self, socket: Socket) -> tuple[twilio.Start, CallDetails] | None:
        """Read up to a valid `start`; `None` for one that is not, or sound before it."""
        while True:
            frame = twilio.parse_frame(await socket.receive())
            match frame:
                case twilio.Ignored("connected"):
                    continue
                case twilio.Start(_, call_id, parameters) if not self.is_draining:
                    details = self._issued.redeem(parameters.get("token", ""), call_id)
                    if details is not None:
                        return frame, details
                    log.warning("a stream with an invalid token was refused")
                    return None
                case _:
                    log.warning("a stream that did not begin with start was refused")
                    return None

    async def _serve(self, call: PhoneCall) -> None:
        """One call; whatever happens in it stays in it."""
        self._calls[call] = None
        self._is_idle.clear()
        log.info("call %d begins", call.number)
        try:
            talk = self._make_talk(call.outbound)
            await call.hold(talk, self._on_event, self._greeting)
            run = talk.run
            log.info(
                "call %d ended: %s, %s after %.0f s, cost %s USD",
                call.number,
                call.ended_by,
                run.reason,
                run.duration_s,
                "?" if run.cost is None else run.cost,
            )
        except PolycallError as error:
            log.error("call %d failed: %s", call.number, type(error).__name__)  # noqa: TRY400
        except Exception as error:  # noqa: BLE001 - the other calls go on
            # What an error of a tool or a library says may hold what the caller said.
            place = _place(error)
            log.error("call %d failed: %s at %s", call.number, type(error).__name__, place)  # noqa: TRY400
        finally:
            await call.close()
            del self._calls[call]
            if not self._calls:
                self._is_idle.set()

    def _make_talk(self, played: PlayedTime | None) -> Talk:
        return Talk(self._agent, sound=PCMU, played=played, **self._options)

    def _is_full(self) -> bool:
        return self.is_draining or len(self._calls) + len(self._issued) >= self._calls_max

    def _is_signed(self, url: str, headers: Mapping[str, str], form: twilio.Form) -> bool:
        found = headers.get(twilio.SIGNATURE_HEADER, "")
        return twilio.is_signed(self._auth_token, found, twilio.with_and_without_port(url), form)


def _place(error: BaseException) -> str:
    """Where an error was raised, without what it says."""
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
