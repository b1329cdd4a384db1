"""The dialect of OpenAI's Responses API: items in, items out, events in between."""

from polycall.dialects.openai_responses.errors import parse_error, render_error
from polycall.dialects.openai_responses.facts import FACTS
from polycall.dialects.openai_responses.names import NAME
from polycall.dialects.openai_responses.request import parse_request, render_request
from polycall.dialects.openai_responses.response import parse_response, render_response
from polycall.dialects.openai_responses.stream_decoder import StreamDecoder
from polycall.dialects.openai_responses.stream_encoder import StreamEncoder
from polycall.translation.wire import EVENT_STREAM as STREAM_TYPE

ROUTES = ["/v1/responses"]

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
