"""Whole answers, given again to the same client for the same request.

Opt-in twice: by `[cache]`, and by the request's header `polycall-cache` (or `[cache] all`).  The
same request means the same client key, protocol, body, tools and settings included, headers that
matter, configuration and version of polycall.  Answers lie encrypted in a SQLite of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from importlib import metadata
from pathlib import Path
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall._support.private_files import make_private_database
from polycall._support.vault import Vault
from polycall.config import CacheSettings, Config
from polycall.errors import InvalidRequestError, PolycallError, RequestError
from polycall.fold import fold
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.passthrough.request import PASSED_HEADERS
from polycall.ir import Response, ToolCall

logger = logging.getLogger("polycall.cache")

ANSWER_BYTES_MAX = 1024 * 1024
_HEADER = b"polycall-cache"
_KEPT_HEADERS = (
    b"content-type",
    b"cache-control",
    b"x-accel-buffering",
    b"polycall-model",
    b"polycall-warnings",
)
_FINISHED = ("stop", "length", "tool_calls")
_VERSION = metadata.version("polycall")
_BUSY_S = 0.05  # a cache is not worth waiting for
_TRIM_EACH = 32

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY, created REAL NOT NULL, size INTEGER NOT NULL, value BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_created ON answers (created, size);
"""


class CachedAnswer(Struct, frozen=True, array_like=True):
    """An answer as its client saw it."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    model: str = ""


class AnswerRecorder:
    """Records the answer to one request, up to a size."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.size = 0
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """A piece of the body."""
        self.size += len(data)
        if self.size <= ANSWER_BYTES_MAX:
            self._pieces.append(data)

    def body(self) -> bytes | None:
        """The whole body; `None` where it was too large."""
        return b"".join(self._pieces) if self.size <= ANSWER_BYTES_MAX else None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CachedAnswer)


class AnswerCache:
    """The answers of one process, or of all that have the same file.  `close` it."""

    def __init__(self, settings: CacheSettings, folder: Path, secret: bytes) -> None:
        self.settings = settings
        self._vault = Vault(secret)
        self._puts = 0
        # Answers can be had again: what a crash loses is not missed.
        path = str(folder / settings.file) if settings.file else ":memory:"
        try:
            if settings.file:
                make_private_database(path)
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._connection.executescript(f"PRAGMA synchronous = OFF; {_SCHEMA}")
        except (sqlite3.Error, OSError) as error:
            raise RequestError(
                f"the cache {path!r} cannot be opened: {error}; it may be removed at any time"
            ) from None

    def wanted(
        self, gateway_request: GatewayRequest, client_request: ClientRequest
    ) -> tuple[bool, bool]:
        """Whether an answer may come from here, and whether it may be kept here."""
        wish = gateway_request.headers.get(_HEADER, b"on" if self.settings.all else b"off").lower()
        if wish not in (b"on", b"off", b"refresh"):
            raise InvalidRequestError("the header polycall-cache takes on, off or refresh")
        if client_request.wants_array:
            return False, False
        return wish == b"on", wish != b"off"

    def get(self, key: str) -> CachedAnswer | None:
        """The answer, where it is there and fresh."""
        since = time.time() - self.settings.ttl_s
        query = "SELECT value FROM answers WHERE id = ? AND created >= ?"
        try:
            row = self._connection.execute(query, (key, since)).fetchone()
        except sqlite3.Error as error:
            logger.warning("the cache was not read: %s", error)
            return None
        value = None if row is None else self._vault.unlock("cache", key, row[0])
        return None if value is None else _decoder.decode(value)

    def put(self, key: str, kept: CachedAnswer) -> None:
        """Keep an answer; older ones make room."""
        value = self._vault.lock("cache", key, _encoder.encode(kept))
        row = (key, time.time(), len(value), value)
        try:
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)
            self._puts += 1
            if self._puts % _TRIM_EACH == 0:
                self._trim()
        except sqlite3.Error as error:
            logger.warning("an answer was not cached: %s", error)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _trim(self) -> None:
        run = self._connection.execute
        run("DELETE FROM answers WHERE created < ?", (time.time() - self.settings.ttl_s,))
        left = self.settings.size_bytes_max
        query = "SELECT created, size FROM answers ORDER BY created DESC"
        for created, size in run(query).fetchall():
            left -= size
            if left < 0:
                run("DELETE FROM answers WHERE created <= ?", (created,))
                return

    def keep(self, key: str, client_request: ClientRequest, recorder: AnswerRecorder) -> None:
        """Keep what was sent, where it is an answer that may be given again."""
        body = recorder.body()
        if not body:
            return
        response = _parsed(client_request, body)
        if response is None or response.finish_reason not in _FINISHED:
            return
        calls = any(isinstance(part, ToolCall) for part in response.message.parts)
        if calls and not self.settings.tool_calls:
            return
        headers = [pair for pair in recorder.headers if pair[0] in _KEPT_HEADERS]
        model = dict(headers).get(b"polycall-model", b"").decode("latin-1")
        self.put(key, CachedAnswer(headers, body, model))


def _parsed(client_request: ClientRequest, body: bytes) -> Response | None:
    """The answer as its client reads it; `None` if it is malformed."""
    try:
        if not client_request.streams:
            return client_request.dialect.parse_response(jsontext.decode(body))
        decoder = client_request.dialect.StreamDecoder()
        return fold([*decoder.feed(body), *decoder.close()])
    except (PolycallError, ValueError) as error:
        logger.warning("an answer was not cached: %s", type(error).__name__)
        return None


def request_key(
    client_request: ClientRequest, gateway_request: GatewayRequest, routes: bytes
) -> str:
    """A digest of all that the answer depends on; `routes` stands for the configuration."""
    body = json.dumps(client_request.body(), sort_keys=True, separators=(",", ":"))
    query = sorted(
        pair for pair in parse_qsl(gateway_request.query.decode("latin-1")) if pair[0] != "key"
    )
    headers = sorted(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in gateway_request.headers.items()
        if name in PASSED_HEADERS or (name.startswith(b"polycall-") and name != _HEADER)
    )
    parts = [
        _VERSION,
        client_request.owner.id,
        client_request.dialect.NAME,
        gateway_request.path,
        query,
        headers,
        body,
    ]
    return hashlib.sha256(routes + json.dumps(parts).encode()).hexdigest()


def routes_digest(config: Config) -> bytes:
    """A digest of what a model's name leads to."""
    # Without an order of its own, a set would give each process another digest.
    data = msgspec.json.encode([config.providers, config.models], order="deterministic")
    return hashlib.sha256(data).digest()
