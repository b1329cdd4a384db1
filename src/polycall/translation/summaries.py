"""Vendors that sum a conversation up themselves: which, how one is asked, what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polycall.ir import Message, Opaque, Response

SUMMARIZER = "anthropic"  # the dialect whose vendor does
_FIELD = "compaction"
_ASKED = {"type": "summarize"}


def asking_summary(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """A request's `provider_options` that ask for a summary of its whole conversation."""
    return {**options, SUMMARIZER: {**options.get(SUMMARIZER, {}), _FIELD: _ASKED}}


def summary_in(response: Response) -> Message | None:
    """The summary as the first message of what follows; `None` where the vendor wrote none."""
    for part in response.message.parts:
        if isinstance(part, Opaque) and part.kind == _FIELD and part.data.get("content"):
            # Without the mark of its model: another one reads the summary's words.
            return Message("assistant", [part])
    return None
