"""What Responses takes: the shape of the body and the rules between its items."""

from __future__ import annotations

from typing import Any

from polycall.sim import signing
from polycall.sim.script import Called, Entry, ModelSpec, Prompt, Returned, Said, ToolSpec
from polycall.sim.shape import (
    ANY,
    BOOLEAN,
    JSON,
    OBJECT,
    STRING,
    Choice,
    Either,
    Kind,
    ListOf,
    MapOf,
    Obj,
    Path,
    Scalar,
    Tagged,
    list_in,
    nullable,
    object_in,
)
from polycall.sim.vendors import openai_chat_checks as chat
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors import openai_programs as programs

CALL_ID_LENGTH_MAX = 64
SCOPE = "openai"

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
_CALL = {"call_id!": _CALL_ID, "name!": STRING, "id": nullable(STRING), "caller": _CALLER}
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
                "namespace": nullable(STRING),
                "async": BOOLEAN,
            }
        ),
        "function_call_output": Obj(_RESULT),
        "custom_tool_call": Obj({**_CALL, "input!": STRING, "status": _STATUS}),
        "custom_tool_call_output": Obj(_RESULT),
        **programs.ITEMS,
    },
    default="message",
)
_CALLERS = nullable(ListOf(Choice("direct", "programmatic"), low=1))
_TOOLS = Tagged(
    "type",
    {
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
        programs.TYPE: Obj({}),
    },
)
_NAMED = {"function": Obj({"name!": STRING}), "custom": Obj({"name!": STRING})}
_CHOICE = Either(
    Choice("none", "auto", "required"),
    Tagged(
        "type",
        {
            **_NAMED,
            programs.TYPE: Obj({}),
            "allowed_tools": Obj(
                {
                    "mode!": Choice("auto", "required"),
                    "tools!": ListOf(Tagged("type", _NAMED), low=1),
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
_BODY = Obj(
    {
        "model!": STRING,
        "input!": Either(STRING, ListOf(_ITEMS, low=1)),
        "background": nullable(BOOLEAN),
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
        "service_tier": nullable(Choice("auto", "default", "flex", "scale", "priority", "fast")),
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

_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})

# State that this simulation does not keep.
_UNSERVED = ("background", "conversation", "previous_response_id", "prompt")


def read_body(body: Any) -> JSON:
    """The body, if it has the shape of a request; raises `ShapeError`."""
    return _BODY.read(body, (), False)


def check_rules(body: JSON, model: ModelSpec) -> Prompt:
    """All that the shape alone does not say."""
    for name in _UNSERVED:
        if body.get(name):
            raise common.refuse(
                f"Unsupported parameter: '{name}' needs state that this simulation does not keep.",
                param=name,
                code="unsupported_parameter",
            )
    reasons = _check_model(body, model)
    tools = [
        _read_tool(tool, index)
        for index, tool in enumerate(list_in(body, "tools"))
        if tool["type"] != programs.TYPE
    ]
    common.check_unique(tools, "tools")
    offered = programs.offered(body)
    items = _Items(body, model)
    entries = items.read()
    items.programs.conclude(offered)
    if body.get("instructions"):
        entries.insert(0, Said("system", body["instructions"]))
    prompt = Prompt(body["model"], entries, tools, body, programs=offered)
    _read_choice(body, prompt)
    prompt.reasons = reasons
    prompt.reports_writes = True
    prompt.shows_reasoning = bool(object_in(body, "reasoning").get("summary"))
    prompt.schema = _read_format(body)
    prompt.tokens_max = body.get("max_output_tokens")
    prompt.stream = bool(body.get("stream"))
    return prompt


def _check_model(body: JSON, model: ModelSpec) -> bool:
    effort = object_in(body, "reasoning").get("effort")
    if model.reasons == "never":
        if body.get("reasoning") and effort not in (None, "none"):
            raise chat.unsupported("reasoning.effort", body["model"])
        return False
    if effort == "none" or (model.reasons == "asked" and effort is None):
        return False
    for name in ("temperature", "top_p"):
        if body.get(name) not in (None, 1):
            raise chat.unsupported(name, body["model"])
    return True


def _read_tool(tool: JSON, index: int) -> ToolSpec:
    if tool["type"] == "custom":
        common.check_tool_name(tool["name"], f"tools[{index}].name")
        return chat.freeform(tool["name"], tool.get("description") or "")
    return common.check_function(tool, f"tools[{index}]", strict=tool.get("strict") is True)


def _read_choice(body: JSON, prompt: Prompt) -> None:
    choice = body.get("tool_choice") or "auto"
    prompt.parallel = body.get("parallel_tool_calls") is not False
    if choice not in ("auto", "none") and not prompt.tools:
        raise common.refuse(
            "Tool choice other than 'auto' and 'none' must be specified with 'tools' parameter.",
            param="tool_choice",
        )
    if isinstance(choice, str):
        prompt.choice = (
            "required" if choice == "required" else "none" if choice == "none" else "auto"
        )
        return
    if choice["type"] == programs.TYPE:
        if prompt.programs is None:
            raise common.refuse(f"'{programs.TYPE}' is not in 'tools'.", param="tool_choice")
        return
    names = [choice["name"]] if "name" in choice else [tool["name"] for tool in choice["tools"]]
    prompt.choice = choice.get("mode", "required")
    known = {tool.name for tool in prompt.tools}
    for name in names:
        if name not in known:
            raise common.refuse(
                f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice"
            )
    prompt.allowed = frozenset(names)


def _read_format(body: JSON) -> JSON | None:
    wanted = object_in(body, "text").get("format")
    if wanted is None or wanted["type"] == "text":
        return None
    if wanted["type"] == "json_object":
        return {}
    common.check_tool_name(wanted["name"], "text.format.name")
    common.check_format_schema(
        wanted["name"],
        wanted["schema"],
        strict=wanted.get("strict") is True,
        place="text.format.schema",
    )
    return wanted["schema"]


class _Items:
    """Reads the input's items in order: pairs calls and outputs, checks reasoning."""

    def __init__(self, body: JSON, model: ModelSpec) -> None:
        source = body["input"]
        self.items: list[JSON] = (
            [{"type": "message", "role": "user", "content": source}]
            if isinstance(source, str)
            else source
        )
        self.model = model
        self.entries: list[Entry] = []
        self.names: dict[str, str] = {}
        self.answered: set[str] = set()
        self.nonces: set[str] = set()  # of the reasoning items seen
        self.programs = programs.ProgramItems()

    def read(self) -> list[Entry]:
        """All entries."""
        outputs = {item["call_id"] for item in self.items if item.get("type", "") in _OUTPUTS}
        for index, item in enumerate(self.items):
            path: Path = ("input", index)
            self.entries += self.programs.read(item, index)
            match item.get("type", "message"):
                case "message":
                    self._read_message(item, f"input[{index}].content")
                case "reasoning":
                    self._read_reasoning(item, index)
                case "program":
                    self._check_reasoning(item, index)
                case "program_output":
                    pass
                case "function_call" | "custom_tool_call":
                    self._read_call(item, path, outputs)
                case _:
                    self._read_output(item, index)
        return self.entries

    def _read_message(self, item: JSON, place: str) -> None:
        waiting = [call_id for call_id in self.names if call_id not in self.answered]
        if item["role"] == "user" and waiting:
            raise _no_output(waiting[0])
        role = item["role"] if item["role"] in ("user", "assistant") else "system"
        self.entries.append(Said(role, _text_of(item["content"], place)))

    def _read_reasoning(self, item: JSON, index: int) -> None:
        token = item.get("encrypted_content")
        item_id = item.get("id", "")
        if not token:
            raise common.refuse(
                f"Item with id '{item_id}' not found. Items are not persisted when `store` is set "
                "to false. Try again with `store` set to true, or remove this item from your "
                "input.",
                status=404 if item_id else 400,
                param="input",
            )
        data = signing.read(SCOPE, token)
        summary = "\x1e".join(part["text"] for part in item["summary"])
        if data is None or not signing.holds(SCOPE, token, summary):
            raise common.refuse(
                f"The encrypted content for item {item_id} could not be verified. Reason: "
                "Encrypted content could not be decrypted or parsed.",
                param=f"input[{index}].encrypted_content",
                code="invalid_encrypted_content",
            )
        following = self.items[index + 1] if index + 1 < len(self.items) else {}
        follows = following.get("type", "message")
        if (
            follows.endswith("_output")
            or following.get("role", "assistant") != "assistant"
            or (not following)
        ):
            raise common.refuse(
                f"Item '{item_id}' of type 'reasoning' was provided without its required "
                "following item.",
                param="input",
            )
        self.nonces.add(data["nonce"])

    def _read_call(self, item: JSON, path: Path, outputs: set[str]) -> None:
        call_id = item["call_id"]
        if call_id in self.names:
            raise common.refuse(f"Duplicate function call id: {call_id}.", param="input")
        if call_id not in outputs:
            raise _no_output(call_id)
        common.check_tool_name(item["name"], f"input[{path[1]}].name")
        self._check_reasoning(item, int(path[1]))
        self.names[call_id] = item["name"]
        arguments = (
            {"input": item["input"]}
            if item["type"] == "custom_tool_call"
            else chat.parse_arguments(item["arguments"])
        )
        if call_id not in self.programs.callers:
            self.entries.append(Called(call_id, item["name"], arguments))

    def _check_reasoning(self, item: JSON, index: int) -> None:
        nonce = signing.marked_nonce(SCOPE, item["call_id"])
        if nonce and nonce not in self.nonces and self._in_last_turn(index):
            raise common.refuse(
                f"Item '{item.get('id') or item['call_id']}' of type '{item['type']}' was provided "
                f"without its required 'reasoning' item: 'rs_{nonce}'.",
                param="input",
            )

    def _in_last_turn(self, index: int) -> bool:
        return not any(item.get("role") == "user" for item in self.items[index:] if "role" in item)

    def _read_output(self, item: JSON, index: int) -> None:
        call_id = item["call_id"]
        if call_id not in self.names:
            raise common.refuse(
                f"No tool call found for function call output with call_id {call_id}.",
                param="input",
            )
        if call_id in self.answered:
            raise common.refuse(f"Duplicate output for call_id {call_id}.", param="input")
        self.answered.add(call_id)
        text = _text_of(item["output"], f"input[{index}].output")
        if call_id not in self.programs.callers:  # what a program got is not for the model
            self.entries.append(Returned(call_id, self.names[call_id], text))


def _no_output(call_id: str) -> common.Refused:
    return common.refuse(f"No tool output found for function call {call_id}.", param="input")


def _text_of(content: str | list[JSON], place: str) -> str:
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        if part["type"] == "input_image" and part.get("image_url"):
            common.check_image_url(part["image_url"], f"{place}[{index}].image_url")
        texts.append(part.get("text") or part.get("refusal") or "")
    return "\n".join(text for text in texts if text)
