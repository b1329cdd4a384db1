"""The HTML file of a run: one file that asks for nothing else, with the trace packed inside.

The lines are packed (deflate, base64), so that 10,000 steps are a file of less than two megabytes;
where that is not enough, texts are shortened, and the file says so.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import os
import re
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import msgspec

from polycall._support import jsontext
from polycall._support.private_files import write_private
from polycall.agents.saved.trace import Trace, from_lines
from polycall.errors import RequestError
from polycall.ir import JSON

HTML_BYTES_MAX = 2_000_000
_PAGE_BYTES = 60_000  # the most that the page itself takes
_TEXT_LENGTHS = (None, 20_000, 4000, 1000, 300, 100, 30)
_DATA = re.compile(rb'<script type="text/plain" id="trace">([A-Za-z0-9+/=]*)</script>')
_UNPACKED_BYTES_MAX = 1024 * 1024 * 1024
_MORE = "… ({} characters more)"


def save_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write `NAME.html`, or `NAME.jsonl`: the whole run, for its owner's eyes (mode 0600).

    The HTML is less than 2 MB, if need be with shortened texts; the JSON lines are whole.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".html", ".htm", ".jsonl"):
        raise RequestError(f"a run is saved as .html or .jsonl, and {str(path)!r} is neither")
    data = b"".join(jsontext.encode_bytes(line) + b"\n" for line in trace.lines())
    if suffix != ".jsonl":
        data = page_of(trace, data)
    try:
        write_private(path, data)
    except OSError as error:
        raise RequestError(f"{str(path)!r} cannot be written: {error}") from None


def load_trace(path: str | os.PathLike[str]) -> Trace:
    """The trace of a file that `save_trace` wrote; `RequestError` where it is none."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RequestError(f"{str(path)!r} cannot be read: {error}") from None
    found = _DATA.search(data)
    if found is not None:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            packed = base64.b64decode(found[1], validate=True)
            data = unpacker.decompress(packed, _UNPACKED_BYTES_MAX)
        except (binascii.Error, zlib.error) as error:
            raise RequestError(f"{str(path)!r} holds no trace: {error}") from None
    return from_lines(data.splitlines())


def page_of(trace: Trace, lines: bytes) -> bytes:
    """The HTML file of a trace whose lines are these."""
    for length in _TEXT_LENGTHS:
        if length is not None:
            cut = msgspec.structs.replace(trace, is_cut=True)
            lines = b"".join(
                jsontext.encode_bytes(cast("JSON", _cut(line, length))) + b"\n"
                for line in cut.lines()
            )
        packed = _packed(lines)
        if len(packed) <= HTML_BYTES_MAX - _PAGE_BYTES:
            return _filled(trace, packed)
    raise RequestError(
        f"the run has {len(trace.messages)} messages, too many for one page; save it as .jsonl"
    )


def _packed(lines: bytes) -> bytes:
    packer = zlib.compressobj(9 if len(lines) < 4_000_000 else 6, wbits=-zlib.MAX_WBITS)
    return base64.b64encode(packer.compress(lines) + packer.flush())


def _cut(value: Any, length: int) -> Any:
    """The value with its long texts shortened, and without what only vendors read."""
    if isinstance(value, str):
        left = len(value) - length
        return value if left <= 0 else value[:length] + _MORE.format(left)
    if isinstance(value, list):
        return [_cut(each, length) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("JSON", value).items()
        return {k: _cut(v, length) for k, v in items if k != "metadata"}
    return value


def _filled(trace: Trace, packed: bytes) -> bytes:
    folder = files("polycall.agents.saved")
    script, style, page = (
        (folder / f"viewer.{suffix}").read_text("utf-8") for suffix in ("js", "css", "html")
    )
    # Nothing that a model or a tool wrote can run: only this script may, by its digest.
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = f"{trace.agent or 'run'}: {len(trace.steps)} steps, {trace.reason}"
    for mark, text in (
        ("{policy}", html.escape(policy)),
        ("{title}", html.escape(title)),
        ("{style}", style),
        ("{script}", script),
    ):
        page = page.replace(mark, text, 1)
    return page.encode("utf-8", "replace").replace(b"{trace}", packed, 1)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
