"""The top level of an object, also of one that is JSON to Python alone."""

from __future__ import annotations

import codecs
import json
import re

import msgspec

from polycall._support import jsontext
from polycall.errors import MalformedRequestError

_SLICE_BYTES = 64 * 1024
_utf8 = codecs.getincrementaldecoder("utf-8")
decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def check_text(body: bytes) -> None:
    """Raise for what is not UTF-8; piece by piece, as text takes up to four times that."""
    decoder, view = _utf8(), memoryview(body)
    for start in range(0, len(body), _SLICE_BYTES):
        piece = view[start : start + _SLICE_BYTES]
        end = start + len(piece)
        try:
            decoder.decode(piece, end == len(body))
        except UnicodeDecodeError as error:
            place = end - len(error.object) + error.start
            raise MalformedRequestError(f"the body is not UTF-8: byte {place}") from None


def read_top_level(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a body; raises `MalformedRequestError` for what is no object."""
    try:
        return decode_fields(body)
    except msgspec.ValidationError:
        raise MalformedRequestError("the body must be a JSON object") from None
    except (msgspec.DecodeError, RecursionError):
        return read_slowly(body)


def read_slowly(body: bytes) -> dict[str, msgspec.Raw]:
    """Read text that the fast parser refuses and real clients send (lone surrogates)."""
    try:
        value = jsontext.decode(body)
    except ValueError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedRequestError("the body must be a JSON object")
    return _slices(body.decode("utf-8"))


def _slices(text: str) -> dict[str, msgspec.Raw]:
    """The values of an object that is JSON, each as it is written; of two of a name the last."""
    found: dict[str, msgspec.Raw] = {}
    place = _skipped(text, _skipped(text, 0) + 1)
    while text[place] == '"':
        name, place = _scanner.raw_decode(text, place)
        place = _skipped(text, _skipped(text, place) + 1)
        _, end = _scanner.raw_decode(text, place)
        found[name] = msgspec.Raw(text[place:end].encode("utf-8"))
        place = _skipped(text, end)
        if text[place] == ",":
            place = _skipped(text, place + 1)
    return found


def _skipped(text: str, place: int) -> int:
    found = _space(text, place)
    return place if found is None else found.end()


_space = re.compile(r"[ \t\r\n]+").match
# Only where values end is asked of it; a number may be longer than Python converts.
_scanner = json.JSONDecoder(parse_int=len, parse_float=len)
