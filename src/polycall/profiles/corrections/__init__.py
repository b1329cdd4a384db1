"""What refusals teach: a vendor's 400 that names a field or a value, read, mended, remembered.

    words.toml       how vendors say it, with sources
    reading.py       a refusal to the corrections that it asks for
    places.py        a field as a vendor names it, found in the body that was sent
    policy.py        which fields a correction may touch, and in which direction
    correction.py    one correction, and requests with corrections applied
    book.py          the corrections of providers and models: bounded, dated, forgettable

A correction holds for one provider at one address, one model and one wire.  It never touches
messages, tools, the model, the key, what is metered, or a limit other than downwards.
"""

from polycall.profiles.corrections.book import CorrectionBook
from polycall.profiles.corrections.correction import (
    Correction,
    corrected,
    corrected_quirks,
    has_quirks,
)
from polycall.profiles.corrections.reading import Refused, read_refusal

__all__ = [
    "Correction",
    "CorrectionBook",
    "Refused",
    "corrected",
    "corrected_quirks",
    "has_quirks",
    "read_refusal",
]
