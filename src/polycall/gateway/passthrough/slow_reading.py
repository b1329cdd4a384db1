"""The top level of an object that is JSON to Python alone."""

from __future__ import annotations

import json

import msgspec

from polycall._support import jsontext
from polycall.errors import MalformedRequestError


def read_slowly(body: bytes) -> dict[str, msgspec.Raw]:
    """For text that the fast parser refuses and real clients send (lone surrogates)."""
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
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


# Only where values end is asked of it; a number may be longer than Python converts.
_scanner = json.JSONDecoder(parse_int=len, parse_float=len)
