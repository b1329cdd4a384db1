"""Free text out of a JSON object that is still being written: `{"input": "..."}`.

Freeform calls travel as such an object in the middle language.  Their text is long (a patch, a
program), so a client should see it grow.
"""

from __future__ import annotations

import re

from polycall._support import jsontext

_START = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_COMPLETE = re.compile(r'(?:[^"\\]+|\\u[0-9a-fA-F]{4}|\\[^u])*')
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")


class FreeformText:
    """Takes fragments of the object, gives the text they hold.

    Whole characters only: an escape or a surrogate pair that is cut waits for the rest.  An
    object that begins otherwise gives nothing; its reader must look at it as a whole.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._is_inside = False
        self._is_over = False

    def feed(self, fragment: str) -> str:
        """The text that is known with this fragment."""
        if self._is_over:
            return ""
        self._rest += fragment
        if not self._is_inside:
            start = _START.match(self._rest)
            if start is None:
                return ""
            self._rest = self._rest[start.end() :]
            self._is_inside = True
        match = _COMPLETE.match(self._rest)
        escaped = match[0] if match else ""
        if half := _HALF_PAIR.search(escaped):
            escaped = escaped[: half.start()]
        self._rest = self._rest[len(escaped) :]
        self._is_over = self._rest.startswith('"')
        if not escaped:
            return ""
        try:
            return jsontext.decode(f'"{escaped}"')
        except ValueError:
            self._is_over = True  # not JSON after all: the end will tell
            return ""
