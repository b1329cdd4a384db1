"""What passes between a client and the gateway, for clients that say little of themselves."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """Listens at `port` and passes everything on to `target`; keeps what went either way."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._said, self._heard = bytearray(), bytearray()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def said(self) -> str:
        """By clients."""
        return self._said.decode("utf-8", "replace")

    @property
    def heard(self) -> str:
        """By clients, of the gateway."""
        return self._heard.decode("utf-8", "replace")

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            back = threading.Thread(target=self._pump, args=(far, near, self._heard), daemon=True)
            back.start()
            self._pump(near, far, self._said)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                kept.extend(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
