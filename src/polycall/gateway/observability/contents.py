"""Captured requests and answers, kept for a time: only where an owner switched that on.

Usually nothing is: then a request costs one look at an empty list.  Values lie encrypted in the
store, without what looks like a credential.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import Struct, to_builtins

from polycall._support import jsontext
from polycall._support.vault import Vault
from polycall.config.admin import ContentSettings
from polycall.errors import PolycallError, StoreError
from polycall.fold import Folder
from polycall.gateway.observability.logs import redact_known
from polycall.gateway.store import Store
from polycall.gateway.store import content_operations as operations
from polycall.gateway.store.content_operations import ContentWindow
from polycall.ir import PartDelta
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import Decoder

logger = logging.getLogger("polycall.contents")

_WAITING_MAX = 64
_PURGE_S = 5.0
SECRET_LENGTH_MIN = 8  # a shorter one would tear holes into ordinary words
_OWNER = "content"
# Alongside what logs take out: keys of clouds and code hosts, tokens, private keys.
_SECRETS = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\b(?:ghp|gho|ghs|glpat|xox[abps]|hf|npm|pypi)[-_][-\w]{10,}"
    r"|\bgithub_pat_\w{20,}|\beyJ[-\w]{8,}\.eyJ[-\w]{8,}\.[-\w]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
)
_NAMES = re.compile(
    r"(?i)^(proxy-)?authorization$|api[-_]?key|password|passwd|cookie|^(x-)?(auth|access|refresh|"
    r"session|id|bearer)?[-_]?token$|secret(s|[-_]?(access[-_]?)?key)?$|credential|private[-_]?key"
)
_MEMBER = re.compile(r'("((?:[^"\\]|\\.){1,80})"\s*:\s*)"((?:[^"\\]|\\.)*)"?')
_REDACTED = "[redacted]"
_UNFINISHED = re.compile(r"\S{0,400}$")


class Content(Struct, frozen=True):
    """One request and its answer, as far as they are kept: JSON, or text where it is none."""

    client: str  # the dialect of both
    request: Any
    answer: Any
    is_request_cut: bool
    is_answer_cut: bool


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Content)


class ContentTap:
    """Hears what is sent to one client, and holds as much of it as is kept."""

    def __init__(self, window: ContentWindow, client: str, request: bytes, bytes_max: int) -> None:
        self.window = window
        self.client = client
        self.request = request[: bytes_max + 1]
        self.bytes_max = bytes_max
        self.size = 0
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """A piece of the body."""
        if self.size <= self.bytes_max:
            self._pieces.append(data)
        self.size += len(data)

    def content(self) -> Content:
        """All of it, without credentials: those of the request are none of the answer either."""
        answer = b"".join(self._pieces)
        is_cut, most = len(self.request) > self.bytes_max, self.bytes_max
        text = self.request[:most].decode("utf-8", "replace")
        request = _UNFINISHED.sub("", text) if is_cut else _decoded(text)
        both = [request, folded(self.client, answer[:most], is_cut=len(answer) > most)]
        cleaner = Cleaner()
        cleaner.clean(both)  # what is named so in one place is repeated in others
        request, said = cleaner.clean(both)
        return Content(
            client=self.client,
            request=request,
            answer=said,
            is_request_cut=is_cut,
            is_answer_cut=len(answer) > most,
        )


class Contents:
    """The windows that are open, and what waits to be written.  `close` writes the rest."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._vault = Vault(store.secret)
        self._settings: ContentSettings | None = None
        self._windows: list[ContentWindow] = []
        self._revision = -1
        self._waiting: set[asyncio.Task[None]] = set()
        self._purge_at = 0.0
        self.lost = 0  # for want of room: since the start

    def configure(self, settings: ContentSettings | None) -> None:
        """Keep by these settings; nothing where there are none."""
        self._settings = settings

    @property
    def may_be_kept(self) -> bool:
        """Whether some key's contents are kept now."""
        return bool(self._windows) and self._settings is not None

    def tap(self, key: str, client: str, request: Callable[[], bytes]) -> ContentTap | None:
        """The tap on a request's answer; `None` where nothing is captured, which is usual."""
        if not self._windows or self._settings is None:
            return None
        now = time.time()
        for window in self._windows:
            if window.key in ("", key) and now < window.until:
                return ContentTap(window, client, request(), self._settings.bytes_max)
        return None

    def keep(self, request_id: str, tap: ContentTap) -> None:
        """Write down soon what was heard."""
        if len(self._waiting) >= _WAITING_MAX:
            self.lost += 1
            logger.warning("the content of request %s is not kept: too many wait", request_id)
            return
        task = asyncio.ensure_future(self._write(request_id, tap))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def refresh(self) -> None:
        """Look at what other processes changed, and remove what is over."""
        if self._store.content_revision != self._revision:
            revision = self._store.content_revision
            self._windows = await self._store.look_up(operations.windows(time.time()))
            self._revision = revision
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGE_S
            await self.purge()

    async def purge(self) -> None:
        """Remove what is over, whatever the configuration says by now."""
        now = time.time()
        self._windows = [window for window in self._windows if window.until > now]
        if await self._store.look_up(operations.counted_contents()):
            await self._store.change(operations.purge_contents(now))

    def unlock(self, request_id: str, value: bytes) -> Content | None:
        """The captured content; `None` where it was locked under another secret."""
        data = self._vault.unlock(_OWNER, request_id, value)
        return None if data is None else _decoder.decode(data)

    async def close(self) -> None:
        """Wait until all is written."""
        if self._waiting:
            await asyncio.wait(self._waiting)

    async def _write(self, request_id: str, tap: ContentTap) -> None:
        locked = await asyncio.to_thread(self._locked, request_id, tap)
        now, window = time.time(), tap.window
        try:
            await self._store.change(
                operations.save_content(request_id, now, now + window.keep_s, window.role, locked)
            )
        except StoreError as error:
            self.lost += 1
            logger.warning("the content of request %s is not kept: %s", request_id, error)

    def _locked(self, request_id: str, tap: ContentTap) -> bytes:
        return self._vault.lock(_OWNER, request_id, _encoder.encode(tap.content()))


