"""Amazon Bedrock's Converse: `POST /model/M/converse` and `converse-stream`.

facts.py   for those who pass it on
names.py    the dialect's name and the limits of its wire
request.py  whole requests and paths     response.py  whole answers
messages.py the messages                 content.py   content blocks
tools.py    definitions, choice          media.py     images, documents, sound, video
parameters.py  inference, reasoning, format           usage.py  token counts
errors.py   errors                       stream_decoder.py, stream_encoder.py  event streams
"""

from polycall._support.event_stream import CONTENT_TYPE as STREAM_TYPE
from polycall.dialects.bedrock_converse.errors import parse_error, render_error
from polycall.dialects.bedrock_converse.facts import FACTS
from polycall.dialects.bedrock_converse.names import NAME, ROUTES
from polycall.dialects.bedrock_converse.request import parse_request, render_request
from polycall.dialects.bedrock_converse.response import parse_response, render_response
from polycall.dialects.bedrock_converse.stream_decoder import StreamDecoder
from polycall.dialects.bedrock_converse.stream_encoder import StreamEncoder

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
