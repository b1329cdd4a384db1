"""A run's events to a browser: Server-Sent Events, AG-UI, and the stream of Vercel's AI SDK.

responses.py   the bytes of an answer, whatever the framework; what a client that leaves means;
               approvals that a later HTTP request answers
events.py      what the three formats share: parts that are open, ids, the end
ag_ui.py       AG-UI, as `@ag-ui/client` reads it
vercel.py      the UI message stream, as `useChat` of the package `ai` reads it

Needs no web framework: each function gives an asynchronous iterator of bytes, and headers.
docs/web.md has FastAPI, Starlette, Django and Flask.
"""

from polycall.web.ag_ui import AGUIRequest, ag_ui, read_ag_ui
from polycall.web.responses import (
    SSE_HEADERS,
    VERCEL_HEADERS,
    Approvals,
    Verdict,
    answer_durable,
    decide,
    sse,
)
from polycall.web.vercel import VercelRequest, read_vercel, vercel

__all__ = [
    "SSE_HEADERS",
    "VERCEL_HEADERS",
    "AGUIRequest",
    "Approvals",
    "VercelRequest",
    "Verdict",
    "ag_ui",
    "answer_durable",
    "decide",
    "read_ag_ui",
    "read_vercel",
    "sse",
    "vercel",
]
