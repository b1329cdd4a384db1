"""Facts about this wire for code that passes it on; see `WireFacts`."""

import re

from polycall.dialects.gemini_interactions.usage import parse_usage
from polycall.translation.wire_facts import ALL_MEDIA, WireFacts

FACTS = WireFacts(
    stream_marks=(
        b'"interaction.created"',
        b'"interaction.completed"',
        b'"interaction.cancelled"',
        b'"error"',
    ),
    call_mark=b'"function_call"',
    call_pattern=re.compile(rb'"type"\s*:\s*"function_call"'),
    answer_field="steps",
    usage_field="usage",
    parse_usage=parse_usage,
    media_as_bytes=ALL_MEDIA,
    reasoning_slot=("signature",),
    models_path="/v1beta/models?pageSize=1000",
    absent_fields=frozenset({"presence_penalty", "frequency_penalty", "logprobs", "top_k"}),
    earlier_fields=("previous_interaction_id",),
    naming_fields=("previous_interaction_id",),
)
