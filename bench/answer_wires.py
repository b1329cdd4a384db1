"""A whole answer and a streamed one on each wire, and the places that `answer_doors` fills."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

# How a stream is framed: server-sent events without and with names, lines, or AWS's messages.
Form = Literal["events", "named events", "lines", "messages"]


class Wire(NamedTuple):
    """What is asked, and how a provider answers; paths have `{}` where a model's name is due."""

    path: str
    whole: dict[str, Any]
    events: list[dict[str, Any]]
    fields: list[str]  # places in the whole answer, by dots
    streamed: list[str]  # the number of an event before them
    many: Mapping[str, tuple[str, ...]]  # things that lists of the whole answer hold, as JSON
    repeated: tuple[int, ...]  # events that a stream may have many of
    form: Form = "events"
    names: tuple[str, ...] = ()  # of the events, where no field of theirs says it
    stream_path: str = ""
    body: Mapping[str, Any] = MappingProxyType({})


_MESSAGES = [{"role": "user", "content": "x"}]
_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CHAT_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_INPUT_USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
_TEXT_ITEM: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "x", "annotations": []}],
}
_CALL_ITEM = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "c1",
    "name": "f",
    "arguments": "{}",
    "status": "completed",
}
_THOUGHT_ITEM: dict[str, Any] = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "y"}],
    "encrypted_content": "s",
}
_RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": [_TEXT_ITEM, _CALL_ITEM, _THOUGHT_ITEM],
    "usage": _INPUT_USAGE,
}
_THINKING = {"type": "thinking", "thinking": "y", "signature": "s"}
_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        _THINKING,
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
_GEMINI: dict[str, Any] = {
    "responseId": "r",
    "modelVersion": "m",
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "x"},
                    {"functionCall": {"name": "f", "args": {}}},
                    {"text": "y", "thought": True},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}
_OLLAMA = {"model": "m", "created_at": "2026-11-30T00:00:00Z"}
_OLLAMA_CALL: dict[str, Any] = {"function": {"name": "f", "arguments": {}}}
_OLLAMA_END = {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1}
_CONVERSE_USAGE = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
_CONVERSE_CALL = {"toolUseId": "t1", "name": "f"}
_INTERACTION = {"id": "v1_1", "object": "interaction", "model": "m"}
_INTERACTION_USAGE = {"total_input_tokens": 1, "total_output_tokens": 1, "total_tokens": 2}
_FUNCTION_CALL: dict[str, Any] = {"type": "function_call", "id": "c1", "name": "f", "arguments": {}}
_INTERACTION_END = {
    **_INTERACTION,
    "status": "requires_action",
    "usage": _INTERACTION_USAGE,
}


