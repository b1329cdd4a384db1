"""The shape of a Responses request."""

from __future__ import annotations

from polycall.sim.shape import (
    ANY,
    BOOLEAN,
    OBJECT,
    STRING,
    Choice,
    Either,
    Kind,
    ListOf,
    MapOf,
    Obj,
    Scalar,
    Tagged,
    nullable,
)
from polycall.sim.vendors import openai_chat_shapes as chat
from polycall.sim.vendors import openai_hosted as hosted
from polycall.sim.vendors import openai_programs as programs

CALL_ID_LENGTH_MAX = 64

_STATUS = nullable(Choice("in_progress", "completed", "incomplete"))
_CALLER = nullable(Tagged("type", {"direct": Obj({}), "program": Obj({"caller_id!": STRING})}))
_INPUT_PARTS = {
    "input_text": Obj({"text!": STRING, "prompt_cache_breakpoint": OBJECT}),
    "input_image": Obj(
        {
            "image_url": nullable(STRING),
            "file_id": nullable(STRING),
            "detail": nullable(Choice("auto", "low", "high", "original")),
            "prompt_cache_breakpoint": OBJECT,
        }
    ),
    "input_file": Obj(
        {
            "file_data": STRING,
            "file_url": STRING,
            "file_id": nullable(STRING),
            "filename": STRING,
            "detail": STRING,
            "prompt_cache_breakpoint": OBJECT,
        }
    ),
}
_OUTPUT_PARTS = {
    "output_text": Obj({"text!": STRING, "annotations": ANY, "logprobs": ANY}),
    "refusal": Obj({"refusal!": STRING}),
}
_CONTENT = Either(STRING, ListOf(Tagged("type", {**_INPUT_PARTS, **_OUTPUT_PARTS}), low=1))
_OUTPUT = Either(STRING, ListOf(Tagged("type", _INPUT_PARTS), low=1))
_CALL_ID = Scalar("string", low=1, high=CALL_ID_LENGTH_MAX)
_SUMMARY = ListOf(Tagged("type", {"summary_text": Obj({"text!": STRING})}))
_REASONING_TEXT = ListOf(Tagged("type", {"reasoning_text": Obj({"text!": STRING})}))
_MESSAGE = Obj(
    {
        "role!": Choice("user", "assistant", "system", "developer"),
        "content!": _CONTENT,
        "id": STRING,
        "status": _STATUS,
        "phase": nullable(Choice("commentary", "final_answer")),
    }
)
_CALL = {
    "call_id!": _CALL_ID,
    "name!": STRING,
    "id": nullable(STRING),
    "caller": _CALLER,
    "namespace": nullable(STRING),
}
_RESULT: dict[str, Kind] = {
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
    {
        "message": _MESSAGE,
        "reasoning": Obj(
            {
                "id": STRING,
                "summary!": _SUMMARY,
                "content": nullable(_REASONING_TEXT),
                "encrypted_content": nullable(STRING),
                "status": _STATUS,
            }
        ),
        "function_call": Obj(
            {
                **_CALL,
                "arguments!": STRING,
                "status": _STATUS,
                "async": BOOLEAN,
            }
        ),
        "function_call_output": Obj(_RESULT),
        "custom_tool_call": Obj({**_CALL, "input!": STRING, "status": _STATUS}),
        "custom_tool_call_output": Obj(_RESULT),
        **programs.ITEMS,
        **hosted.ITEMS,
    },
    default="message",
)
_CALLERS = nullable(ListOf(Choice("direct", "programmatic"), low=1))
_CALLABLE: dict[str, Obj] = {
    "function": Obj(
        {
            "name!": STRING,
            "description": nullable(STRING),
            "parameters": nullable(OBJECT),
            "strict": nullable(BOOLEAN),
            "defer_loading": BOOLEAN,
            "allowed_callers": _CALLERS,
            "output_schema": nullable(OBJECT),
            "async": BOOLEAN,
        }
    ),
    "custom": Obj(
        {
            "name!": STRING,
            "description": STRING,
            "format": Tagged(
                "type",
                {
                    "text": Obj({}),
                    "grammar": Obj({"syntax!": Choice("lark", "regex"), "definition!": STRING}),
                },
            ),
            "defer_loading": BOOLEAN,
            "allowed_callers": _CALLERS,
            "async": BOOLEAN,
        }
    ),
}
_NAMESPACE = Obj(
    {
        "name!": STRING,
        "description": nullable(STRING),
        "tools!": ListOf(Tagged("type", _CALLABLE)),
    }
)
_TOOLS = Tagged(
    "type",
    {**_CALLABLE, "namespace": _NAMESPACE, programs.TYPE: Obj({}), **hosted.TOOLS},
)
_NAMED = {"function": Obj({"name!": STRING}), "custom": Obj({"name!": STRING})}
_CHOICE = Either(
    Choice("none", "auto", "required"),
    Tagged(
        "type",
        {
            **_NAMED,
            programs.TYPE: Obj({}),
            **hosted.CHOICES,
            "allowed_tools": Obj(
                {
                    "mode!": Choice("auto", "required"),
                    "tools!": ListOf(Tagged("type", {**_NAMED, **hosted.CHOICES}), low=1),
                }
            ),
        },
    ),
)
_FORMAT = Tagged(
    "type",
    {
        "text": Obj({}),
        "json_object": Obj({}),
        "json_schema": Obj(
            {
                "name!": STRING,
                "schema!": OBJECT,
                "strict": nullable(BOOLEAN),
                "description": STRING,
            }
        ),
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
            Obj(
                {
                    "effort": nullable(chat.EFFORTS),
                    "summary": _SUMMARIES,
                    "generate_summary": _SUMMARIES,
                    "context": nullable(Choice("auto", "current_turn", "all_turns")),
                    "mode": STRING,
                }
            )
        ),
        "safety_identifier": nullable(STRING),
        "service_tier": nullable(Choice(*chat.TIERS, "ultrafast")),
        "store": nullable(BOOLEAN),
        "stream": nullable(BOOLEAN),
        "stream_options": nullable(Obj({"include_obfuscation": BOOLEAN})),
        "temperature": nullable(Scalar("number", low=0, high=2)),
        "text": Obj({"format": _FORMAT, "verbosity": nullable(Choice("low", "medium", "high"))}),
        "tool_choice": nullable(_CHOICE),
        "tools": nullable(ListOf(_TOOLS, high=chat.TOOLS_MAX)),
        "top_logprobs": nullable(Scalar("integer", low=0, high=20)),
        "top_p": nullable(Scalar("number", low=0, high=1)),
        "truncation": nullable(Choice("auto", "disabled")),
        "user": STRING,
    }
)
