"""Lists of tools by their text: an agent sends the same one with each of its requests.

What is known of a list is kept with its text, for the latest lists, within a bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall.translation.tool_list_cache import ToolListCache

_BYTES_MIN = 512  # what is shorter is read in the time that it takes to look it up
_BYTES_MAX = 1024 * 1024  # of all texts; what is made of them takes several times as much


class ToolText:
    """The known facts about one list: `None` where it was not asked for yet."""

    __slots__ = ("_decoded", "_found", "is_plain", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.is_plain: bool | None = None
        self._decoded: Any = None
        self._found: dict[Callable[[bytes], tuple[str, ...]], tuple[str, ...]] = {}

    def decoded(self) -> Any:
        """The list, shared with the requests before that had the same."""
        if self._decoded is None:
            tools = jsontext.decode(self.text)
            if not isinstance(tools, list):
                return tools
            # Nobody changes a parsed body (a rule of the dialects), so one may serve many requests.
            self._decoded = ToolListCache(tools)  # pyright: ignore[reportUnknownArgumentType]
        return self._decoded

    def found_by(self, find: Callable[[bytes], tuple[str, ...]]) -> tuple[str, ...]:
        """The findings of `find` in the text; asked once."""
        found = self._found.get(find)
        if found is None:
            found = self._found[find] = find(self.text)
        return found


_known: OrderedDict[bytes, ToolText] = OrderedDict()
_known_bytes = 0
_lock = Lock()  # large bodies are read in threads


def tool_text(raw: msgspec.Raw | bytes) -> ToolText:
    """The known facts about a list, to be added to.

    A new object where nothing will be remembered.
    """
    global _known_bytes  # noqa: PLW0603 - as long-lived as what is remembered
    text = bytes(raw)
    size = len(text)
    if not _BYTES_MIN < size < _BYTES_MAX // 2:
        return ToolText(text)
    with _lock:
        found = _known.get(text)
        if found is not None:
            _known.move_to_end(text)
            return found
        found = _known[text] = ToolText(text)
        _known_bytes += size
        while _known_bytes > _BYTES_MAX:
            _known_bytes -= len(_known.popitem(last=False)[0])
        return found
