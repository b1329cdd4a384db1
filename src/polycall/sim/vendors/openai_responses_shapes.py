"""The shape of a Responses request."""

from __future__ import annotations

from polycall.sim.shape import (
    ANY,
    BOOLEAN,
    OBJECT,
    STRING,
    Choice,
    Either,
    ListOf,
    MapOf,
    Obj,
    Scalar,
    Shape,
    Tagged,
    by_type,
    nullable,
)
from polycall.sim.vendors import openai_chat_shapes as chat
from polycall.sim.vendors import openai_hosted as hosted
from polycall.sim.vendors import openai_programs as programs

CALL_ID_LENGTH_MAX = 64

_STATUS = nullable(Choice("in_progress", "completed", "incomplete"))
_CALLER = nullable(by_type(direct={}, program={"caller_id!": STRING}))
_INPUT_PARTS = {
    "input_text": {"text!": STRING, "prompt_cache_breakpoint": OBJECT},
    "input_image": {
        "image_url": nullable(STRING),
        "file_id": nullable(STRING),
        "detail": nullable(Choice("auto", "low", "high", "original")),
        "prompt_cache_breakpoint": OBJECT,
    },
    "input_file": {
        "file_data": STRING,
        "file_url": STRING,
        "file_id": nullable(STRING),
        "filename": STRING,
        "detail": STRING,
        "prompt_cache_breakpoint": OBJECT,
    },
}
_OUTPUT_PARTS = {
    "output_text": {"text!": STRING, "annotations": ANY, "logprobs": ANY},
    "refusal": {"refusal!": STRING},
}
_CONTENT = Either(STRING, ListOf(by_type(**_INPUT_PARTS, **_OUTPUT_PARTS), low=1))
_OUTPUT = Either(STRING, ListOf(by_type(**_INPUT_PARTS), low=1))
_CALL_ID = Scalar("string", low=1, high=CALL_ID_LENGTH_MAX)
_SUMMARY = ListOf(by_type(summary_text={"text!": STRING}))
_REASONING_TEXT = ListOf(by_type(reasoning_text={"text!": STRING}))
_MESSAGE = {
    "role!": Choice("user", "assistant", "system", "developer"),
    "content!": _CONTENT,
    "id": STRING,
    "status": _STATUS,
    "phase": nullable(Choice("commentary", "final_answer")),
}
_CALL = {
    "call_id!": _CALL_ID,
    "name!": STRING,
    "id": nullable(STRING),
    "caller": _CALLER,
    "namespace": nullable(STRING),
}
_RESULT: dict[str, Shape] = {
    "call_id!": _CALL_ID,
    "output!": _OUTPUT,
    "id": nullable(STRING),
    "status": _STATUS,
    "caller": _CALLER,
    "name": STRING,
    "namespace": STRING,
}
_ITEMS = Tagged(
    "type",
    dict[str, Shape](
        message=_MESSAGE,
        reasoning={
            "id": STRING,
            "summary!": _SUMMARY,
            "content": nullable(_REASONING_TEXT),
            "encrypted_content": nullable(STRING),
            "status": _STATUS,
        },
        function_call={
            **_CALL,
            "arguments!": STRING,
            "status": _STATUS,
            "async": BOOLEAN,
        },
        function_call_output=_RESULT,
        custom_tool_call={**_CALL, "input!": STRING, "status": _STATUS},
        custom_tool_call_output=_RESULT,
        **programs.ITEMS,
        **hosted.ITEMS,
    ),
    default="message",
)
_CALLERS = nullable(ListOf(Choice("direct", "programmatic"), low=1))
_CALLABLE: dict[str, Shape] = {
    "function": {
        "name!": STRING,
        "description": nullable(STRING),
        "parameters": nullable(OBJECT),
        "strict": nullable(BOOLEAN),
        "defer_loading": BOOLEAN,
        "allowed_callers": _CALLERS,
        "output_schema": nullable(OBJECT),
        "async": BOOLEAN,
    },
    "custom": {
        "name!": STRING,
        "description": STRING,
        "format": by_type(
            text={},
            grammar={"syntax!": Choice("lark", "regex"), "definition!": STRING},
        ),
        "defer_loading": BOOLEAN,
        "allowed_callers": _CALLERS,
        "async": BOOLEAN,
    },
}
_NAMESPACE = {
    "name!": STRING,
    "description": nullable(STRING),
    "tools!": ListOf(by_type(**_CALLABLE)),
}
_TOOLS = Tagged(
    "type",
    {**_CALLABLE, "namespace": _NAMESPACE, programs.TYPE: {}, **hosted.TOOLS},
)
_NAMED = {"function": {"name!": STRING}, "custom": {"name!": STRING}}
_CHOICE = Either(
    Choice("none", "auto", "required"),
    Tagged(
        "type",
        {
            **_NAMED,
            programs.TYPE: {},
            **hosted.CHOICES,
            "allowed_tools": {
                "mode!": Choice("auto", "required"),
                "tools!": ListOf(by_type(**_NAMED, **hosted.CHOICES), low=1),
            },
        },
    ),
)
_FORMAT = by_type(
    text={},
    json_object={},
    json_schema={
        "name!": STRING,
        "schema!": OBJECT,
        "strict": nullable(BOOLEAN),
        "description": STRING,
    },
)
_SUMMARIES = nullable(Choice("auto", "concise", "detailed"))
BODY = Obj(
    {
        "model!": STRING,
        "input!": Either(STRING, ListOf(_ITEMS, low=1)),
        "background": nullable(BOOLEAN),
        # Codex CLI 0.169 sends it with each request to the vendor; seen on 2026-11-29.
        "client_metadata": nullable(MapOf(STRING)),
        "context_management": nullable(ListOf(OBJECT)),
        "conversation": ANY,
        "include": nullable(ListOf(STRING)),
        "instructions": nullable(STRING),
        "max_output_tokens": nullable(Scalar("integer", low=16)),
        "max_tool_calls": nullable(Scalar("integer", low=1)),
        "metadata": nullable(MapOf(STRING)),
        "moderation": nullable(OBJECT),
        "parallel_tool_calls": nullable(BOOLEAN),
        "previous_response_id": nullable(STRING),
        "prompt": nullable(OBJECT),
        "prompt_cache_key": nullable(STRING),
        "prompt_cache_options": OBJECT,
        "prompt_cache_retention": nullable(Choice("in_memory", "24h")),
        "reasoning": nullable(
            {
                "effort": nullable(chat.EFFORTS),
                "summary": _SUMMARIES,
                "generate_summary": _SUMMARIES,
                "context": nullable(Choice("auto", "current_turn", "all_turns")),
                "mode": STRING,
            }
        ),
        "safety_identifier": nullable(STRING),
        "service_tier": nullable(Choice(*chat.TIERS, "ultrafast")),
        "store": nullable(BOOLEAN),
        "stream": nullable(BOOLEAN),
        "stream_options": nullable({"include_obfuscation": BOOLEAN}),
        "temperature": nullable(Scalar("number", low=0, high=2)),
        "text": {"format": _FORMAT, "verbosity": nullable(Choice("low", "medium", "high"))},
        "tool_choice": nullable(_CHOICE),
        "tools": nullable(ListOf(_TOOLS, high=chat.TOOLS_MAX)),
        "top_logprobs": nullable(Scalar("integer", low=0, high=20)),
        "top_p": nullable(Scalar("number", low=0, high=1)),
        "truncation": nullable(Choice("auto", "disabled")),
        "user": STRING,
    }
)
