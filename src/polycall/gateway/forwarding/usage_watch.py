"""Reads the usage in a stream that is passed on as it comes, whatever else its events hold."""

from __future__ import annotations

import re

import msgspec

from polycall.gateway.forwarding.embed import usage_in
from polycall.ir import Usage

# A text in an event cannot look like this: its quotes are escaped.
_MARK = b'"usage"'
_BEGIN = re.compile(_MARK + rb"[ \t]*:[ \t]*(?=\{)")
_USAGE_BYTES_MAX = 64 * 1024
_ENDS_MAX = 32  # of objects within it


class UsageWatch:
    """Takes the bytes of a stream; `usage` is its latest report."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._rest = b""  # of a line: from its last mark on, or what may become one

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            found = _BEGIN.match(line, max(0, line.rfind(_MARK)))
            if found is not None:
                self._take(line[found.end() : found.end() + _USAGE_BYTES_MAX])
        place = rest.rfind(_MARK)
        if place < 0 or len(rest) - place > _USAGE_BYTES_MAX:
            place = max(0, len(rest) - len(_MARK))
        self._rest = rest[place:]

    def close(self) -> None:
        """Nothing more comes."""
        self.feed(b"\n")

    def _take(self, line: bytes) -> None:
        """Read the object that a line begins with."""
        end = 0
        for _ in range(_ENDS_MAX):
            end = line.find(b"}", end) + 1
            if not end:
                return
            try:
                msgspec.json.decode(line[:end], type=dict[str, msgspec.Raw])
            except msgspec.DecodeError:
                continue
            usage = usage_in(b'{"usage":%b}' % line[:end])
            if usage.is_reported:
                self.usage = usage
            return
