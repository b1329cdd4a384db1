"""Google's Gemini API: `generateContent` and `streamGenerateContent`, both ways.

request.py         whole requests and their paths
request_messages.py  contents to messages     messages.py    messages to contents
tools.py           declarations and choice    parameters.py  generationConfig
content.py         one part, both ways        key_case.py    snake_case and camelCase
stream_decoder.py  answers from the wire      response.py    whole answers to a client
partial_arguments.py  arguments in pieces     stream_encoder.py  streamed answers to a client
errors.py          error bodies               usage.py       finish reasons and usage
"""

from polycall.dialects.gemini.content import NAME
from polycall.dialects.gemini.errors import parse_error, render_error
from polycall.dialects.gemini.facts import FACTS
from polycall.dialects.gemini.request import ROUTES, parse_request, render_request
from polycall.dialects.gemini.response import render_response
from polycall.dialects.gemini.stream_decoder import StreamDecoder, parse_response
from polycall.dialects.gemini.stream_encoder import StreamEncoder
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
