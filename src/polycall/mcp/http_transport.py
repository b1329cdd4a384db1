"""The library's way to a server over HTTP, with messages that are read once (`messages.py`).

The library also writes each event out for a log, whether anybody keeps that or not.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx2
import mcp_types as types
from mcp.client.streamable_http import StreamableHTTPTransport, StreamWriter
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import SessionMessage

from polycall.mcp.answer_body import ANSWER_BYTES_MAX
from polycall.mcp.messages import read_message

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams


class HttpTransport(StreamableHTTPTransport):
    """The library's, whose messages are read once."""

    async def _handle_json_response(
        self,
        response: httpx2.Response,
        read_stream_writer: StreamWriter,
        *,
        request_id: types.RequestId,
    ) -> None:
        try:
            message = read_message(await response.aread())
        except (httpx2.StreamError, ValueError) as error:
            message = _unreadable(request_id, error)
        await read_stream_writer.send(SessionMessage(message))

    async def _handle_sse_event(
        self,
        sse: httpx2.ServerSentEvent,
        read_stream_writer: StreamWriter,
        original_request_id: types.RequestId | None = None,
        resumption_callback: Callable[[str], Awaitable[None]] | None = None,
    ) -> bool:
        """Whether the event answers the request whose stream it came on."""
        if sse.event != "message":
            return False
        message: types.JSONRPCMessage | None = None
        if sse.data:  # else it only says where the stream can be resumed
            try:
                message = read_message(sse.data)
            except ValueError as error:
                if original_request_id is None:
                    await read_stream_writer.send(error)
                    return False
                message = _unreadable(original_request_id, error)
        is_answer = isinstance(message, types.JSONRPCResponse | types.JSONRPCError)
        if message is not None:
            if is_answer and original_request_id is not None:
                message.id = original_request_id
            await read_stream_writer.send(SessionMessage(message))
        if sse.id and resumption_callback is not None:
            await resumption_callback(sse.id)
        return is_answer


def _unreadable(request_id: types.RequestId, error: Exception) -> types.JSONRPCError:
    words = f"its answer cannot be read: {str(error)[:300]}"
    failure = types.ErrorData(code=types.PARSE_ERROR, message=words)
    return types.JSONRPCError(jsonrpc="2.0", id=request_id, error=failure)


@asynccontextmanager
async def http_transport(url: str, client: httpx2.AsyncClient) -> AsyncGenerator[TransportStreams]:
    """The server's messages and ours to it."""
    transport = HttpTransport(url, max_sse_event_size=ANSWER_BYTES_MAX)
    given, reading = create_context_streams[SessionMessage | Exception](0)
    writing, taken = create_context_streams[SessionMessage](0)
    async with given, reading, writing, taken, anyio.create_task_group() as group:

        def listen() -> None:
            group.start_soon(transport.handle_get_stream, client, given)

        group.start_soon(transport.post_writer, client, taken, given, writing, listen, group)
        try:
            yield reading, writing
        finally:
            if transport.session_id:
                await transport.terminate_session(client)
            group.cancel_scope.cancel()
