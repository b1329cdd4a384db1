"""The checks of Messages: the shape of the body and the rules of its fields."""

from __future__ import annotations

import re
from typing import Any, cast

from polycall.sim import schemas
from polycall.sim.script import ModelSpec, Prompt, Refused, ToolSpec
from polycall.sim.shape import JSON, ShapeError, list_in, object_in, path_text
from polycall.sim.vendors import anthropic_compaction as compaction
from polycall.sim.vendors import anthropic_programs as programs
from polycall.sim.vendors import anthropic_server_tools as server_tools
from polycall.sim.vendors import anthropic_tool_changes as tool_changes
from polycall.sim.vendors.anthropic_history import read_history
from polycall.sim.vendors.anthropic_thinking import BETA
from polycall.sim.vendors.anthropic_turns import refuse, turns_of
from polycall.sim.vendors.base import Models

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
CACHE_MARKS_MAX = 4
_BODY = server_tools.SHAPES["request"]
_COUNT_BODY = server_tools.SHAPES["counted"]


def refuse_shape(error: ShapeError) -> Refused:
    """A shape error in Anthropic's words."""
    place = path_text(error.path, brackets=False)
    bound = error.wanted.partition(" ")[2]
    least = error.wanted.startswith(">")
    match error.problem:
        case "unknown":
            words = "Extra inputs are not permitted"
        case "missing":
            words = "Field required"
        case "enum" if error.field == "type":
            place = path_text(error.path[:-1], brackets=False)
            words = (
                f"Input tag '{error.got}' found using 'type' does not match any of the expected "
                f"tags: {error.wanted}"
            )
        case "enum":
            head, _, last = error.wanted.rpartition(", ")
            words = "Input should be " + (f"{head} or {last}" if head else last)
        case "range":
            words = f"Input should be {'greater' if least else 'less'} than or equal to {bound}"
        case "length":
            words = (
                f"List should have at {'least' if least else 'most'} {bound} item after "
                f"validation, not {error.got}"
            )
        case _:
            names = {"object": "dictionary", "array": "list"}
            wanted = [names.get(name, name) for name in error.wanted.split(" or ")]
            words = f"Input should be a valid {' or '.join(wanted)}"
    return refuse(f"{place}: {words}" if place else words)


def check(
    body: Any, models: Models, *, counts: bool, betas: frozenset[str] = frozenset()
) -> Prompt:
    """Shape, model, fields, history."""
    try:
        fields = (_COUNT_BODY if counts else _BODY).read(body, (), False)
    except ShapeError as error:
        raise refuse_shape(error) from None
    model = models(fields["model"])
    thinks = _check_thinking(fields, model)
    tools = _read_tools(list_in(fields, "tools"))
    offered = programs.offered(fields)
    _check_marks(fields)
    has_controls = BETA in betas
    history, thinking = read_history(fields, model, thinks=thinks, has_controls=has_controls)
    for _, blocks, _ in turns_of(fields["messages"]):
        for block in blocks:
            programs.read_block(block, history)
    programs.check_history(turns_of(fields["messages"]), offered)
    prompt = Prompt(fields["model"], history, tools, fields, programs=offered)
    prompt.allowed = tool_changes.allowed(turns_of(fields["messages"]), fields, tools)
    _read_choice(fields, model, prompt)
    prompt.search_tool = server_tools.search_tool(list_in(fields, "tools"))
    prompt.last_thinking = thinking.last
    prompt.transformations = thinking.dropped if has_controls else None
    prompt.reasons = thinks
    prompt.shows_reasoning = object_in(fields, "thinking").get("display") != "omitted"
    prompt.caches = prompt.reports_writes = _count_marks(fields) > 0
    prompt.schema = _read_format(fields)
    prompt.tokens_max = fields.get("max_tokens")
    prompt.stop = list_in(fields, "stop_sequences")
    prompt.stream = bool(fields.get("stream"))
    prompt.summary = compaction.summary(fields, turns_of(fields["messages"]), model)
    return prompt


_WITH_THINKING = {
    "temperature": "`temperature` may only be set to 1 when thinking is enabled.",
    "top_p": "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
    "top_k": "`top_k` must be unset when thinking is enabled.",
}


