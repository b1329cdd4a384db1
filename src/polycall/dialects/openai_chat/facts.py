"""Facts about this wire for code that passes it on; see `WireFacts`."""

import re
from collections.abc import Iterable
from typing import Any

from polycall.dialects.openai_chat.usage import parse_usage
from polycall.translation.made import MadeFacts
from polycall.translation.wire_facts import WireFacts


def _made_in(data: bytes) -> Iterable[tuple[Any, bool]]:
    from polycall.dialects.openai_chat.made import ids_in  # noqa: PLC0415 - the gateway alone asks

    return ids_in(data)


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
    made=MadeFacts(body_mark=b'"audio"', event_marks=(b'"audio"',), ids_in=_made_in),
    naming_fields=("file_id", "file_ids", "audio"),
)
