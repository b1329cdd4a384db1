"""The checks of Responses: the shape of the body and the rules between its items."""

from __future__ import annotations

from typing import Any

from polycall.sim import signing
from polycall.sim.script import Called, Entry, ModelSpec, Prompt, Returned, Said, ToolSpec
from polycall.sim.shape import JSON, Path, list_in, object_in
from polycall.sim.vendors import openai_chat_checks as chat
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors import openai_hosted as hosted
from polycall.sim.vendors import openai_programs as programs

SCOPE = "openai"
_BODY = hosted.SHAPES["request"]
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})

# State that this simulation does not keep; only of a recorded request is it taken on trust.
_UNSERVED = ("conversation", "prompt")


def read_body(body: Any) -> JSON:
    """The body, if it has the shape of a request; raises `ShapeError`."""
    return _BODY.read(body, (), False)


def check_rules(body: JSON, model: ModelSpec) -> Prompt:
    """All that the shape alone does not say."""
    for name in _UNSERVED:
        if body.get(name) and not signing.takes_foreign():
            raise common.refuse(
                f"Unsupported parameter: '{name}' needs state that this simulation does not keep.",
                param=name,
                code="unsupported_parameter",
            )
    if body.get("background") and body.get("store") is False:
        raise common.refuse("Background responses require 'store' to be true.", param="background")
    reasons = _check_model(body, model)
    namespaces = hosted.Namespaces()
    tools = [
        namespaces.named(spec, namespace)
        for tool, place, namespace in hosted.callable_tools(body)
        for spec in [_read_tool(tool, place)]
    ]
    common.check_unique(tools, "tools")
    offered = programs.offered(body)
    items = _Items(body, model, namespaces)
    entries = items.read()
    items.programs.conclude(offered)
    if body.get("instructions"):
        entries.insert(0, Said("system", body["instructions"]))
    prompt = Prompt(body["model"], entries, tools, body, programs=offered)
    prompt.namespaces = namespaces.names
    prompt.search_tool = hosted.search_tool(list_in(body, "tools"))
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
    if model.is_real:
        return effort != "none" if model.reasons == "always" else effort not in (None, "none")
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


def _read_tool(tool: JSON, place: str) -> ToolSpec:
    if tool["type"] == "custom":
        common.check_tool_name(tool["name"], f"{place}.name")
        return chat.freeform(tool["name"], tool.get("description") or "")
    return common.check_function(tool, place, strict=tool.get("strict") is True)


def _read_choice(body: JSON, prompt: Prompt) -> None:
    choice = body.get("tool_choice") or "auto"
    prompt.parallel = body.get("parallel_tool_calls") is not False
    if choice not in ("auto", "none") and not prompt.tools and not body.get("tools"):
        raise common.refuse(
            "Tool choice other than 'auto' and 'none' must be specified with 'tools' parameter.",
            param="tool_choice",
        )
    if isinstance(choice, str):
        prompt.choice = (
            "none" if choice == "none" else "required" if choice == "required" else "auto"
        )
        return
    if choice["type"] == programs.TYPE:
        if prompt.programs is None:
            raise common.refuse(f"'{programs.TYPE}' is not in 'tools'.", param="tool_choice")
        return
    if choice["type"] in hosted.CHOICES:
        if not any(tool["type"] == choice["type"] for tool in list_in(body, "tools")):
            raise common.refuse(
                f"Tool choice '{choice['type']}' not found in 'tools' parameter.",
                param="tool_choice",
            )
        return
    chosen = [choice] if "name" in choice else choice["tools"]
    names: list[str] = [tool["name"] for tool in chosen if "name" in tool]
    prompt.choice = choice.get("mode", "required")
    known = {tool.name for tool in prompt.tools}
    inner = {name: spec for spec, (_, name) in prompt.namespaces.items()}
    for name in names:
        if name not in known and name not in inner:
            raise common.refuse(
                f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice"
            )
    prompt.allowed = frozenset(inner.get(name, name) for name in names)


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

    def __init__(self, body: JSON, model: ModelSpec, namespaces: hosted.Namespaces) -> None:
        self.namespaces = namespaces
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
        # What a real vendor keeps is not seen here: calls may be in what it refers to.
        self.is_partial = signing.takes_foreign() and (
            bool(body.get("previous_response_id"))
            or any(item.get("type") == "item_reference" for item in self.items)
        )
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
                case kind if kind in hosted.ITEMS:
                    pass  # the simulated model has nothing of such an item
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
        if not token and signing.takes_foreign():
            return
        if not token:
            raise common.refuse(
                f"Item with id '{item_id}' not found. Items are not persisted when `store` is set "
                "to false. Try again with `store` set to true, or remove this item from your "
                "input.",
                status=404 if item_id else 400,
                param="input",
            )
        data = signing.read(SCOPE, token)
        if data is None and signing.takes_foreign():
            return
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
        name = self.namespaces.spec_name(item.get("namespace") or "", item["name"])
        self.names[call_id] = name
        arguments = (
            {"input": item["input"]}
            if item["type"] == "custom_tool_call"
            else chat.parse_arguments(item["arguments"])
        )
        if call_id not in self.programs.callers:
            self.entries.append(Called(call_id, name, arguments))

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
        if call_id not in self.names and self.is_partial:
            return
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
