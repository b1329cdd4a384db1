"""The checks of Chat Completions: the shape of the body and the rules between its fields."""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext
from polycall.sim.script import Called, Entry, ModelSpec, Prompt, Returned, Said, ToolSpec
from polycall.sim.shape import JSON, list_in, object_in, parse_object, texts_in
from polycall.sim.shape_files import ShapeFile
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors import openai_functions

CALL_ID_LENGTH_MAX = 40
_SHAPES = ShapeFile("openai_chat")
_BODY = _SHAPES["request"]
FIELDS = _SHAPES.names("request")

# Fields that this simulation has no counterpart for.
_UNSERVED = ("audio", "prediction", "web_search_options")


def read_body(body: Any) -> JSON:
    """The body, if it has the shape of a request; raises `ShapeError`."""
    return _BODY.read(body, (), False)


def check_rules(body: JSON, model: ModelSpec) -> Prompt:
    """All that the shape alone does not say."""
    reasons = _check_model(body, model)
    for name in _UNSERVED:
        # What a real model takes, the dated rules say.
        if body.get(name) and not (model.is_real and name in ("prediction", "web_search_options")):
            raise common.refuse(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise common.refuse(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            param="top_logprobs",
        )
    if body.get("stream_options") is not None and not body.get("stream"):
        raise common.refuse(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    asked = openai_functions.modern(body)
    tools = read_tools(list_in(asked, "tools"))
    prompt = Prompt(body["model"], read_messages(asked["messages"]), tools, body)
    read_choice(asked, prompt)
    read_answers(body, prompt)
    prompt.reasons = reasons
    prompt.reports_writes = True
    prompt.shows_reasoning = False
    prompt.schema = _read_format(body)
    prompt.tokens_max = body.get("max_completion_tokens") or body.get("max_tokens")
    prompt.stop = texts_in(body, "stop")
    prompt.stream = bool(body.get("stream"))
    return prompt


def read_answers(body: JSON, prompt: Prompt) -> None:
    """Read the number of answers, and their form."""
    count = body.get("n")
    prompt.choices = count if isinstance(count, int) else 1
    prompt.logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") is True else None
    if body.get("functions") and not body.get("tools"):
        prompt.calls_functions, prompt.parallel = True, False


def _check_model(body: JSON, model: ModelSpec) -> bool:
    effort = body.get("reasoning_effort")
    if model.is_real:
        return effort != "none" if model.reasons == "always" else effort not in (None, "none")
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
    if body.get("logprobs"):
        raise unsupported("logprobs", body["model"])
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
            "none" if choice == "none" else "required" if choice == "required" else "auto"
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
    """Arguments in a history; the vendor takes any text, so what is not an object is empty here."""
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
