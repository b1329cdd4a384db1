"""Google's Interactions: `POST /v1beta/interactions`, its streams and its errors.

facts.py   for those who pass it on
names.py     the dialect's name        request.py   whole requests
steps.py     input steps to messages   messages.py  messages to input steps
content.py   contents, both ways       tools.py     tools and their choice
parameters.py  generation and format   response.py  whole answers        usage.py  token counts
errors.py    errors                    stream_decoder.py, stream_encoder.py  streams
"""

from polycall.dialects.gemini_interactions.errors import parse_error, render_error
from polycall.dialects.gemini_interactions.facts import FACTS
from polycall.dialects.gemini_interactions.names import NAME, ROUTES
from polycall.dialects.gemini_interactions.request import parse_request, render_request
from polycall.dialects.gemini_interactions.response import parse_response, render_response
from polycall.dialects.gemini_interactions.stream_decoder import StreamDecoder
from polycall.dialects.gemini_interactions.stream_encoder import StreamEncoder
from polycall.translation.wire import EVENT_STREAM as STREAM_TYPE

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
