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
    Kind,
    ListOf,
    MapOf,
    Obj,
    Scalar,
    Tagged,
    nullable,
)

CALL_ID_LENGTH_MAX = 40
TOOLS_MAX = 128

_BREAKPOINT = Obj({"mode!": Choice("explicit"), "ttl": STRING})


def _part(fields: dict[str, Kind]) -> Obj:
    return Obj({**fields, "prompt_cache_breakpoint": _BREAKPOINT})


_TEXT_PART = _part({"text!": STRING})
_TEXTS = Either(STRING, ListOf(Tagged("type", {"text": _TEXT_PART}), low=1))
_IMAGE_URL = Obj({"url!": STRING, "detail": Choice("auto", "low", "high", "original")})
_USER_PARTS = Tagged(
    "type",
    {
        "text": _TEXT_PART,
        "image_url": _part({"image_url!": _IMAGE_URL}),
        "input_audio": _part(
            {"input_audio!": Obj({"data!": STRING, "format!": Choice("wav", "mp3")})}
        ),
        "file": _part({"file!": Obj({"file_data": STRING, "file_id": STRING, "filename": STRING})}),
    },
)
_ASSISTANT_PARTS = Tagged("type", {"text": _TEXT_PART, "refusal": Obj({"refusal!": STRING})})
_CALLED = Obj({"name!": STRING, "arguments!": STRING})
_CALLS = Tagged(
    "type",
    {
        "function": Obj({"id!": STRING, "index": INTEGER, "function!": _CALLED}),
        "custom": Obj({"id!": STRING, "custom!": Obj({"name!": STRING, "input!": STRING})}),
    },
)
_MESSAGES = Tagged(
    "role",
    {
        "system": Obj({"content!": _TEXTS, "name": STRING}),
        "developer": Obj({"content!": _TEXTS, "name": STRING}),
        "user": Obj({"content!": Either(STRING, ListOf(_USER_PARTS, low=1)), "name": STRING}),
        "assistant": Obj(
            {
                "content": nullable(Either(STRING, ListOf(_ASSISTANT_PARTS, low=1))),
                "refusal": nullable(STRING),
                "tool_calls": ListOf(_CALLS, low=1),
                "function_call": nullable(_CALLED),
                "audio": nullable(Obj({"id!": STRING})),
                "name": STRING,
                # Accepted since the vendor's own SDK sends its answers back whole.
                "annotations": ANY,
            }
        ),
        # `name` is not a documented field of a result, and accepted.
        "tool": Obj({"content!": _TEXTS, "tool_call_id!": STRING, "name": STRING}),
        "function": Obj({"content!": nullable(STRING), "name!": STRING}),
    },
)
_NAMED = Obj({"name!": STRING})
_FUNCTION = Obj({"name!": STRING, "description": nullable(STRING), "parameters": OBJECT})
_TOOLS = Tagged(
    "type",
    {
        "function": Obj(
            {
                "function!": Obj(
                    {
                        "name!": STRING,
                        "description": nullable(STRING),
                        "parameters": OBJECT,
                        "strict": nullable(BOOLEAN),
                    }
                )
            }
        ),
        "custom": Obj(
            {
                "custom!": Obj(
                    {
                        "name!": STRING,
                        "description": STRING,
                        "format": Tagged(
                            "type",
                            {
                                "text": Obj({}),
                                "grammar": Obj(
                                    {
                                        "grammar!": Obj(
                                            {
                                                "syntax!": Choice("lark", "regex"),
                                                "definition!": STRING,
                                            }
                                        )
                                    }
                                ),
                            },
                        ),
                    }
                )
            }
        ),
    },
)
_NAMED_TOOLS = {"function": Obj({"function!": _NAMED}), "custom": Obj({"custom!": _NAMED})}
_CHOICE = Either(
    Choice("none", "auto", "required"),
    Tagged(
        "type",
        {
            **_NAMED_TOOLS,
            "allowed_tools": Obj(
                {
                    "allowed_tools!": Obj(
                        {
                            "mode!": Choice("auto", "required"),
                            "tools!": ListOf(Tagged("type", _NAMED_TOOLS), low=1),
                        }
                    )
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
                "json_schema!": Obj(
                    {
                        "name!": STRING,
                        "schema": OBJECT,
                        "strict": nullable(BOOLEAN),
                        "description": STRING,
                    }
                )
            }
        ),
    },
)
TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
EFFORTS = Choice("none", "minimal", "low", "medium", "high", "xhigh", "max")
_FIELDS: dict[str, Kind] = {
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
    "stream_options": nullable(Obj({"include_usage": BOOLEAN, "include_obfuscation": BOOLEAN})),
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
