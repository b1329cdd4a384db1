"""Facts about this wire for code that passes it on; see `WireFacts`."""

import re

from polycall.dialects.gemini.usage import parse_usage
from polycall.translation.wire import response_reader
from polycall.translation.wire_facts import ALL_MEDIA, WireFacts

FACTS = WireFacts(
    stream_marks=(b'"finishReason"', b'"error"', b'"promptFeedback"'),
    call_mark=b'"functionCall"',
    call_pattern=re.compile(rb'"functionCall"\s*:'),
    model_mark=b'"modelVersion"',
    answer_field="candidates",
    usage_field="usageMetadata",
    parse_usage=lambda value, _: parse_usage(value, "usageMetadata", response_reader),
    # No heartbeat: Google's own SDK takes neither comments nor empty events.
    media_as_bytes=ALL_MEDIA,
    reasoning_slot=("thoughtSignature",),
    marks_calls=True,
    state_keys=frozenset({"thoughtSignature"}),
    models_path="/v1beta/models?pageSize=1000",
    count_path="/v1beta/models/{model}:countTokens",
)
