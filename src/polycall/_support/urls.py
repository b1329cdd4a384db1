"""Addresses that others wrote."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

_NONE = urlsplit("")


def parts_of(url: str) -> SplitResult:
    """The parts of an address; empty ones where it is none (`http://[`)."""
    try:
        return urlsplit(url)
    except ValueError:
        return _NONE
