"""Corrections from refusals: a 400 that names a field or a value is read, mended and remembered.

    words.toml       how vendors say it, with sources
    reading.py       a refusal to the corrections that it asks for
    places.py        a field as a vendor names it, found in the body that was sent
    policy.py        which fields a correction may touch, and in which direction
    correction.py    one correction, and requests with corrections applied
    book.py          the corrections of providers and models: bounded, dated, forgettable

A correction holds for one provider at one address, one model and one wire.  It never touches
messages, tools, the model, the key, what is metered, or a limit other than downwards.
"""

import importlib
from collections.abc import Mapping

from polycall.errors import PolycallError
from polycall.ir import JSON
from polycall.profiles.corrections.book import CorrectionBook
from polycall.profiles.corrections.correction import (
    Correction,
    Refused,
    corrected,
    corrected_quirks,
    has_quirks,
)


def read_refusal(
    error: PolycallError, body: JSON, headers: Mapping[str, str], **target: str
) -> Refused | None:
    """The corrections that would let the request pass; `None` for any other refusal.

    `target` is `provider`, `address`, `model` and `dialect`.
    """
    # Most processes never see a refusal.
    reading = importlib.import_module("polycall.profiles.corrections.reading")
    found: Refused | None = reading.read_refusal(error, body, headers, **target)
    return found


__all__ = [
    "Correction",
    "CorrectionBook",
    "Refused",
    "corrected",
    "corrected_quirks",
    "has_quirks",
    "read_refusal",
]
