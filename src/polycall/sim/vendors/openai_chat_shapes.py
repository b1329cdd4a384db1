"""The shape of a Chat Completions request."""

from __future__ import annotations

from polycall.sim.shape import (
    ANY,
    BOOLEAN,
    INTEGER,
    NUMBER,
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

CALL_ID_LENGTH_MAX = 40
TOOLS_MAX = 128

_BREAKPOINT = {"mode!": Choice("explicit"), "ttl": STRING}


def _part(fields: dict[str, Shape]) -> Shape:
    return {**fields, "prompt_cache_breakpoint": _BREAKPOINT}


_TEXT_PART = _part({"text!": STRING})
_TEXTS = Either(STRING, ListOf(by_type(text=_TEXT_PART), low=1))
_IMAGE_URL = {"url!": STRING, "detail": Choice("auto", "low", "high", "original")}
_USER_PARTS = by_type(
    text=_TEXT_PART,
    image_url=_part({"image_url!": _IMAGE_URL}),
    input_audio=_part({"input_audio!": {"data!": STRING, "format!": Choice("wav", "mp3")}}),
    file=_part({"file!": {"file_data": STRING, "file_id": STRING, "filename": STRING}}),
)
_ASSISTANT_PARTS = by_type(text=_TEXT_PART, refusal={"refusal!": STRING})
_CALLED = {"name!": STRING, "arguments!": STRING}
_CALLS = by_type(
    function={"id!": STRING, "index": INTEGER, "function!": _CALLED},
    custom={"id!": STRING, "custom!": {"name!": STRING, "input!": STRING}},
)
_MESSAGES = Tagged(
    "role",
    {
        "system": {"content!": _TEXTS, "name": STRING},
        "developer": {"content!": _TEXTS, "name": STRING},
        "user": {"content!": Either(STRING, ListOf(_USER_PARTS, low=1)), "name": STRING},
        "assistant": {
            "content": nullable(Either(STRING, ListOf(_ASSISTANT_PARTS, low=1))),
            "refusal": nullable(STRING),
            "tool_calls": ListOf(_CALLS, low=1),
            "function_call": nullable(_CALLED),
            "audio": nullable({"id!": STRING}),
            "name": STRING,
            # Accepted since the vendor's own SDK sends its answers back whole.
            "annotations": ANY,
        },
        # `name` is not a documented field of a result, and accepted.
        "tool": {"content!": _TEXTS, "tool_call_id!": STRING, "name": STRING},
        "function": {"content!": nullable(STRING), "name!": STRING},
    },
)
_NAMED = {"name!": STRING}
_FUNCTION = {"name!": STRING, "description": nullable(STRING), "parameters": OBJECT}
_TOOLS = by_type(
    function={
        "function!": {
            "name!": STRING,
            "description": nullable(STRING),
            "parameters": OBJECT,
            "strict": nullable(BOOLEAN),
        }
    },
    custom={
        "custom!": {
            "name!": STRING,
            "description": STRING,
            "format": by_type(
                text={},
                grammar={
                    "grammar!": {
                        "syntax!": Choice("lark", "regex"),
                        "definition!": STRING,
                    }
                },
            ),
        }
    },
)
_NAMED_TOOLS = {"function": {"function!": _NAMED}, "custom": {"custom!": _NAMED}}
_CHOICE = Either(
    Choice("none", "auto", "required"),
    by_type(
        **_NAMED_TOOLS,
        allowed_tools={
            "allowed_tools!": {
                "mode!": Choice("auto", "required"),
                "tools!": ListOf(by_type(**_NAMED_TOOLS), low=1),
            }
        },
    ),
)
_FORMAT = by_type(
    text={},
    json_object={},
    json_schema={
        "json_schema!": {
            "name!": STRING,
            "schema": OBJECT,
            "strict": nullable(BOOLEAN),
            "description": STRING,
        }
    },
)
TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
EFFORTS = Choice("none", "minimal", "low", "medium", "high", "xhigh", "max")
_FIELDS: dict[str, Shape] = {
    "model!": STRING,
    "messages!": ListOf(_MESSAGES, low=1),
    "audio": nullable(OBJECT),
    "frequency_penalty": nullable(Scalar("number", low=-2, high=2)),
    "function_call": Either(Choice("none", "auto"), _NAMED),
    "functions": ListOf(_FUNCTION, low=1, high=TOOLS_MAX),
    "logit_bias": nullable(MapOf(NUMBER)),
    "logprobs": nullable(BOOLEAN),
    "max_completion_tokens": nullable(Scalar("integer", low=1)),
    "max_tokens": nullable(Scalar("integer", low=1)),
    "metadata": nullable(MapOf(STRING)),
    "modalities": nullable(ListOf(Choice("text", "audio"))),
    "moderation": nullable(OBJECT),
    "n": nullable(Scalar("integer", low=1, high=128)),
    "parallel_tool_calls": BOOLEAN,
    "prediction": nullable(OBJECT),
    "presence_penalty": nullable(Scalar("number", low=-2, high=2)),
    "prompt_cache_key": nullable(STRING),
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": nullable(Choice("in_memory", "24h")),
    "reasoning_effort": nullable(EFFORTS),
    "response_format": nullable(_FORMAT),
    "safety_identifier": nullable(STRING),
    "seed": nullable(INTEGER),
    "service_tier": nullable(Choice(*TIERS)),
    "stop": nullable(Either(STRING, ListOf(STRING, high=4))),
    "store": nullable(BOOLEAN),
    "stream": nullable(BOOLEAN),
    "stream_options": nullable({"include_usage": BOOLEAN, "include_obfuscation": BOOLEAN}),
    "temperature": nullable(Scalar("number", low=0, high=2)),
    "tool_choice": nullable(_CHOICE),
    "tools": nullable(ListOf(_TOOLS, low=1, high=TOOLS_MAX)),
    "top_logprobs": nullable(Scalar("integer", low=0, high=20)),
    "top_p": nullable(Scalar("number", low=0, high=1)),
    "user": STRING,
    "verbosity": nullable(Choice("low", "medium", "high")),
    "web_search_options": OBJECT,
}
BODY = Obj(_FIELDS)
FIELDS = frozenset(name.removesuffix("!") for name in _FIELDS)