def _goes_with_thinking(name: str, value: float) -> bool:
    match name:
        case "temperature":
            return value == 1
        case "top_p":
            return value >= 0.95
        case _:
            return False


def _check_thinking(body: JSON, model: ModelSpec) -> bool:
    thinking = object_in(body, "thinking")
    kind = thinking.get("type")
    always = model.reasons == "always"
    if model.reasons == "never" and kind not in (None, "disabled"):
        raise refuse(f"thinking.type: '{kind}' is not supported by this model.")
    thinks = kind in ("adaptive", "enabled", "between_tools") or (always and kind != "disabled")
    for name in ("temperature", "top_p", "top_k"):
        if name not in body:
            continue
        if model.is_real and model.reasons == "always":
            continue  # the dated rules say more
        if model.always_thinks:
            raise refuse(f"`{name}` is deprecated for this model.")
        if thinks and not _goes_with_thinking(name, body[name]):
            raise refuse(_WITH_THINKING[name])
    if kind == "enabled" and body.get("max_tokens", 1 << 30) <= thinking["budget_tokens"]:
        raise refuse("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return thinks


def _read_tools(tools: list[JSON]) -> list[ToolSpec]:
    result: list[ToolSpec] = []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.get("type", "custom") != "custom":
            continue
        place = f"tools.{index}.custom"
        name, schema = tool["name"], tool["input_schema"]
        if not TOOL_NAME.fullmatch(name):
            raise refuse(f"{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if name in names:
            raise refuse("tools: Tool names must be unique.")
        names.add(name)
        if "type" not in schema:
            raise refuse(f"{place}.input_schema.type: Field required")
        if schema["type"] != "object":
            raise refuse(f"{place}.input_schema.type: Input should be 'object'")
        problem = schemas.anthropic_problem(schema)
        if problem is None and tool.get("strict"):
            problem = schemas.anthropic_strict_problem(schema)
        if problem is not None:
            raise refuse(f"{place}.input_schema: {problem}")
        deferred = bool(tool.get("defer_loading"))
        result.append(ToolSpec(name, tool.get("description") or "", schema, is_deferred=deferred))
    return result


def _read_choice(body: JSON, model: ModelSpec, prompt: Prompt) -> None:
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice["type"]
    if not prompt.tools and not body.get("tools") and not body.get("mcp_servers"):
        raise refuse("tool_choice: tool_choice may only be specified while providing tools.")
    if kind in ("any", "tool"):
        # Adaptive thinking gives way to a forced choice; a fixed budget does not.
        thinking = object_in(body, "thinking").get("type")
        if model.always_thinks and thinking != "disabled":
            raise refuse("tool_choice forces tool use is not supported for this model.")
        if thinking == "enabled":
            raise refuse("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool":
        if choice["name"] not in {tool.get("name") for tool in list_in(body, "tools")}:
            raise refuse(
                f"tool_choice.tool.name: Tool '{choice['name']}' not found in provided tools"
            )
        prompt.allowed = frozenset({choice["name"]})
    prompt.choice = "none" if kind == "none" else "auto" if kind == "auto" else "required"
    prompt.parallel = not choice.get("disable_parallel_tool_use")


def _read_format(body: JSON) -> JSON | None:
    wanted = object_in(body, "output_config").get("format") or body.get("output_format")
    if wanted is None:
        return None
    schema = wanted["schema"]
    problem = schemas.anthropic_problem(schema) or schemas.anthropic_strict_problem(schema)
    if problem is not None:
        raise refuse(f"output_config.format.schema: {problem}")
    return schema


def _check_marks(body: JSON) -> None:
    found = _count_marks(body)
    if found > CACHE_MARKS_MAX:
        raise refuse(
            f"A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided. "
            f"Found {found}."
        )


def _count_marks(body: JSON) -> int:
    def blocks(content: Any) -> list[JSON]:
        return cast("list[JSON]", content) if isinstance(content, list) else []

    carriers: list[JSON] = [body, *list_in(body, "tools"), *blocks(body.get("system"))]
    for message in body["messages"]:
        for block in blocks(message["content"]):
            carriers.append(block)
            if block["type"] == "tool_result":
                carriers += blocks(block.get("content"))
    return sum(1 for carrier in carriers if carrier.get("cache_control"))
