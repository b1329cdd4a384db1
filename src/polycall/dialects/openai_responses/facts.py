"""What those who pass this wire on must know of it; see `WireFacts`."""

import re

from polycall.dialects.openai_responses.response import parse_usage
from polycall.translation.wire_facts import WireFacts

FACTS = WireFacts(
    stream_marks=(
        b"response.created",
        b"response.completed",
        b"response.incomplete",
        b"response.failed",
        b"response.cancelled",
        b'"error"',
    ),
    call_mark=b'_call"',
    call_pattern=re.compile(rb'"type"\s*:\s*"(?:function|custom_tool)_call"'),
    counted_frames=b'"response.completed"',  # it repeats all calls
    answer_field="output",
    usage_field="usage",
    parse_usage=lambda value, tier: parse_usage({"usage": value, "service_tier": tier}),
    heartbeat=b": keep-alive\n\n",
    reasoning_slot=("fields", "encrypted_content"),
    models_path="/models",
    count_path="/responses/input_tokens",
    earlier_fields=("previous_response_id", "conversation"),
)
