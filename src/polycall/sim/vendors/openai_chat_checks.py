"""What Chat Completions takes: the shape of the body and the rules between its fields."""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext
from polycall.sim.script import Called, Entry, ModelSpec, Prompt, Returned, Said, ToolSpec
from polycall.sim.shape import (
    ANY,
    BOOLEAN,
    INTEGER,
    JSON,
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
    list_in,
    nullable,
    object_in,
    parse_object,
    texts_in,
)
from polycall.sim.vendors import openai_common as common

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
                "audio": nullable(Obj({"id!": STRING})),
                "name": STRING,
                # Accepted since the vendor's own SDK sends its answers back whole.
                "annotations": ANY,
            }
        ),
        # `name` is no documented field of a result, and accepted.
        "tool": Obj({"content!": _TEXTS, "tool_call_id!": STRING, "name": STRING}),
    },
)
_NAMED = Obj({"name!": STRING})
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
EFFORTS = Choice("none", "minimal", "low", "medium", "high", "xhigh", "max")
_BODY = Obj(
    {
        "model!": STRING,
        "messages!": ListOf(_MESSAGES, low=1),
        "audio": nullable(OBJECT),
        "frequency_penalty": nullable(Scalar("number", low=-2, high=2)),
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
        "service_tier": nullable(Choice("auto", "default", "flex", "scale", "priority", "fast")),
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
)

# Fields that this simulation has no counterpart for.
_UNSERVED = ("audio", "logprobs", "prediction", "web_search_options")


def read_body(body: Any) -> JSON:
    """The body, if it has the shape of a request; raises `ShapeError`."""
    return _BODY.read(body, (), False)


def check_rules(body: JSON, model: ModelSpec) -> Prompt:
    """All that the shape alone does not say."""
    reasons = _check_model(body, model)
    for name in _UNSERVED:
        if body.get(name):
            raise common.refuse(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )
    if (body.get("n") or 1) != 1:
        raise common.refuse("This simulation gives one choice: 'n' must be 1.", param="n")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise common.refuse(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    tools = read_tools(list_in(body, "tools"))
    prompt = Prompt(body["model"], read_messages(body["messages"]), tools, body)
    read_choice(body, prompt)
    prompt.reasons = reasons
    prompt.reports_writes = True
    prompt.shows_reasoning = False
    prompt.schema = _read_format(body)
    prompt.tokens_max = body.get("max_completion_tokens") or body.get("max_tokens")
    prompt.stop = texts_in(body, "stop")
    prompt.stream = bool(body.get("stream"))
    return prompt


def _check_model(body: JSON, model: ModelSpec) -> bool:
    effort = body.get("reasoning_effort")
    if model.reasons == "never":
        if effort not in (None, "none"):
            raise unsupported("reasoning_effort", body["model"])
        return False
    if effort == "none" or (model.reasons == "asked" and effort is None):
        return False
    if any(tool["type"] == "function" for tool in list_in(body, "tools")):
        raise common.refuse(
            f"Function tools with reasoning_effort are not supported for {body['model']} in "
            "/v1/chat/completions. To use function tools, use /v1/responses or set "
            "reasoning_effort to 'none'.",
            param="reasoning_effort",
        )
    if body.get("temperature") not in (None, 1):
        raise common.refuse(
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this "
            "model. Only the default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )
    for name in ("stop", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"):
        if body.get(name) is not None:
            raise unsupported(name, body["model"])
    if body.get("max_tokens") is not None:
        raise common.refuse(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    return True


def unsupported(name: str, model: str) -> common.Refused:
    """A parameter that this model does not take."""
    return common.refuse(
        f"Unsupported parameter: '{name}' is not supported with this model ({model}).",
        param=name,
        code="unsupported_parameter",
    )


def read_tools(tools: list[JSON]) -> list[ToolSpec]:
    """The tools, checked."""
    result: list[ToolSpec] = []
    for index, tool in enumerate(tools):
        if tool["type"] == "custom":
            custom = tool["custom"]
            common.check_tool_name(custom["name"], f"tools[{index}].custom.name")
            result.append(freeform(custom["name"], custom.get("description") or ""))
        else:
            function = tool["function"]
            place = f"tools[{index}].function"
            strict = function.get("strict") is True
            result.append(common.check_function(function, place, strict=strict))
    common.check_unique(result, "tools")
    return result


def freeform(name: str, description: str) -> ToolSpec:
    """A freeform tool, as one string."""
    schema: JSON = {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
    }
    return ToolSpec(name, description, schema, freeform=True)


def read_choice(body: JSON, prompt: Prompt) -> None:
    """`tool_choice` and `parallel_tool_calls`, which need tools."""
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not prompt.tools:
            raise common.refuse(f"'{name}' is only allowed when 'tools' are specified.", param=name)
    prompt.parallel = body.get("parallel_tool_calls", True)
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, str):
        prompt.choice = (
            "required" if choice == "required" else "none" if choice == "none" else "auto"
        )
        return
    names: list[str] = []
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        prompt.choice = allowed["mode"]
        names = [tool[tool["type"]]["name"] for tool in allowed["tools"]]
    else:
        prompt.choice = "required"
        names = [choice[choice["type"]]["name"]]
    known = {tool.name for tool in prompt.tools}
    for name in names:
        if name not in known:
            raise common.refuse(
                f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice"
            )
    prompt.allowed = frozenset(names)


def _read_format(body: JSON) -> JSON | None:
    wanted = body.get("response_format")
    if wanted is None or wanted["type"] == "text":
        return None
    if wanted["type"] == "json_object":
        words = jsontext.encode(body["messages"]).lower()
        if "json" not in words:
            raise common.refuse(
                "'messages' must contain the word 'json' in some form, to use "
                "'response_format' of type 'json_object'.",
                param="messages",
            )
        return {}
    inner = wanted["json_schema"]
    common.check_tool_name(inner["name"], "response_format.json_schema.name")
    schema = object_in(inner, "schema")
    place = "response_format"
    strict = inner.get("strict") is True
    common.check_format_schema(inner["name"], schema, strict=strict, place=place)
    return schema


def read_messages(messages: list[JSON]) -> list[Entry]:
    """The conversation; every call has one result before anything else comes."""
    entries: list[Entry] = []
    names: dict[str, str] = {}
    waiting: list[str] = []
    for index, message in enumerate(messages):
        role = message["role"]
        place = f"messages[{index}]"
        if role == "tool":
            _check_result(message, names, waiting, place)
            waiting.remove(message["tool_call_id"])
            name = names[message["tool_call_id"]]
            text = text_of(message["content"], place)
            entries.append(Returned(message["tool_call_id"], name, text))
            continue
        if waiting:
            raise _without_results(waiting, f"messages[{index - 1}].role")
        if role == "assistant":
            waiting = _read_assistant(message, place, entries, names)
        else:
            said = "user" if role == "user" else "system"
            entries.append(Said(said, text_of(message["content"], f"{place}.content")))
    if waiting:
        raise _without_results(waiting, f"messages[{len(messages) - 1}].role")
    return entries


def _without_results(waiting: list[str], param: str) -> common.Refused:
    return common.refuse(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to "
        "each 'tool_call_id'. The following tool_call_ids did not have response messages: "
        + ", ".join(waiting),
        param=param,
    )


def _check_result(message: JSON, names: dict[str, str], waiting: list[str], place: str) -> None:
    call_id = message["tool_call_id"]
    if call_id in waiting:
        return
    if call_id in names and not waiting:
        raise common.refuse(
            f"Duplicate or late tool message for 'tool_call_id' {call_id}.",
            param=f"{place}.tool_call_id",
        )
    if not waiting:
        raise common.refuse(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
            "message with 'tool_calls'.",
            param=f"{place}.role",
        )
    raise common.refuse(
        f"Invalid parameter: 'tool_call_id' of '{call_id}' not found in 'tool_calls' of previous "
        "message.",
        param=f"{place}.tool_call_id",
    )


def _read_assistant(
    message: JSON, place: str, entries: list[Entry], names: dict[str, str]
) -> list[str]:
    calls = list_in(message, "tool_calls")
    content = message.get("content")
    if content is None and not calls and not message.get("refusal"):
        raise common.refuse(
            f"Invalid value for '{place}.content': expected a string, got null.",
            param=f"{place}.content",
            code="invalid_type",
        )
    text = text_of(content or "", f"{place}.content") or message.get("refusal") or ""
    if text:
        entries.append(Said("assistant", text))
    waiting: list[str] = []
    for index, call in enumerate(calls):
        inner = call[call["type"]]
        spot = f"{place}.tool_calls[{index}]"
        check_call_id(call["id"], f"{spot}.id", CALL_ID_LENGTH_MAX)
        if call["id"] in waiting:
            raise common.refuse(
                f"Duplicate value for 'tool_call_id' of '{call['id']}'.", param=f"{spot}.id"
            )
        common.check_tool_name(inner["name"], f"{spot}.{call['type']}.name")
        text = (
            inner["arguments"]
            if "arguments" in inner
            else jsontext.encode({"input": inner["input"]})
        )
        entries.append(Called(call["id"], inner["name"], parse_arguments(text)))
        names[call["id"]] = inner["name"]
        waiting.append(call["id"])
    return waiting


def check_call_id(call_id: str, place: str, length_max: int) -> None:
    """Not empty, not too long."""
    if not call_id or len(call_id) > length_max:
        word = "too long" if call_id else "empty"
        raise common.refuse(
            f"Invalid '{place}': string {word}. Expected a string with maximum length "
            f"{length_max}, but got a string with length {len(call_id)} instead.",
            param=place,
            code="string_above_max_length" if call_id else "empty_string",
        )


def parse_arguments(text: str) -> JSON:
    """Arguments in a history; the vendor takes any text, so what is no object is empty here."""
    return parse_object(text) or {}


def text_of(content: str | list[JSON], place: str) -> str:
    """The text of a content, its images checked."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        match part["type"]:
            case "text":
                texts.append(part["text"])
            case "refusal":
                texts.append(part["refusal"])
            case "image_url":
                url = part["image_url"]["url"]
                common.check_image_url(url, f"{place}[{index}].image_url.url")
            case _:
                continue
    return "\n".join(texts)
