"""Profiles of models: rows of dated, sourced data, and the profiles made of them.

    data/*.toml     the rows: patterns of models, features, what is taken, source, day read
    rows.py         reads them, a vendor's file at a time, when a model of it is first asked about
    names.py        what people write to the vendor's own name; names near a wrong one
    profile.py      the rows that hold for one model on one day
    features.py     what each feature means, and what is done where a model does not take it
    fitting.py      a profile as `Quirks`, which the dialects read; and what no dialect can see
    lifecycle.py    retirements, and the living models that examples name

Nothing here is loaded at import, and a profile is made once for a model and a day.
"""

from polycall.profiles.features import FEATURES, Feature
from polycall.profiles.lifecycle import LIVING, Retirement, retirement, retirements
from polycall.profiles.names import bare, near_names, own_name, vendor_of
from polycall.profiles.profile import Profile, profile
from polycall.profiles.rows import Row, Source

__all__ = [
    "FEATURES",
    "LIVING",
    "Feature",
    "Profile",
    "Retirement",
    "Row",
    "Source",
    "bare",
    "near_names",
    "own_name",
    "profile",
    "retirement",
    "retirements",
    "vendor_of",
]
