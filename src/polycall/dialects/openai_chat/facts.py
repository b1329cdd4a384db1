"""What those who pass this wire on must know of it; see `WireFacts`."""

import re

from polycall.dialects.openai_chat.usage import parse_usage
from polycall.translation.wire_facts import WireFacts

FACTS = WireFacts(
    stream_marks=(
        b'"finish_reason":"',
        b'"finish_reason": "',
        b'"usage":{',
        b'"usage": {',
        b'"error"',
        b'"native_finish_reason"',
        b"data: [DONE]",
    ),
    call_mark=b'"tool_calls"',
    call_pattern=re.compile(rb'"name"\s*:\s*"[^"]'),
    answer_field="choices",
    usage_field="usage",
    parse_usage=parse_usage,
    heartbeat=b": keep-alive\n\n",
    media_as_bytes=frozenset({"audio", "document", "file"}),
    state_keys=frozenset({"extra_content"}),
    models_path="/models",
)