def folded(client: str, data: bytes, *, is_cut: bool = False) -> Any:
    """A whole body as it is; of a stream the parts, so that nothing is torn apart by events.

    The last word of one that is cut is left out: half a credential does not look like one.
    """
    text = data.decode("utf-8", "replace")
    if (whole := _decoded(text)) is not text:
        return whole
    if is_cut and text.lstrip().startswith(("{", "[")):
        return _UNFINISHED.sub("", text)
    decoder: Decoder = DIALECTS[cast("Any", client)].StreamDecoder()
    folder, parts, texts = Folder(), list[Any](), list[str]()
    try:
        for ends in (False, True):
            for event in decoder.close() if ends else decoder.feed(data):
                part = folder.feed(event)
                if part is not None:
                    parts.append(to_builtins(part))
                    texts.clear()
                elif isinstance(event, PartDelta):
                    texts.append(event.text)
    except PolycallError as error:
        # The end was not kept, or never came; what there is is shown.
        said = "".join(texts)
        parts.append({"text": _UNFINISHED.sub("", said) if is_cut else said, "problem": str(error)})
    return parts or text


def _decoded(text: str) -> Any:
    try:
        return jsontext.decode(text)
    except ValueError:
        return text


class Cleaner:
    """Takes credentials out: what is known, looks like one or is named so, wherever it stands."""

    def __init__(self) -> None:
        self._values: set[str] = set()  # of members that are named so

    def clean(self, value: Any, name: str = "") -> Any:
        """A value without them."""
        if isinstance(value, str):
            if name and value and _NAMES.search(name):
                if len(value) >= SECRET_LENGTH_MIN:
                    self._values.add(value)
                return _REDACTED
            return self._text(value)
        if isinstance(value, list):
            return [self.clean(each, name) for each in cast("list[Any]", value)]
        if isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            return {self._plain(key): self.clean(each, key) for key, each in table.items()}
        return value

    def _text(self, text: str) -> str:
        """A text; one that is JSON, as arguments of calls are, is cleaned as JSON."""
        if text.lstrip()[:1] in ("{", "["):
            value = _decoded(text)
            if value is not text:
                cleaned = self.clean(value)
                return text if cleaned == value else jsontext.encode(cleaned)
        return self._plain(text)

    def _plain(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, _REDACTED)
        return _MEMBER.sub(self._member, _SECRETS.sub(_REDACTED, redact_known(text)))

    def _member(self, found: re.Match[str]) -> str:
        if not _NAMES.search(found.group(2)):
            return found.group()
        if len(found.group(3)) >= SECRET_LENGTH_MIN:
            self._values.add(found.group(3))
        return f'{found.group(1)}"{_REDACTED}"'
