"""Text and values of untrusted programs, made safe to print and to send on."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from .errors import ProtocolViolationError
from .inside import plain

_KEPT_CONTROLS = "\n\t\r"
_CONTROLS = {
    code: f"\\x{code:02x}"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if chr(code) not in _KEPT_CONTROLS
}

_encoder = msgspec.json.Encoder()


def ascii_json(value: Any) -> bytes:
    """JSON in ASCII of plain data, in which each number is one of JSON."""
    try:
        data = _encoder.encode(value)
    except UnicodeEncodeError:
        data = b"\xff"
    return data if data.isascii() else json.dumps(value, separators=(",", ":")).encode("ascii")


def printable(text: str) -> str:
    """Text without terminal escapes and lone surrogates; both are shown as what they are."""
    return text.translate(_CONTROLS).encode("utf-8", "backslashreplace").decode("utf-8")


def encodable(value: Any, *, size_max: int, is_exact: bool = False) -> Any:
    """A value that was JSON, checked: no larger, no deeper, and all its text can be encoded.

    Text that cannot be is shown with `?`; where the value `is_exact`, that and a number that JSON
    does not have is a violation: an honest process has refused them.
    """
    if plain.depth_of(value) > plain.DEPTH_MAX:
        raise ProtocolViolationError("a value nested too deep")
    if _is_surely_plain(value, size_max):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=not is_exact)
    except ValueError:
        raise ProtocolViolationError("a number that JSON does not have") from None
    if len(text) > size_max:
        raise ProtocolViolationError(f"a value of {len(text)} characters; {size_max} are allowed")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        if is_exact:
            raise ProtocolViolationError("text with half of a surrogate pair") from None
        return json.loads(text.encode("utf-8", "replace"))
    return value


def _is_surely_plain(value: Any, size_max: int) -> bool:
    """A quick look: text that can be encoded, short enough, and no number that has become null."""
    try:
        data = _encoder.encode(value)
    except ValueError:
        return False
    return len(data) <= size_max and b"null" not in data


class Capture:
    """One output stream of a run as the host keeps it, within a bound that it checks itself."""

    def __init__(self, limit_bytes: int) -> None:
        # A byte that is not text is shown as four characters.
        self._left = 4 * limit_bytes + 100
        self._limit = limit_bytes + 100
        self._head: list[str] = []
        self._tail = ""

    def add(self, text: object, dropped: object) -> None:
        is_count = dropped is None or (type(dropped) is int and dropped >= 0)
        if not isinstance(text, str) or not is_count:
            raise ProtocolViolationError("output that is not text")
        self._left -= len(text)
        if self._left < 0:
            raise ProtocolViolationError("more output than the limit allows")
        if dropped:
            self._tail = f"\n… {dropped} bytes cut …\n{text}"
        else:
            self._head.append(text)

    def text(self) -> str:
        return printable(("".join(self._head) + self._tail)[: self._limit])
