"""A server that is a program of ours: its environment, its last words, and when it ends."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from mcp import StdioServerParameters

from polycall._support.redactor import SECRET_LENGTH_MIN, Redactor
from polycall.mcp.servers import StdioServer
from polycall.mcp.stdio import stdio_transport

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, TransportStreams
    from mcp.shared.message import SessionMessage

logger = logging.getLogger("polycall.mcp")

_WORDS_MAX = 300
_LAST_WORDS_S = 0.3
# Besides those that the library hands on (PATH, HOME and the like): nothing here is a secret.
_INHERITED = (
    *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("PYTHONPATH", "PYTHONUTF8", "VIRTUAL_ENV", "NODE_PATH"),
)


class _Watched:
    """A program's messages; `on_end` is called when there are no more."""

    def __init__(
        self, inner: ReadStream[SessionMessage | Exception], on_end: Callable[[], None]
    ) -> None:
        self._inner = inner
        self._on_end = on_end

    async def receive(self) -> SessionMessage | Exception:
        return await self._inner.receive()

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await anext(self._inner)
        except StopAsyncIteration:
            self._on_end()
            raise

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        return await self._inner.__aexit__(exc_type, exc_val, exc_tb)


class Program(asyncio.Protocol):
    """Starts a server's program; `last_words` is the end of what it wrote on standard error.

    Its standard error is not ours: a notebook's, for one, is nothing that a program can have.
    """

    def __init__(self, server: StdioServer) -> None:
        self._server = server
        self._last = ""
        given = [value.encode() for value in server.env.values()]
        self._redactor = Redactor(each for each in given if len(each) >= SECRET_LENGTH_MIN)
        self._is_silent = asyncio.Event()

    @property
    def last_words(self) -> str:
        """In one line, without what could control a terminal."""
        line = " ".join(self._last.split())
        return "".join(letter if letter.isprintable() else "?" for letter in line)

    @asynccontextmanager
    async def started(self, on_end: Callable[[], None]) -> AsyncGenerator[TransportStreams]:
        """The program's messages and ours to it; `on_end` is called where it ends by itself."""
        command, *words = self._server.command
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        parameters = StdioServerParameters(
            command=command,
            args=words,
            env={**inherited, **self._server.env},
            cwd=self._server.cwd,
            encoding_error_handler="replace",
        )
        async with (
            self._heard() as errors,
            stdio_transport(parameters, errors, self._note_excess) as streams,
        ):
            errors.close()  # the program has it now, and its end is to be noticed
            reading, writing = streams
            yield _Watched(reading, on_end), writing

    def _note_excess(self, words: str) -> None:
        self._last = words

    def data_received(self, data: bytes) -> None:
        text = self._redactor.feed(data).decode("utf-8", "replace")
        if not text:
            return  # it may be the beginning of a secret
        self._last = (self._last + text)[-_WORDS_MAX:]
        logger.info("MCP server %r says: %s", self._server.name, text.rstrip())

    def connection_lost(self, exc: Exception | None) -> None:
        self._last = (self._last + self._redactor.close().decode("utf-8", "replace"))[-_WORDS_MAX:]
        self._is_silent.set()

    @asynccontextmanager
    async def _heard(self) -> AsyncGenerator[TextIO]:
        """A file for the program to write to."""
        reading, writing = os.pipe()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(reading, "rb", 0))
        try:
            with os.fdopen(writing, "w") as file:
                try:
                    yield file
                finally:
                    file.close()
                    # What it has started may live on, and hold the other end.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LAST_WORDS_S):
                            await self._is_silent.wait()
        finally:
            transport.close()
