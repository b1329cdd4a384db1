"""Conversations that an Anthropic client leaves to its server (`thread`), to send only what is new.

Only Anthropic keeps them.  Anywhere else the rest of the conversation would be missing, so the
request is refused as the vendor refuses those that it cannot keep: its SDK's tool runner then sends
the whole of it.
"""

from __future__ import annotations

from typing import Any

from polycall.errors import InvalidRequestError
from polycall.ir import JSON, Request


def refuse_thread(request: Request) -> None:
    """Raise for a request that belongs to a thread."""
    thread: Any = request.provider_options.get("anthropic", {}).get("thread")
    if not thread:
        return
    message = "thread: this model's provider keeps no threads; send the whole conversation"
    details: JSON = {"error_code": "thread_unsupported_request", "unsupported": ["model"]}
    error: JSON = {"type": "invalid_request_error", "message": message, "details": details}
    raise InvalidRequestError(message, param="thread", body={"type": "error", "error": error})
