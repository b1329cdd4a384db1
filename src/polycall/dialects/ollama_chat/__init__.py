"""Ollama's own chat: `POST /api/chat`, a JSON object a line where it streams, as it does unasked.

facts.py   for those who pass it on
names.py     the dialect's name      request.py   whole requests     messages.py  the messages
tools.py     definitions             parameters.py  options, think, format
response.py  whole answers           errors.py    errors
stream_decoder.py, stream_encoder.py  streams
"""

from polycall.dialects.ollama_chat.errors import parse_error, render_error
from polycall.dialects.ollama_chat.facts import FACTS
from polycall.dialects.ollama_chat.names import NAME, ROUTES, STREAM_TYPE
from polycall.dialects.ollama_chat.request import parse_request, render_request
from polycall.dialects.ollama_chat.response import parse_response, render_response
from polycall.dialects.ollama_chat.stream_decoder import StreamDecoder
from polycall.dialects.ollama_chat.stream_encoder import StreamEncoder

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
