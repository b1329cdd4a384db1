"""Facts about this wire for code that passes it on; see `WireFacts`."""

import re

from polycall.dialects.bedrock_converse.usage import parse_usage
from polycall.translation.wire_facts import ALL_MEDIA, WireFacts

FACTS = WireFacts(
    stream_marks=(b'"stopReason"', b'"usage"', b'"message"', b"Exception"),
    model_mark=b"",
    call_mark=b'"toolUse"',
    call_pattern=re.compile(rb'"toolUse"\s*:\s*\{\s*"'),
    answer_field="output",
    usage_field="usage",
    parse_usage=parse_usage,
    media_as_bytes=ALL_MEDIA,
    reasoning_slot=("signature",),
    absent_fields=frozenset({"seed", "presence_penalty", "frequency_penalty", "logprobs", "top_k"}),
    count_path="/model/{model}/count-tokens",
)
