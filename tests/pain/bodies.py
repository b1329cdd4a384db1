"""One answer in all four wire formats, whole and streamed: a thought, a text, two parallel calls.

Written by hand, field by field, so that no code of ours decides what a provider sends.
"""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON
from tests.pain.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES, chat_sse, gemini_sse, named_sse

CITY = '{"city":"서울 🗼"}'
CALLS = [("get_weather", {"city": "서울 🗼"}), ("now", {})]

CHAT_USAGE: JSON = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
RESPONSES_USAGE: JSON = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}
ANTHROPIC_USAGE: JSON = {
    "input_tokens": 60,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 40,
    "output_tokens": 50,
    "output_tokens_details": {"thinking_tokens": 20},
}
GEMINI_USAGE: JSON = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 40,
    "candidatesTokenCount": 30,
    "thoughtsTokenCount": 20,
    "totalTokenCount": 150,
}


# ---------------------------------------------------------------------------------------------
# Whole answers


def chat_body(message: JSON, finish: str | None = "stop", usage: JSON | None = None) -> JSON:
    """A chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, **message},
                "finish_reason": finish,
            }
        ],
        "usage": usage or CHAT_USAGE,
    }


def responses_body(output: list[JSON], status: str = "completed", **fields: Any) -> JSON:
    """A response."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1790000000,
        "model": "m",
        "status": status,
        "output": output,
        "usage": RESPONSES_USAGE,
        **fields,
    }


def anthropic_body(content: list[JSON], stop: str = "end_turn", **fields: Any) -> JSON:
    """A message."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
        **fields,
    }


def gemini_body(parts: list[JSON], finish: str = "STOP", **fields: Any) -> JSON:
    """A generateContent answer."""
    return {
        "candidates": [
            {"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}
        ],
        "usageMetadata": GEMINI_USAGE,
        "modelVersion": "m",
        "responseId": "g1",
        **fields,
    }


def output_text(text: str) -> JSON:
    """A message item."""
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }


def function_call(call_id: str, name: str, arguments: str) -> JSON:
    """A function call item."""
    return {
        "type": "function_call",
        "id": f"fc_{call_id}",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def chat_call(call_id: str, name: str, arguments: str) -> JSON:
    """An entry of `tool_calls`."""
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


_REASONING: JSON = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "c2VhbGVk",
}
_GEMINI_PARTS: list[JSON] = [
    {"text": "Hm.", "thought": True},
    {"text": "Looking."},
    {
        "functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "서울 🗼"}},
        "thoughtSignature": "c2lnbmVk",
    },
    {"functionCall": {"id": "c2", "name": "now", "args": {}}},
]

BODIES: dict[str, JSON] = {
    CHAT: chat_body(
        {
            "content": "Looking.",
            "reasoning_content": "Hm.",
            "tool_calls": [chat_call("c1", "get_weather", CITY), chat_call("c2", "now", "{}")],
        },
        "tool_calls",
    ),
    RESPONSES: responses_body(
        [
            _REASONING,
            output_text("Looking."),
            function_call("c1", "get_weather", CITY),
            function_call("c2", "now", "{}"),
        ]
    ),
    ANTHROPIC: anthropic_body(
        [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "서울 🗼"}},
            {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
        ],
        "tool_use",
    ),
    GEMINI: gemini_body(_GEMINI_PARTS),
}


# A turn with state and a call, as each vendor writes it.
TURNS: dict[str, JSON] = {
    GEMINI: gemini_body(
        [
            {"text": "Hm.", "thought": True},
            {
                "functionCall": {"name": "f", "args": {"x": "1"}},
                "thoughtSignature": "c2lnbmVk",
            },
        ]
    ),
    ANTHROPIC: anthropic_body(
        [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": "1"}},
        ],
        "tool_use",
    ),
    CHAT: chat_body(
        {
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "id": "D681PevKs",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x":"1"}'},
                }
            ],
        },
        "tool_calls",
    ),
    RESPONSES: responses_body(
        [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbGVk"},
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": "f",
                "arguments": '{"x":"1"}',
            },
        ]
    ),
}


# ---------------------------------------------------------------------------------------------
# The same, streamed


def chat_chunk(delta: JSON | None = None, finish: str | None = None, **fields: Any) -> JSON:
    """A chunk with one choice; with none where there is no delta."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000}
    return {**head, "model": "m", "choices": choices, **fields}


def piece(index: int | None, arguments: str = "", **fields: Any) -> JSON:
    """A chunk with a piece of one call; `name` goes inside of `function`."""
    function: JSON = {"arguments": arguments}
    if "name" in fields:
        function["name"] = fields.pop("name")
    entry: JSON = {**fields, "function": function}
    if index is not None:
        entry["index"] = index
    return chat_chunk({"tool_calls": [entry]})


