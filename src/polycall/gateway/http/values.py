"""How many values a body may have, whatever its size."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from polycall.errors import RequestTooLargeError
from polycall.gateway.processes.heavy_work import LONG_BYTES

OBJECTS_MAX = 100_000  # lists and objects of JSON, a message being a few
VALUES_MAX = 500_000
_SLICE_BYTES = 128 * 1024
# A text; what has whole texts only; the rest of a text, and the quote that ends it.
_INSIDE = rb'(?:[^"\\]++|\\.)*+'
_TEXT = re.compile(rb'"' + _INSIDE + rb'"', re.DOTALL)
_WHOLE = re.compile(rb'(?:[^"]++|"' + _INSIDE + rb'")*+', re.DOTALL)
_REST = re.compile(_INSIDE + rb'("?)', re.DOTALL)


class ValueCounter:
    """Counts the values of JSON that is about to be read, over all that belongs to one request.

    A list takes sixty bytes of memory and two of a body: how much is read is bounded by number as
    well as by size.  Text is looked over where there might be too many, and others have their turn
    meanwhile.
    """

    def __init__(self) -> None:
        self._bytes = 0
        self._containers = 0
        self._values = 0

    async def add(self, data: bytes) -> None:
        """Count what is in it; `RequestTooLargeError` where that is too much."""
        self._bytes += len(data)
        if self._bytes <= LONG_BYTES:
            return
        counts = self._containers, self._values
        for is_few in self._count_letters(data):
            if not is_few:
                break
            await asyncio.sleep(0)
        else:
            return
        self._containers, self._values = counts
        for is_few in self._count_outside_texts(data):
            if not is_few:
                raise RequestTooLargeError(
                    f"the request has more than {OBJECTS_MAX} lists and objects or {VALUES_MAX} "
                    "values; send fewer, or larger ones",
                    status=413,
                )
            await asyncio.sleep(0)

    def _count_letters(self, data: bytes) -> Iterator[bool]:
        """Count wherever they stand; says after each step whether that is few."""
        for start in range(0, len(data), _SLICE_BYTES):
            yield self._count(data[start : start + _SLICE_BYTES])

    def _count_outside_texts(self, data: bytes) -> Iterator[bool]:
        place, is_text = 0, False
        while place < len(data):
            pattern = _REST if is_text else _WHOLE
            found = pattern.match(data, place, place + _SLICE_BYTES)
            end = place if found is None else found.end()
            if is_text:
                is_text = found is None or not found[1]
                place = end if end > place else len(data)
                yield True
            else:
                yield self._count(_TEXT.sub(b"", data[place:end]))
                is_text = data[end : end + 1] == b'"'
                place = end + is_text

    def _count(self, piece: bytes) -> bool:
        self._containers += piece.count(b"[") + piece.count(b"{")
        self._values += piece.count(b",")
        return self._containers <= OBJECTS_MAX and self._values <= VALUES_MAX
