"""Facts about this wire for code that passes it on; see `WireFacts`."""

import re
from collections.abc import Iterable
from typing import Any

from polycall.dialects.anthropic.usage import parse_usage
from polycall.translation.made import MadeFacts
from polycall.translation.wire_facts import WireFacts


def _made_in(data: bytes) -> Iterable[tuple[Any, bool]]:
    from polycall.dialects.anthropic.made import ids_in  # noqa: PLC0415 - the gateway alone asks

    return ids_in(data)


FACTS = WireFacts(
    stream_marks=(b"message_start", b"message_delta", b"message_stop", b'"error"'),
    call_mark=b'"tool_use"',
    call_pattern=re.compile(rb'"type"\s*:\s*"tool_use"'),
    answer_field="content",
    usage_field="usage",
    parse_usage=lambda value, _: parse_usage(value),
    heartbeat=b'event: ping\ndata: {"type": "ping"}\n\n',
    reasoning_slot=("signature",),
    models_path="/v1/models?limit=1000",
    count_path="/v1/messages/count_tokens",
    absent_fields=frozenset({"seed", "presence_penalty", "frequency_penalty", "logprobs"}),
    needs_bound=True,
    made=MadeFacts(
        body_mark=b'"container"',
        event_marks=(b'"container"', b"code_execution_tool_result"),
        ids_in=_made_in,
    ),
    thread_field="thread",
    naming_fields=("file_id", "file_ids", "container", "previous_message_id"),
)
