"""The messages of a program over its standard input and output, each line with a bound.

The `mcp` package has such a transport, whose lines have none: a program that writes one without an
end takes all memory, and more time with each piece.  Starting a program and ending it, with all
that it has started, is the package's; reading is done here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TextIO

import anyio
import anyio.lowlevel
import mcp_types as types
from mcp import StdioServerParameters
from mcp.client import stdio
from mcp.shared.message import SessionMessage

from polycall._support.json_weight import JSONWeight
from polycall.mcp.answer_body import OBJECTS_MAX, VALUES_MAX
from polycall.mcp.messages import read_message
from polycall.mcp.watched_streams import Message

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.client._transport import TransportStreams
    from mcp.os.win32.utilities import ServerProcess

logger = logging.getLogger("polycall.mcp")

LINE_BYTES_MAX = 8 * 1024 * 1024  # of one message, as over HTTP
_HEAD = 300
_ID = rb'"id"\s*:\s*(\d{1,18}|"[^"\\]{1,100}")\s*'
_ANSWERS = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID + rb',\s*"(?:result|error)"'
)
_ANSWERED = re.compile(rb"," + rb"\s*" + _ID + rb"\}\s*$")
_FLUSH_S = 0.5  # for what was accepted to be written before the program's input closes
_LOST = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError)


class _Lines:
    """Whole lines out of pieces; a piece is looked at once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are whole with this piece; `ValueError` where one is too long."""
        first, *rest = piece.split(b"\n")
        self._pieces.append(first)
        self._size += len(first)
        if self._size > LINE_BYTES_MAX:
            raise ValueError(f"it wrote a line of more than {LINE_BYTES_MAX} bytes")
        if not rest:
            return []
        lines = [b"".join(self._pieces), *rest[:-1]]
        self._pieces, self._size = [rest[-1]], len(rest[-1])
        return lines


@asynccontextmanager
async def stdio_transport(
    parameters: StdioServerParameters, errors: TextIO, on_excess: Callable[[str], None]
) -> AsyncGenerator[TransportStreams]:
    """Start the program; its messages and ours to it.

    `on_excess` is called with words before the messages end because of a line that is too long.
    Raises `OSError` where the program cannot be started.
    """
    command = await stdio._get_executable_command(parameters.command)  # pyright: ignore[reportPrivateUsage]
    environment = stdio.get_default_environment() | (parameters.env or {})
    process = await stdio._create_platform_compatible_process(  # pyright: ignore[reportPrivateUsage]
        command, parameters.args, environment, errors, parameters.cwd
    )
    # No await until the task group: a cancellation in between would leave the program running.
    given, reading = anyio.create_memory_object_stream[Message](0)
    writing, taken = anyio.create_memory_object_stream[SessionMessage](0)
    written = anyio.Event()

    async def write() -> None:
        try:
            await _write(process, taken)
        finally:
            await given.aclose()  # what waits for an answer to it learns that none comes
            written.set()

    async with anyio.create_task_group() as group:
        group.start_soon(_read, process, given, on_excess)
        group.start_soon(write)
        try:
            yield reading, writing
        finally:
            with anyio.CancelScope(shield=True):
                # A program that is stuck writing reads nothing: its output is drained first.
                reading.close()
                writing.close()
                with anyio.move_on_after(_FLUSH_S):
                    await written.wait()
                await stdio._stop_server_process(process)  # pyright: ignore[reportPrivateUsage]
                for stream in (reading, writing, given, taken):
                    await stream.aclose()
            group.cancel_scope.cancel()


async def _read(
    process: ServerProcess,
    given: MemoryObjectSendStream[Message],
    on_excess: Callable[[str], None],
) -> None:
    assert process.stdout is not None
    lines = _Lines()
    async with given:
        try:
            async for piece in process.stdout:
                for line in lines.feed(piece):
                    await given.send(await _message(line))
        except ValueError as error:
            logger.warning("%s", error)
            on_excess(str(error))
        except _LOST:
            pass  # the program or the session has ended
    await stdio._drain_stdout(process)  # pyright: ignore[reportPrivateUsage]


async def _write(process: ServerProcess, taken: MemoryObjectReceiveStream[SessionMessage]) -> None:
    assert process.stdin is not None
    try:
        async with taken:
            async for message in taken:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")
    except _LOST:
        pass  # the program takes no more


async def _message(line: bytes) -> Message:
    try:
        for _ in JSONWeight(VALUES_MAX, OBJECTS_MAX).steps(line):
            await anyio.lowlevel.checkpoint()
        return SessionMessage(
            read_message(line if line.isascii() else line.decode("utf-8", "replace"))
        )
    except ValueError as error:
        # A caller that waits for this answer must not wait for its deadline.
        return _unreadable(line, error) or error


def _unreadable(line: bytes, error: ValueError) -> Message | None:
    """The failure of the request that a line answers, as far as its beginning or end says which."""
    found = _ANSWERS.match(line[:_HEAD]) or _ANSWERED.search(line[-_HEAD:])
    if found is None:
        return None
    name = found[1].decode("utf-8", "replace")
    words = f"its answer cannot be read: {str(error)[:300]}"
    failure = types.ErrorData(code=types.PARSE_ERROR, message=words)
    answer = types.JSONRPCError(
        jsonrpc="2.0", id=name[1:-1] if name.startswith('"') else int(name), error=failure
    )
    return SessionMessage(answer)
