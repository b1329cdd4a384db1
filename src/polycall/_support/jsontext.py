"""JSON text in and out, for input that vendors, models and clients wrote.

`msgspec` does the work.  It refuses what real traffic contains and the standard library
accepts (lone surrogates from a model cut in mid-character), so those inputs take a second,
slower way here, and nowhere else.  Errors are `ValueError` whatever the cause.
"""

import json
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

Text: TypeAlias = str | bytes | bytearray | memoryview | msgspec.Raw

_encoder = msgspec.json.Encoder()
_exact_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder()


def decode(text: Text) -> Any:
    """Parse one JSON value.

    Integers of any length stay integers and `1.0` stays a float.  Raises `ValueError` for
    anything that is not JSON, including `NaN`, bad UTF-8 and nesting too deep to read.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return _decode_slowly(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_exactly(text: str | bytes) -> Any:
    """`decode`, with a `Decimal` for a number whose value no float has, such as a long sum.

    What the standard library alone reads has floats.
    """
    try:
        return _exact_decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return _decode_slowly(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _exact(digits: str) -> float | Decimal:
    number = float(digits)
    exact = Decimal(digits)
    return number if exact == Decimal(repr(number)) else exact


_exact_decoder = msgspec.json.Decoder(float_hook=_exact)


def _decode_slowly(text: Text) -> Any:
    if not isinstance(text, str):
        text = bytes(text).decode("utf-8")
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_parse_int)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_int(digits: str) -> int | float:
    # CPython refuses to convert more than 4,300 digits: a model's runaway number must not
    # become an exception far from where it was written.
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def encode_exactly(value: Any) -> bytes:
    """`encode_bytes`, with a `Decimal` as a number where the text is UTF-8, else as text."""
    try:
        return _exact_encoder.encode(value)
    except UnicodeEncodeError:
        return encode_bytes(value)


def encode(value: Any) -> str:
    """Compact JSON text; characters beyond ASCII stay as they are."""
    return encode_bytes(value).decode("utf-8")


def encode_unicode(value: Any) -> bytes:
    """Compact JSON as UTF-8; raises `UnicodeEncodeError` where UTF-8 cannot hold it."""
    return _encoder.encode(value)


def encode_bytes(value: Any) -> bytes:
    """Compact JSON as UTF-8.  Lone surrogates are escaped, since UTF-8 cannot hold them."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value, enc_hook=_decoded)
        return json.dumps(plain, separators=(",", ":")).encode("ascii")


def _decoded(value: Any) -> Any:
    """Text that was written before, which stands in the value, as what it says."""
    if isinstance(value, msgspec.Raw):
        return decode(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
