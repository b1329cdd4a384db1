"""WebSockets as uvicorn speaks them, which end their answers before the gateway ends."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class DrainedProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def shutdown(self) -> None:
        """Tell the application that the server ends; it closes once its answers are whole."""
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.drain"})  # pyright: ignore[reportArgumentType]
        else:
            super().shutdown()
