"""The end of a run of a few signs: clients may send megabytes of white space between values."""

from __future__ import annotations

SPACE = b" \t\r\n"
_SLICE_BYTES = 4096  # most runs are of a sign or two


def after_run(data: bytes, place: int, signs: bytes = SPACE) -> int:
    """The first place from this one on that is none of the signs, or the end."""
    while place < len(data) and data[place] in signs:
        piece = data[place : place + _SLICE_BYTES]
        place += len(piece) - len(piece.lstrip(signs))
    return place


def before_run(data: bytes, end: int, signs: bytes = SPACE) -> int:
    """The beginning of the run of the signs that ends here."""
    while end and data[end - 1] in signs:
        piece = data[max(0, end - _SLICE_BYTES) : end]
        end -= len(piece) - len(piece.rstrip(signs))
    return end