def chat_stream(*chunks: JSON, finish: str | None = "tool_calls", usage: bool = True) -> bytes:
    """A whole stream around these chunks."""
    last = [chat_chunk(usage=CHAT_USAGE)] if usage else []
    first = chat_chunk({"role": "assistant", "content": ""})
    return chat_sse(first, *chunks, chat_chunk({}, finish), *last)


def responses_stream(*events: JSON, output: list[JSON]) -> bytes:
    """A whole stream around these events."""
    start = {**responses_body([], "in_progress"), "usage": None}
    framed = [
        {"type": "response.created", "response": start},
        {"type": "response.in_progress", "response": start},
        *events,
        {"type": "response.completed", "response": responses_body(output)},
    ]
    return named_sse(*({**event, "sequence_number": n} for n, event in enumerate(framed)))


def call_events(index: int, item: JSON, deltas: list[str], *, done: bool = True) -> list[JSON]:
    """The events of one function call."""
    place = {"item_id": item["id"], "output_index": index}
    kind = "response.function_call_arguments"
    added = {**item, "arguments": "", "status": "in_progress"}
    last = [{"type": f"{kind}.done", **place, "arguments": item["arguments"]}] if done else []
    return [
        {"type": "response.output_item.added", "output_index": index, "item": added},
        *({"type": f"{kind}.delta", **place, "delta": delta} for delta in deltas),
        *last,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def text_events(index: int, text: str) -> list[JSON]:
    """The events of one message."""
    item = output_text(text)
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return [
        {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": empty},
        {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []},
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def anthropic_block(index: int, block: JSON, *deltas: JSON) -> list[JSON]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def anthropic_stream(*events: JSON, stop: str = "tool_use") -> bytes:
    """A whole stream around these events."""
    usage = {**ANTHROPIC_USAGE, "output_tokens": 1, "output_tokens_details": None}
    message = {**anthropic_body([], stop), "stop_reason": None, "usage": usage}
    return named_sse(
        {"type": "message_start", "message": message},
        {"type": "ping"},
        *events,
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop, "stop_sequence": None},
            "usage": ANTHROPIC_USAGE,
        },
        {"type": "message_stop"},
    )


def tool_block(index: int, call_id: str, name: str, *fragments: str) -> list[JSON]:
    """The events of one call."""
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    deltas = [{"type": "input_json_delta", "partial_json": text} for text in ("", *fragments)]
    return anthropic_block(index, block, *deltas)


def gemini_chunk(*parts: JSON, finish: str | None = None, usage: bool = False) -> JSON:
    """One chunk."""
    candidate: JSON = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    chunk: JSON = {"candidates": [candidate], "modelVersion": "m", "responseId": "g1"}
    return {**chunk, "usageMetadata": GEMINI_USAGE} if usage else chunk


STREAMS: dict[str, bytes] = {
    CHAT: chat_stream(
        chat_chunk({"reasoning_content": "Hm."}),
        chat_chunk({"content": "Look"}),
        chat_chunk({"content": "ing."}),
        piece(0, "", id="c1", type="function", name="get_weather"),
        piece(0, CITY[:9]),
        piece(0, CITY[9:]),
        piece(1, "", id="c2", type="function", name="now"),
        piece(1, "{}"),
    ),
    RESPONSES: responses_stream(
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": "reasoning", "id": "rs_1", "summary": []},
        },
        {
            "type": "response.reasoning_summary_part.added",
            "item_id": "rs_1",
            "output_index": 0,
            "summary_index": 0,
            "part": {"type": "summary_text", "text": ""},
        },
        {
            "type": "response.reasoning_summary_text.delta",
            "item_id": "rs_1",
            "output_index": 0,
            "summary_index": 0,
            "delta": "Hm.",
        },
        {"type": "response.output_item.done", "output_index": 0, "item": _REASONING},
        *text_events(1, "Looking."),
        *call_events(2, function_call("c1", "get_weather", CITY), [CITY[:9], CITY[9:]]),
        *call_events(3, function_call("c2", "now", "{}"), ["{}"]),
        output=BODIES[RESPONSES]["output"],
    ),
    ANTHROPIC: anthropic_stream(
        *anthropic_block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm."},
            {"type": "signature_delta", "signature": "c2lnbmVk"},
        ),
        *anthropic_block(
            1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Looking."}
        ),
        *tool_block(2, "c1", "get_weather", CITY[:9], CITY[9:]),
        *tool_block(3, "c2", "now"),
    ),
    GEMINI: gemini_sse(
        gemini_chunk(_GEMINI_PARTS[0]),
        gemini_chunk({"text": "Look"}),
        gemini_chunk({"text": "ing."}, usage=True),
        gemini_chunk(*_GEMINI_PARTS[2:]),
        gemini_chunk({"text": ""}, finish="STOP", usage=True),
    ),
}
