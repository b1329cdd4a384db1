"""Anthropic Messages: `POST /v1/messages`, its streams and its errors.

names.py         the dialect's name and the limits of its wire
ids.py           call ids that the wire allows
blocks.py        content blocks        media.py   images and documents
conversation.py  the messages          tools.py   definitions and choice
roots.py         the root of a schema  settings.py   thinking, format, sampling
request.py       whole requests        response.py   whole answers     usage.py   counts
pieces.py        blocks in the making  decode.py  encode.py   streams  errors.py  errors
"""

from polycall.dialects.anthropic.errors import parse_error, render_error
from polycall.dialects.anthropic.names import NAME
from polycall.dialects.anthropic.request import PATH, parse_request, render_request
from polycall.dialects.anthropic.response import parse_response, render_response
from polycall.dialects.anthropic.stream_decoder import StreamDecoder
from polycall.dialects.anthropic.stream_encoder import StreamEncoder

ROUTES = [PATH]

__all__ = [
    "NAME",
    "ROUTES",
    "StreamDecoder",
    "StreamEncoder",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_error",
    "render_request",
    "render_response",
]
