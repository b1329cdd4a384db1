"""Fields of a request that a wire has no place for: what is said of each."""

from __future__ import annotations

from polycall.ir import Request
from polycall.translation.wire import Losses


def note_absent(request: Request, losses: Losses, *fields: str) -> None:
    """Report those of these fields that the request has; refuse what would change the answer."""
    for field in fields:
        value = getattr(request, field)
        if value is None or value == "":  # as of most fields of most requests
            continue
        match field:
            case "logprobs":
                losses.refuse(field, "this wire gives no probabilities")
            case "candidates" if value != 1:
                losses.refuse(field, "this wire gives one answer")
            case "parallel_tool_calls" if value is False and request.tools:
                losses.emulate(field, "there is no switch; only the first call counts")
            case "end_user":
                losses.drop(field, "this wire has no field for it")
            case "candidates" | "parallel_tool_calls":
                pass
            case _:
                losses.drop(field, "no counterpart on this wire")
