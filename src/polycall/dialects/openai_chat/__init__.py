"""OpenAI Chat Completions, as OpenAI, DeepSeek and all compatible servers speak it.

request.py   request bodies; parameters.py the fields with several spellings
messages.py  the conversation inwards; rendered_messages.py outwards; system.py system messages
content.py   content parts; calls.py tool calls; tools.py definitions and choice
response.py  whole answers; usage.py token counts; errors.py errors; names.py the dialect's name
stream_decoder.py  streams inwards; stream_items.py one part at a time; accumulate.py the rest
stream_encoder.py  streams outwards
"""

from polycall.dialects.openai_chat.errors import parse_error, render_error
from polycall.dialects.openai_chat.facts import FACTS
from polycall.dialects.openai_chat.names import NAME
from polycall.dialects.openai_chat.request import parse_request, render_request
from polycall.dialects.openai_chat.response import parse_response, render_response
from polycall.dialects.openai_chat.stream_decoder import StreamDecoder
from polycall.dialects.openai_chat.stream_encoder import StreamEncoder
from polycall.translation.wire import EVENT_STREAM as STREAM_TYPE

ROUTES = ("/v1/chat/completions",)

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
