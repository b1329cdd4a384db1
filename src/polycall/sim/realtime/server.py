"""Simulated voices as servers on the loopback, and as connections in memory.

with VoiceSimulation() as sim:
    script = sim.talk("openai", "gpt-realtime-2.1", [Turn("Hello.")])
    ... sim.base_url("openai") ...
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from polycall._support.private_files import write_private
from polycall.sim.realtime.gemini_live import GeminiLiveSession
from polycall.sim.realtime.gpt_live import GPTLiveSession
from polycall.sim.realtime.link import MemoryLink, WebLink
from polycall.sim.realtime.openai_realtime import OpenAIRealtimeSession
from polycall.sim.realtime.script import VoiceFaults, VoiceScript
from polycall.sim.realtime.session import VoiceSession
from polycall.sim.script import Turn

START_DEADLINE_S = 20.0
_FRAME_BYTES_MAX = 16 * 2**20


class _VertexSession(GeminiLiveSession):
    is_vertex = True


def session_for(path: str) -> tuple[type[VoiceSession], str] | None:
    """The protocol and the model of an address; no model where a frame says it."""
    split = urlsplit(path)
    if split.path.endswith("/realtime"):
        return OpenAIRealtimeSession, parse_qs(split.query).get("model", [""])[0]
    if split.path.endswith("/live/sessions"):
        return GPTLiveSession, ""
    if split.path.endswith(("BidiGenerateContent", "BidiGenerateContentConstrained")):
        is_vertex = "aiplatform" in split.path
        return (_VertexSession if is_vertex else GeminiLiveSession), ""
    return None


def open_link(url: str, script: VoiceScript) -> tuple[MemoryLink, asyncio.Task[None]]:
    """A connection in memory to the voice at an address, and the task that serves it."""
    found = session_for(url)
    if found is None:
        raise ValueError(f"no simulated voice at {url!r}")
    kind, model = found
    client, server = MemoryLink.pair()
    session = kind(server, script, model=model)
    return client, asyncio.create_task(session.run(), name="simulated voice")


class VoiceSimulation:
    """All simulated voices on one free port, in a thread of their own; with TLS where asked.

    `speed` makes everything that takes time take less.  `certificate` is a file that clients can
    be asked to trust (`SSL_CERT_FILE`), where there is TLS.
    """

    def __init__(self, *, speed: float = 1.0, tls_folder: Path | None = None) -> None:
        self.speed = speed
        self._tls_folder = tls_folder
        self.certificate = tls_folder / "certificate.pem" if tls_folder is not None else None
        self._scripts: dict[str, VoiceScript] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated voices", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self.port = 0

    def talk(
        self,
        model: str,
        turns: Iterable[Turn],
        *,
        heard: Iterable[str] = (),
        faults: str | VoiceFaults | None = None,
    ) -> VoiceScript:
        """Set the words of a model from now on, in all its sessions together."""
        made = self._scripts[model] = VoiceScript.of(turns, heard=heard, faults=faults)
        return made

    def base_url(self, vendor: str) -> str:
        """The address that a vendor's client takes."""
        scheme = "http" if self._tls_folder is None else "https"
        root = f"{scheme}://127.0.0.1:{self.port}"
        return f"{root}/{vendor}/v1" if vendor in ("openai", "azure", "xai") else root

    def __enter__(self) -> VoiceSimulation:
        self._thread.start()
        if not self._ready.wait(START_DEADLINE_S):
            raise RuntimeError("the simulation did not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_DEADLINE_S)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        from aiohttp import web  # noqa: PLC0415 - only what listens needs it

        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("GET", "/{path:.*}", self._connected)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        context = None if self._tls_folder is None else _tls(self._tls_folder)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _connected(self, request: Any) -> Any:
        _, model = session_for(str(request.rel_url)) or (None, "")
        script = self._scripts.get(model)
        if script is None:
            # The model is in the first frame, or any script will do.
            script = next(iter(self._scripts.values()), None) or VoiceScript.of([])
        return await _converse(request, script, self.speed)


async def _converse(request: Any, script: VoiceScript, speed: float = 1.0) -> Any:
    """One session over the WebSocket that a request asks for."""
    from aiohttp import web  # noqa: PLC0415 - only what listens needs it

    found = session_for(str(request.rel_url))
    if found is None:
        return web.Response(status=404, text="no simulated voice here")
    kind, model = found
    socket = web.WebSocketResponse(max_msg_size=_FRAME_BYTES_MAX)
    await socket.prepare(request)
    transport = request.transport
    link = WebLink(socket, lambda: None if transport is None else transport.abort())
    await kind(link, script, model=model, speed=speed).run()
    if not socket.closed:
        await socket.close()
    return socket


class VoiceEntry:
    """Voices behind a server of another kind, which hands connections over."""

    def __init__(self) -> None:
        self._server: Any = None

    def take(self, transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        """Serve a connection from the request on that asks for a voice; it says "Yes." """
        from aiohttp import web  # noqa: PLC0415

        if self._server is None:
            self._server = web.Server(lambda request: _converse(request, VoiceScript.of([])))
        protocol = self._server()
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        protocol.data_received(head + rest)

    async def close(self) -> None:
        """End what is left."""
        if self._server is not None:
            await self._server.shutdown(1.0)


def _tls(folder: Path) -> ssl.SSLContext:
    """A certificate for the loopback, that only a client trusts which was asked to."""
    from cryptography import x509  # noqa: PLC0415 - only where there is TLS
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "simulated voices")])
    now = datetime.now(UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    write_private(
        secret,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return context
