"""The line of a simulated caller to a telephone: by HTTP and WebSocket, as Twilio does."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from polycall.sim.realtime.link import Link, WebLink

_FRAME_BYTES_MAX = 16 * 2**20


class LineRefusedError(Exception):
    """The telephone has answered a WebSocket with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the telephone refused the stream with HTTP {status}")
        self.status = status


class Line(Protocol):
    """A line that connects a caller with a telephone."""

    async def post(
        self, url: str, form: dict[str, str], headers: dict[str, str]
    ) -> tuple[int, str]:
        """Post a form; the status and the body."""
        ...

    async def connect(self, url: str, headers: dict[str, str]) -> Link:
        """Open a WebSocket; `LineRefusedError` where the telephone does not want it."""
        ...

    async def close(self) -> None:
        """Leave nothing open."""
        ...


class WebLine:
    """Reaches the public addresses of a telephone at another one, such as a port of the loopback.

    `at` is `host:port`; the addresses that are signed stay the public ones.
    """

    def __init__(self, at: str) -> None:
        self._at = at
        self._session: Any = None

    async def post(
        self, url: str, form: dict[str, str], headers: dict[str, str]
    ) -> tuple[int, str]:
        session = await self._opened()
        async with session.post(self._local(url, "http"), data=form, headers=headers) as response:
            return response.status, await response.text()

    async def connect(self, url: str, headers: dict[str, str]) -> Link:
        import aiohttp  # noqa: PLC0415 - only what connects needs it

        session = await self._opened()
        try:
            inner = await session.ws_connect(
                self._local(url, "ws"), headers=headers, max_msg_size=_FRAME_BYTES_MAX
            )
        except aiohttp.WSServerHandshakeError as error:
            raise LineRefusedError(error.status) from None

        def abort() -> None:  # as when a machine is gone
            response = inner._response  # there is no public way to be rude
            if response.connection is not None:
                response.connection.transport.abort()

        return WebLink(inner, abort)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _opened(self) -> Any:
        if self._session is None:
            import aiohttp  # noqa: PLC0415

            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._session

    def _local(self, url: str, scheme: str) -> str:
        split = urlsplit(url)
        return urlunsplit((scheme, self._at, split.path, split.query, ""))
