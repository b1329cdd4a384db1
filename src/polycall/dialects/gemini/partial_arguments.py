"""Arguments that arrive in pieces, as paths and values, written as JSON text in order of arrival.

A piece names a place and says what stands there:

    {"jsonPath": "$.flight.from", "stringValue": "Se", "willContinue": true}

The model writes its arguments from front to back, so the text can be written as pieces come:
what a piece leaves behind is closed.  A piece that goes back to a closed value cannot be written
any more and is a `ProtocolError`.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, field

from polycall._support import jsontext
from polycall.errors import ProtocolError
from polycall.ir import JSON

_STEP = re.compile(
    r"""\.(?P<key>[^.\[\]]+)
      | \[(?P<index>\d+)\]
      | \[(?P<end>)\]
      | \['(?P<single>(?:[^'\\]|\\.)*)'\]
      | \["(?P<double>(?:[^"\\]|\\.)*)"\]""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_DEPTH_MAX = 200


class _Array:
    """The step of a path that names an array itself: `[]`."""


_ARRAY = _Array()


class _Open(Struct):
    """A value that may still grow: an object or array, or a string."""

    step: str | int
    kind: str  # "{", "[" or '"'
    count: int = 0
    keys: set[str] = field(default_factory=set[str])


class PartialArguments:
    """Pieces in, text out: `add` and `close` give what the JSON text grows by."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._out: list[str] = []

    def add(self, piece: JSON) -> str:
        """Take one element of `partialArgs`."""
        path = piece.get("jsonPath")
        if not isinstance(path, str):
            raise ProtocolError("a piece of arguments has no jsonPath", path="partialArgs")
        steps = _steps(path)
        is_array = bool(steps) and steps[-1] is _ARRAY
        place = [step for step in steps if isinstance(step, str | int)]
        if len(place) > _DEPTH_MAX or len(place) + is_array != len(steps):
            raise ProtocolError("this jsonPath cannot be written", path=path)
        if not self._open:
            self._start("", "{")
        self._write(place, is_array, piece, path)
        text = "".join(self._out)
        self._out.clear()
        return text

    def close(self) -> str:
        """The arguments are complete."""
        if not self._open:
            self._start("", "{")
        self._close_to(0)
        text = "".join(self._out)
        self._out.clear()
        return text

    def _write(self, place: list[str | int], is_array: bool, piece: JSON, path: str) -> None:
        string = piece.get("stringValue")
        shared = self._shared(place)
        if shared == len(place):
            self._close_to(shared + 1)
            self._write_again(is_array, string, piece, path)
            return
        # What hangs below the shared part is left behind; the containers on the way open.
        self._close_to(shared + 1)
        if string == "" and shared == len(place) - 1 and place[-1] in self._open[-1].keys:
            return  # some writers end a string twice
        for position in range(shared, len(place) - 1):
            kind = "[" if isinstance(place[position + 1], int) else "{"
            self._enter(place[position], path)
            self._start(place[position], kind)
        self._enter(place[-1], path)
        if isinstance(string, str):
            self._start(place[-1], '"')
            self._out.append(jsontext.encode(string)[1:-1])
            if piece.get("willContinue") is not True:
                self._close_to(len(place))
        elif (value := _scalar(piece)) is not None:
            self._out.append(value)
        else:
            self._start(place[-1], "[" if is_array else "{")
            if is_array:
                self._close_to(len(place))

    def _write_again(self, is_array: bool, string: Any, piece: JSON, path: str) -> None:
        """A piece for a value that is open: more of a string, the end of an array, or nothing."""
        value = self._open[-1]
        if value.kind == '"' and isinstance(string, str):
            self._out.append(jsontext.encode(string)[1:-1])
            if piece.get("willContinue") is not True:
                self._close_to(len(self._open) - 1)
        elif isinstance(string, str) or _scalar(piece) is not None:
            raise ProtocolError("the arguments return to a value that is written", path=path)
        elif is_array and value.kind == "[":
            self._close_to(len(self._open) - 1)

    def _shared(self, place: list[str | int]) -> int:
        """The number of open steps of the place."""
        count = 0
        for value, step in zip(self._open[1:], place, strict=False):
            if value.step != step or type(value.step) is not type(step):
                break
            count += 1
        return count

    def _enter(self, step: str | int, path: str) -> None:
        """Write what stands before a new value in the innermost open one."""
        parent = self._open[-1]
        wants = "[" if isinstance(step, int) else "{"
        is_written = step in parent.keys if isinstance(step, str) else step < parent.count
        if parent.kind != wants or is_written:
            raise ProtocolError("the arguments return to a value that is written", path=path)
        if parent.count:
            self._out.append(",")
        parent.count += 1
        if isinstance(step, str):
            parent.keys.add(step)
            self._out.append(jsontext.encode(step) + ":")

    def _start(self, step: str | int, kind: str) -> None:
        self._open.append(_Open(step, kind))
        self._out.append(kind)

    def _close_to(self, depth: int) -> None:
        while len(self._open) > depth:
            kind = self._open.pop().kind
            self._out.append({"{": "}", "[": "]"}.get(kind, '"'))


def _steps(path: str) -> list[str | int | _Array]:
    if not path.startswith("$"):
        raise ProtocolError("a jsonPath must begin with '$'", path=path)
    steps: list[str | int | _Array] = []
    position = 1
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ProtocolError(f"character {position} of this jsonPath is unknown", path=path)
        position = match.end()
        if match["key"] is not None:
            steps.append(match["key"])
        elif match["index"] is not None:
            steps.append(int(match["index"][:9]))
        elif match["end"] is not None:
            steps.append(_ARRAY)
        else:
            quoted = match["single"] if match["single"] is not None else match["double"]
            steps.append(_ESCAPED.sub(r"\1", quoted))
    return steps


def _scalar(piece: JSON) -> str | None:
    """The JSON text of a number, a boolean or null; `None` for a piece without a value."""
    for key in ("numberValue", "boolValue"):
        if piece.get(key) is not None:
            return jsontext.encode(piece[key])
    return "null" if "nullValue" in piece else None