def _choice(**delta: Any) -> dict[str, Any]:
    return {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def _line(*, done: bool = False, **message: Any) -> dict[str, Any]:
    return {**_OLLAMA, "message": {"role": "assistant", "content": "", **message}, "done": done}


def _step(kind: str, index: int, **fields: Any) -> dict[str, Any]:
    return {"event_type": f"step.{kind}", "index": index, **fields}


def _block(index: int, **fields: Any) -> dict[str, Any]:
    return {"contentBlockIndex": index, **fields}


_CHAT = Wire(
    "/v1/chat/completions",
    {
        **_CHUNK,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x", "tool_calls": [_CALL]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": _CHAT_USAGE,
    },
    [
        _choice(role="assistant", content="x"),
        _choice(tool_calls=[{"index": 0, **_CALL}]),
        {**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {**_CHUNK, "choices": [], "usage": _CHAT_USAGE},
    ],
    [
        *("id", "model", "created", "usage", "usage.prompt_tokens", "usage.other"),
        *("usage.prompt_tokens_details", "choices", "choices.0.finish_reason"),
        *("choices.0.message.content", "choices.0.message.reasoning_content"),
        *("choices.0.message.tool_calls", "choices.0.message.tool_calls.0.id"),
        "choices.0.message.tool_calls.0.function.name",
        "choices.0.message.tool_calls.0.function.arguments",
    ],
    [
        *("0.id", "0.model", "0.choices", "0.choices.0.delta.content"),
        "0.choices.0.delta.reasoning_content",
        *("1.choices.0.delta.tool_calls", "1.choices.0.delta.tool_calls.0.id"),
        *(f"1.choices.0.delta.tool_calls.0.function.{each}" for each in ("name", "arguments")),
        *("2.choices.0.finish_reason", "3.usage", "3.usage.other", "3.error"),
    ],
    {
        "choices": ('{"index":1,"message":{"role":"assistant","content":"%s"}}',),
        "choices.0.message.tool_calls": (
            '{"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"a\\":\\"%s\\"}"}}',
        ),
    },
    (0,),
    body={"messages": _MESSAGES, "stream_options": {"include_usage": True}},
)
_ANTHROPIC = Wire(
    "/v1/messages",
    _MESSAGE,
    [
        _typed("message_start", message={**_MESSAGE, "content": [], "stop_reason": None}),
        _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}),
        _typed("content_block_stop", index=0),
        _typed(
            "content_block_start",
            index=1,
            content_block={"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        ),
        _typed(
            "content_block_delta",
            index=1,
            delta={"type": "input_json_delta", "partial_json": "{}"},
        ),
        _typed("content_block_stop", index=1),
        _typed("content_block_start", index=2, content_block={**_THINKING, "thinking": ""}),
        _typed("content_block_delta", index=2, delta={"type": "thinking_delta", "thinking": "y"}),
        _typed("content_block_delta", index=2, delta={"type": "signature_delta", "signature": "s"}),
        _typed("content_block_stop", index=2),
        _typed(
            "message_delta",
            delta={"stop_reason": "tool_use", "stop_sequence": None},
            usage={"output_tokens": 1},
        ),
        _typed("message_stop"),
    ],
    [
        *("id", "model", "stop_reason", "stop_sequence", "usage", "usage.input_tokens"),
        *("usage.cache_creation", "usage.other", "content", "content.0.text", "content.1.id"),
        *("content.0.citations", "content.1.name", "content.1.input", "content.2.thinking"),
        *("content.2.signature", "error", "other"),
    ],
    [
        *("0.message.id", "0.message.model", "0.message.usage", "0.message.usage.other"),
        *("1.content_block.text", "2.delta.text", "4.content_block.id", "4.content_block.name"),
        *("4.content_block.input", "5.delta.partial_json", "8.delta.thinking"),
        *("9.delta.signature", "11.delta.stop_reason", "11.usage", "11.usage.other", "11.error"),
    ],
    {
        "content": (
            '{"type":"text","text":"%s"}',
            '{"type":"thinking","thinking":"%s","signature":"s"}',
            '{"type":"tool_use","id":"t1","name":"f","input":{"a":"%s"}}',
        ),
        "content.0.citations": ('{"type":"char_location","cited_text":"%s"}',),
    },
    (2, 5, 8, 9),
    "named events",
    body={"messages": _MESSAGES, "max_tokens": 9},
)
_RESPONSES = Wire(
    "/v1/responses",
    _RESPONSE,
    [
        _typed("response.created", response={**_RESPONSE, "output": [], "usage": None}),
        _typed("response.output_item.added", output_index=0, item={**_TEXT_ITEM, "content": []}),
        _typed(
            "response.output_text.delta",
            output_index=0,
            content_index=0,
            item_id="msg_1",
            delta="x",
        ),
        _typed("response.output_item.done", output_index=0, item=_TEXT_ITEM),
        _typed("response.output_item.added", output_index=1, item={**_CALL_ITEM, "arguments": ""}),
        _typed(
            "response.function_call_arguments.delta",
            output_index=1,
            item_id="fc_1",
            delta="{}",
        ),
        _typed("response.output_item.done", output_index=1, item=_CALL_ITEM),
        _typed("response.output_item.added", output_index=2, item={**_THOUGHT_ITEM, "summary": []}),
        _typed(
            "response.reasoning_summary_text.delta",
            output_index=2,
            summary_index=0,
            item_id="rs_1",
            delta="y",
        ),
        _typed("response.output_item.done", output_index=2, item=_THOUGHT_ITEM),
        _typed("response.completed", response=_RESPONSE),
    ],
    [
        *("id", "model", "status", "created_at", "usage", "usage.input_tokens"),
        *("usage.input_tokens_details", "usage.other", "incomplete_details", "error"),
        *("instructions", "metadata", "output", "output.0.content.0.text", "output.0.id"),
        *("output.0.content", "output.0.content.0.annotations", "output.1.call_id"),
        *("output.1.name", "output.1.arguments", "output.2.summary", "output.2.summary.0.text"),
        "output.2.encrypted_content",
    ],
    [
        *("0.response.id", "0.response.model", "0.response.instructions", "2.delta"),
        *("3.item.content.0.text", "4.item.call_id", "4.item.name", "5.delta"),
        *("6.item.arguments", "8.delta", "9.item.encrypted_content", "9.item.summary"),
        *("10.response.usage", "10.response.usage.other", "10.response.output"),
        *("10.response.instructions", "10.response.error"),
    ],
    {
        "output": (
            '{"type":"message","role":"assistant","content":[{"type":"output_text","text":"%s"}]}',
            '{"type":"reasoning","summary":[{"type":"summary_text","text":"%s"}]}',
            '{"type":"function_call","call_id":"c1","name":"f","arguments":"{\\"a\\":\\"%s\\"}"}',
        ),
        "output.0.content": ('{"type":"output_text","text":"%s"}',),
        "output.2.summary": ('{"type":"summary_text","text":"%s"}',),
    },
    (2, 5, 8),
    "named events",
    body={"input": "x", "store": False},
)
_PARTS = "candidates.0.content.parts"
_GOOGLE = Wire(
    "/v1beta/models/{}:generateContent",
    _GEMINI,
    [_GEMINI],
    [
        *("responseId", "modelVersion", "createTime", "candidates", "candidates.0.finishReason"),
        *(_PARTS, f"{_PARTS}.0.text", f"{_PARTS}.2.text"),
        *(f"{_PARTS}.1.functionCall.{each}" for each in ("id", "name", "args")),
        *(f"{_PARTS}.1.thoughtSignature", "candidates.0.groundingMetadata", "usageMetadata"),
        *("usageMetadata.promptTokenCount", "usageMetadata.promptTokensDetails"),
        *("usageMetadata.other", "promptFeedback", "error"),
    ],
    [
        *("0.responseId", "0.modelVersion", "0.candidates", f"0.{_PARTS}.0.text"),
        *(f"0.{_PARTS}.1.functionCall.name", f"0.{_PARTS}.1.functionCall.args"),
        *(f"0.{_PARTS}.1.thoughtSignature", f"0.{_PARTS}.2.text", "0.candidates.0.finishReason"),
        *("0.usageMetadata", "0.usageMetadata.other", "0.error"),
    ],
    {
        _PARTS: (
            '{"text":"%s"}',
            '{"text":"%s","thoughtSignature":"cw=="}',
            '{"functionCall":{"id":"c1","name":"f","args":{"a":"%s"}}}',
        ),
        "candidates": ('{"index":1,"content":{"parts":[{"text":"%s"}]}}',),
    },
    (0,),
    stream_path="/v1beta/models/{}:streamGenerateContent?alt=sse",
    body={"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
)
_OLLAMA_CHAT = Wire(
    "/api/chat",
    {
        **_line(content="x", thinking="y", tool_calls=[_OLLAMA_CALL]),
        **_OLLAMA_END,
        "total_duration": 1,
    },
    [
        _line(content="x"),
        _line(thinking="y"),
        _line(tool_calls=[_OLLAMA_CALL]),
        {**_line(), **_OLLAMA_END},
    ],
    [
        *("model", "created_at", "done_reason", "prompt_eval_count", "total_duration", "other"),
        *("error", "message", "message.content", "message.thinking", "message.images"),
        *("message.tool_calls", "message.tool_calls.0.id"),
        *("message.tool_calls.0.function.name", "message.tool_calls.0.function.arguments"),
    ],
    [
        *("0.model", "0.created_at", "0.message.content", "1.message.thinking"),
        *("2.message.tool_calls", "2.message.tool_calls.0.function.name"),
        *("2.message.tool_calls.0.function.arguments", "3.done_reason", "3.prompt_eval_count"),
        *("3.total_duration", "3.other", "3.error"),
    ],
    {
        "message.tool_calls": ('{"id":"c1","function":{"name":"f","arguments":{"a":"%s"}}}',),
        "message.images": ('"iVBORw0KGgo%s"',),
    },
    (0, 1, 2),
    "lines",
    body={"messages": _MESSAGES},
)
_CONTENT = "output.message.content"
_CONVERSE = Wire(
    "/model/{}/converse",
    {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {"text": "x"},
                    {"toolUse": {**_CONVERSE_CALL, "input": {}}},
                    {"reasoningContent": {"reasoningText": {"text": "y", "signature": "s"}}},
                ],
            }
        },
        "stopReason": "tool_use",
        "usage": _CONVERSE_USAGE,
        "metrics": {"latencyMs": 1},
    },
    [
        {"role": "assistant"},
        _block(0, delta={"text": "x"}),
        _block(0),
        _block(1, start={"toolUse": _CONVERSE_CALL}),
        _block(1, delta={"toolUse": {"input": "{}"}}),
        _block(1),
        _block(2, delta={"reasoningContent": {"text": "y"}}),
        _block(2, delta={"reasoningContent": {"signature": "s"}}),
        _block(2),
        {"stopReason": "tool_use"},
        {"usage": _CONVERSE_USAGE, "metrics": {"latencyMs": 1}},
    ],
    [
        *("output", "output.message", _CONTENT, f"{_CONTENT}.0.text", "stopReason", "metrics"),
        *(f"{_CONTENT}.1.toolUse.{each}" for each in ("toolUseId", "name", "input")),
        *(f"{_CONTENT}.2.reasoningContent.reasoningText.{each}" for each in ("text", "signature")),
        *("usage", "usage.inputTokens", "usage.other", "serviceTier", "message"),
        "additionalModelResponseFields",
    ],
    [
        *("0.role", "1.delta.text", "1.delta.citation", "3.start", "3.start.toolUse.toolUseId"),
        *("3.start.toolUse.name", "4.delta.toolUse.input", "6.delta.reasoningContent.text"),
        *("7.delta.reasoningContent.signature", "7.delta.reasoningContent.redactedContent"),
        *("9.stopReason", "9.additionalModelResponseFields", "10.usage", "10.usage.other"),
        *("10.metrics", "10.serviceTier"),
    ],
    {
        _CONTENT: (
            '{"text":"%s"}',
            '{"reasoningContent":{"reasoningText":{"text":"%s","signature":"s"}}}',
            '{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":"%s"}}}',
        ),
    },
    (1, 4, 6, 7),
    "messages",
    (
        *("messageStart", "contentBlockDelta", "contentBlockStop", "contentBlockStart"),
        *("contentBlockDelta", "contentBlockStop", "contentBlockDelta", "contentBlockDelta"),
        *("contentBlockStop", "messageStop", "metadata"),
    ),
    stream_path="/model/{}/converse-stream",
    body={"messages": [{"role": "user", "content": [{"text": "x"}]}]},
)
_INTERACTIONS = Wire(
    "/v1beta/interactions",
    {
        **_INTERACTION_END,
        "created": "2026-11-30T00:00:00Z",
        "steps": [
            {"type": "model_output", "content": [{"type": "text", "text": "x"}]},
            _FUNCTION_CALL,
            {"type": "thought", "signature": "s", "summary": [{"type": "text", "text": "y"}]},
        ],
    },
    [
        {"event_type": "interaction.created", "interaction": _INTERACTION},
        _step("start", 0, step={"type": "model_output"}),
        _step("delta", 0, delta={"type": "text", "text": "x"}),
        _step("stop", 0),
        _step("start", 1, step=_FUNCTION_CALL),
        _step("delta", 1, delta={"type": "arguments_delta", "arguments": "{}"}),
        _step("stop", 1),
        _step("start", 2, step={"type": "thought"}),
        _step(
            "delta", 2, delta={"type": "thought_summary", "content": {"type": "text", "text": "y"}}
        ),
        _step("delta", 2, delta={"type": "thought_signature", "signature": "s"}),
        _step("stop", 2),
        {"event_type": "interaction.completed", "interaction": _INTERACTION_END},
    ],
    [
        *("id", "model", "status", "created", "steps", "steps.0.content", "service_tier", "error"),
        *("steps.0.content.0.text", "steps.0.content.0.annotations", "steps.1.id", "steps.1.name"),
        *("steps.1.arguments", "steps.2.signature", "steps.2.summary", "steps.2.summary.0.text"),
        *("usage", "usage.total_input_tokens", "usage.other", "other"),
    ],
    [
        *("0.interaction.id", "0.interaction.model", "2.delta.text", "4.step.id", "4.step.name"),
        *("4.step.arguments", "5.delta.arguments", "8.delta.content.text", "9.delta.signature"),
        *("11.interaction.status", "11.interaction.usage", "11.interaction.usage.other"),
        *("11.interaction.other", "11.interaction.steps", "11.error"),
    ],
    {
        "steps": (
            '{"type":"model_output","content":[{"type":"text","text":"%s"}]}',
            '{"type":"thought","summary":[{"type":"text","text":"%s"}],"signature":"s"}',
            '{"type":"function_call","id":"c1","name":"f","arguments":{"a":"%s"}}',
        ),
        "steps.0.content": ('{"type":"text","text":"%s"}',),
        "steps.2.summary": ('{"type":"text","text":"%s"}',),
    },
    (2, 5, 8, 9),
    "named events",
    body={"input": "x", "store": False},
)
WIRES: dict[str, Wire] = {
    "chat": _CHAT,
    "anthropic": _ANTHROPIC,
    "responses": _RESPONSES,
    "gemini": _GOOGLE,
    "ollama": _OLLAMA_CHAT,
    "converse": _CONVERSE,
    "interactions": _INTERACTIONS,
}
_CHAT_ERROR = {"error": {"message": "x", "type": "x", "param": "x", "code": "x"}}
# A refusal, and the places in it.
ERRORS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "chat": (_CHAT_ERROR, tuple(f"error.{each}" for each in ("message", "code", "param", "type"))),
    "anthropic": (
        {"type": "error", "error": {"type": "invalid_request_error", "message": "x"}},
        ("error.message", "error.type"),
    ),
    "responses": (_CHAT_ERROR, ("error.message", "error.code", "error.param")),
    "gemini": (
        {"error": {"code": 400, "message": "x", "status": "x", "details": []}},
        ("error.message", "error.status", "error.details"),
    ),
    "ollama": ({"error": "x"}, ("error",)),
    "converse": ({"message": "x", "__type": "x"}, ("message", "__type")),
    "interactions": (
        {"error": {"code": 400, "message": "x", "status": "x"}},
        ("error.message", "error.status", "error.code"),
    ),
}
