"""Long answers to clients, past the protocol's library.

The library reads an answer three times before it sends it, as a whole, and meanwhile nothing else
runs.  What is long in one was read here already: it is put in behind that.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from polycall.ir import JSON
from polycall.mcp.pieces import APART

_apart: ContextVar[JSON | None] = ContextVar("polycall_mcp_sent_apart", default=None)


def sent_apart(answer: JSON) -> JSON:
    """The part of an answer that the library reads; `put_back` adds the rest."""
    apart = _apart.get()
    assert apart is not None, "every request passes by `put_back`"
    for name in APART & answer.keys():
        value = answer[name]
        if isinstance(value, dict | list):
            apart[name] = value
            answer = {**answer, name: type(value)()}  # pyright: ignore[reportUnknownArgumentType]
    return answer


async def put_back(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Answer a request, with what its handler had sent apart (a middleware of the library's)."""
    apart: JSON = {}
    token = _apart.set(apart)
    try:
        answer = await call_next(ctx)
    finally:
        _apart.reset(token)
    return {**cast("JSON", answer), **apart} if apart else answer
