"""Anthropic Messages: `POST /v1/messages`, its streams and its errors.

facts.py   for those who pass it on
names.py         the dialect's name and the limits of its wire
ids.py           call ids that the wire allows
request.py       whole requests        response.py     whole answers
messages.py      the messages          content.py      content blocks
tools.py         definitions, choice   media.py        images and documents
binding.py       bound thinking        parameters.py   thinking, format, sampling
usage.py         token counts          errors.py       errors
stream_decoder.py  streams inwards     stream_encoder.py  streams outwards
stream_items.py  content blocks while their deltas arrive
"""

from polycall.dialects.anthropic.errors import parse_error, render_error
from polycall.dialects.anthropic.facts import FACTS
from polycall.dialects.anthropic.names import NAME
from polycall.dialects.anthropic.request import PATH, parse_request, render_request
from polycall.dialects.anthropic.response import parse_response, render_response
from polycall.dialects.anthropic.stream_decoder import StreamDecoder
from polycall.dialects.anthropic.stream_encoder import StreamEncoder
from polycall.translation.wire import EVENT_STREAM as STREAM_TYPE

ROUTES = [PATH]

__all__ = [
    "FACTS",
    "NAME",
    "ROUTES",
    "STREAM_TYPE",
    "StreamDecoder",
    "StreamEncoder",
    "parse_error",
    "parse_request",
    "parse_response",
    "render_error",
    "render_request",
    "render_response",
]
