"""Facts about this wire for code that passes it on; see `WireFacts`."""

import re

from polycall.dialects.ollama_chat.response import COUNTS
from polycall.translation.wire_facts import ALL_MEDIA, WireFacts

FACTS = WireFacts(
    stream_marks=(b'"done":true', b'"done": true', b'"error"'),
    call_mark=b'"tool_calls"',
    call_pattern=re.compile(rb'"function"\s*:\s*\{'),
    answer_field="message",
    count_fields=(*COUNTS, "done_reason"),
    media_as_bytes=ALL_MEDIA,
    models_path="/api/tags",
    absent_fields=frozenset({"logprobs"}),
)
