"""The library's way to a server over HTTP, with messages that are read once (`messages.py`).

The library also writes each event out for a log, whether anybody keeps that or not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx2
import mcp_types as types
from mcp.client.streamable_http import RequestContext, StreamableHTTPTransport, StreamWriter
from mcp.shared._context_streams import create_context_streams
from mcp.shared._httpx_utils import sse_within_origin
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params
from mcp.shared.message import SessionMessage

from polycall.errors import ToolServerError
from polycall.mcp.answer_body import ANSWER_BYTES_MAX
from polycall.mcp.messages import read_message

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams


_FIRST = ("initialize", "server/discover")
_FAILURES_MAX = 3  # in a row
_PAUSE_MS = 1_000  # where the server says nothing of it
_PAUSE_MS_MAX = 600_000
_AT_ONCE_S = 5.0  # one that was open for longer may have ended for its silence
_CANCELLED = "notifications/cancelled"


class StreamEndedError(ToolServerError):
    """A server's answer to one request broke off; others continue."""


class HttpTransport(StreamableHTTPTransport):
    """The library's, whose messages are read once, and requests' streams on for as long as need be.

    A server may end a request's stream and have it asked for again, as often as it likes, while a
    call takes hours, but for streams that end at once and say nothing; and nothing of a call that
    was cancelled is read.  The library goes one call deeper with each time, and reads again what it
    had read; here it is a loop, at the pace of `comebacks.py`.  Where a sign-in fails, the request
    that needed it fails, and no other.
    """

    async def _handle_post_request(self, ctx: RequestContext) -> None:
        asked = ctx.session_message.message
        try:
            await super()._handle_post_request(ctx)
        except ToolServerError as error:
            if not isinstance(asked, types.JSONRPCRequest) or asked.method in _FIRST:
                raise  # there is no connection yet
            await self._resolve_abandoned_request(
                ctx.read_stream_writer, asked.id, str(error), code=types.INVALID_REQUEST
            )
        finally:
            if isinstance(asked, types.JSONRPCNotification) and asked.method == _CANCELLED:
                self._leave(cancelled_request_id_from_params(asked.params))

    def _leave(self, request_id: types.RequestId | None) -> None:
        """Read no more of a request's stream, which nobody waits for: it might never end."""
        left = None if request_id is None else self._in_flight_posts.get(request_id)
        if left is not None:
            left.scope.cancel()

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

    async def _handle_reconnection(
        self,
        ctx: RequestContext,
        last_event_id: str,
        retry_interval_ms: int | None = None,
        attempt: int = 0,
    ) -> None:
        """Read on where the stream ended, until the answer is there."""
        asked = ctx.session_message.message
        assert isinstance(asked, types.JSONRPCRequest)
        heard = None if ctx.metadata is None else ctx.metadata.on_resumption_token_update
        why = ""
        while attempt < _FAILURES_MAX:
            pause_ms = _PAUSE_MS if retry_interval_ms is None else retry_interval_ms
            await asyncio.sleep(min(pause_ms, _PAUSE_MS_MAX) / 1000)
            headers = {**self._prepare_headers(), "last-event-id": last_event_id}
            opened_at, is_silent = time.monotonic(), True
            try:
                async with sse_within_origin(
                    ctx.client, self.url, headers=headers, max_event_size=self.max_sse_event_size
                ) as events:
                    events.response.raise_for_status()
                    async for event in events:
                        last_event_id, is_silent = event.id or last_event_id, False
                        if event.retry is not None:
                            retry_interval_ms = event.retry
                        if await self._handle_sse_event(
                            event, ctx.read_stream_writer, asked.id, heard
                        ):
                            await events.response.aclose()
                            return
                if is_silent and time.monotonic() - opened_at < _AT_ONCE_S:
                    attempt, why = attempt + 1, "it ends at once"
                else:
                    attempt = 0
            except (httpx2.HTTPError, httpx2.SSEError) as error:
                attempt += 1
                why = f"{type(error).__name__}: {error}"
        await self._resolve_abandoned_request(
            ctx.read_stream_writer,
            asked.id,
            f"its stream ended without an answer, and cannot be read on: {why}",
        )


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
