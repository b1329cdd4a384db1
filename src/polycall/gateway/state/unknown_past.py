"""Requests that continue what is not known here.

What was said before lives at the vendor whose dialect it is, or nowhere any more.  Another vendor's
model would answer the end of a conversation alone, and no `lossy` allows that.
"""

from __future__ import annotations

from typing import Any

from polycall.errors import InvalidRequestError
from polycall.ir import JSON, Request
from polycall.providers.dialects import DIALECTS


def refuse_unknown_past(request: Request, dialect: str = "") -> None:
    """Raise where a target of this dialect cannot know what the request continues."""
    for owner, options in request.provider_options.items():
        if owner != dialect and owner in DIALECTS:
            refuse_unknown_names(options, owner)


def refuse_unknown_names(fields: JSON, dialect: str) -> None:
    """Raise where fields of this dialect's request still name what was answered before."""
    for name in DIALECTS[dialect].FACTS.earlier_fields:
        value: Any = fields.get(name)
        if value:
            raise InvalidRequestError(
                f"{name}: there is no {str(value)[:100]!r} of this key here; it was not kept "
                "('store': false), has expired, or is another provider's. Send the whole "
                "conversation",
                param=name,
                code=f"{name.removesuffix('_id')}_not_found",
            )
