"""Fields of a request that a wire has no place for: what is said of each."""

from __future__ import annotations

from polycall.ir import Request
from polycall.translation.wire import Losses


def note_absent(request: Request, losses: Losses, *fields: str) -> None:
    """Report those of these fields that the request has; refuse what would change the answer."""
    for field in fields:
        value = getattr(request, field)
        match field:
            case "logprobs" if value is not None:
                losses.refuse(field, "this wire gives no probabilities")
            case "candidates" if value not in (None, 1):
                losses.refuse(field, "this wire gives one answer")
            case "parallel_tool_calls" if value is False and request.tools:
                losses.emulate(field, "there is no switch; only the first call counts")
            case "end_user" if value:
                losses.drop(field, "this wire has no field for it")
            case "logprobs" | "candidates" | "parallel_tool_calls" | "end_user":
                pass
            case _ if value is not None:
                losses.drop(field, "no counterpart on this wire")
            case _:
                pass
