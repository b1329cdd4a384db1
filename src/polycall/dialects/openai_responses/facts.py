"""Facts about this wire for code that passes it on; see `WireFacts`."""

import re
from collections.abc import Iterable
from typing import Any

from polycall.dialects.openai_responses.response import parse_usage
from polycall.translation.made import MadeFacts
from polycall.translation.wire_facts import WireFacts


def _made_in(data: bytes) -> Iterable[tuple[Any, bool]]:
    from polycall.dialects.openai_responses.made import ids_in  # noqa: PLC0415 - the gateway alone asks

    return ids_in(data)


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
    made=MadeFacts(
        body_mark=b'"output"', event_marks=(b'"response.output_item.done"',), ids_in=_made_in
    ),
    naming_fields=(
        *("file_id", "file_ids", "previous_response_id", "comparison_response_id", "conversation"),
        *("container", "container_id", "vector_store_id", "vector_store_ids"),
    ),
    names_items=True,
)
