"""The checks of generateContent: the shape of the body and the rules between its parts."""

from __future__ import annotations

import re
from typing import Any

from polycall.sim import schemas, signing
from polycall.sim.script import ModelSpec, Prompt, Refused, ToolSpec
from polycall.sim.shape import JSON, Path, ShapeError, json_type, list_in, object_in
from polycall.sim.shape_files import ShapeFile
from polycall.sim.vendors.gemini_contents import read_contents, refuse

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


class _Enum:
    """An enumeration as proto-JSON takes it: a name in either case, or its number."""

    json_types = frozenset({"string", "integer"})

    def __init__(self, *names: str) -> None:
        self.names = names

    def read(self, value: Any, path: Path, proto: bool) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(self.names):
            return self.names[value]
        if not isinstance(value, str):
            raise ShapeError("type", path, wanted="string", got=json_type(value))
        if value.upper() not in self.names:
            raise ShapeError("enum", path, wanted=", ".join(self.names), got=value)
        return value.upper()


_SHAPES = ShapeFile("gemini", choice=_Enum)
_BODY = _SHAPES["request"]
_COUNT_BODY = _SHAPES["counted"]


def _snake(path: Path) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            word = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), step)
            text += f".{word}" if text else word
    return text


def refuse_shape(error: ShapeError) -> Refused:
    """A shape error in the words of proto-JSON."""
    place = _snake(error.path)
    match error.problem:
        case "unknown":
            parent = _snake(error.path[:-1])
            spot = f" at '{parent}'" if parent else ""
            words = (
                f'Invalid JSON payload received. Unknown name "{error.field}"{spot}: '
                "Cannot find field."
            )
            return refuse(words, field=parent or error.field)
        case "missing":
            return refuse(f"* GenerateContentRequest.{place}: is not specified", field=place)
        case "enum":
            words = f"Invalid value at '{place}', \"{error.got}\""
        case "range" | "length":
            words = f"* GenerateContentRequest.{place}: must be {error.wanted}, got {error.got}"
        case _:
            words = f"Invalid value at '{place}' (expected {error.wanted}, got {error.got})"
    return refuse(words, field=place)


def check(body: Any, model: ModelSpec, *, counts: bool) -> Prompt:
    """Shape, fields, conversation."""
    try:
        fields: JSON = (_COUNT_BODY if counts else _BODY).read(body, (), True)
    except ShapeError as error:
        raise refuse_shape(error) from None
    if counts:
        fields = fields.get("generateContentRequest") or fields
    config = object_in(fields, "generationConfig")
    candidates: int = config.get("candidateCount") or 1
    if candidates != 1 and not model.is_real:  # what a real model takes, the dated rules say
        raise refuse("Multiple candidates is not enabled for this model", field="candidate_count")
    if config.get("responseLogprobs"):
        raise refuse("Logprobs is not enabled for this model.")
    if fields.get("cachedContent") and not signing.takes_foreign():
        raise refuse("CachedContent not found (or permission denied)", status=403)
    reasons = _check_thinking(config, model)
    tools = _read_tools(fields)
    entries = read_contents(fields, signs=model.signs)
    prompt = Prompt(model.name, entries, tools, fields, choices=candidates)
    _read_choice(fields, prompt)
    prompt.reasons = reasons
    shown = object_in(config, "thinkingConfig").get("includeThoughts")
    prompt.shows_reasoning = bool(shown)
    prompt.schema = _read_format(config, tools)
    prompt.tokens_max = config.get("maxOutputTokens")
    prompt.stop = list_in(config, "stopSequences")
    searches = any("googleSearch" in tool for tool in list_in(fields, "tools"))
    prompt.search_tool = "googleSearch" if searches else ""
    return prompt


def _check_thinking(config: JSON, model: ModelSpec) -> bool:
    thinking = object_in(config, "thinkingConfig")
    budget = thinking.get("thinkingBudget")
    if budget is not None and "thinkingLevel" in thinking:
        raise refuse("You can only set only one of thinking budget and thinking level.")
    if model.reasons == "always":
        if budget == 0 and not model.is_real:
            raise refuse("Budget 0 is invalid. This model only works in thinking mode.")
        return True
    asked = bool(budget) or "thinkingLevel" in thinking or bool(thinking.get("includeThoughts"))
    if asked and model.reasons == "never" and not model.is_real:
        raise refuse("Thinking is not supported by this model.")
    return asked


def _read_tools(fields: JSON) -> list[ToolSpec]:
    result: list[ToolSpec] = []
    for outer, tool in enumerate(list_in(fields, "tools")):
        for inner, function in enumerate(list_in(tool, "functionDeclarations")):
            place = f"tools[{outer}].function_declarations[{inner}]"
            result.append(_read_function(function, place))
    names = [tool.name for tool in result]
    for name in names:
        if names.count(name) > 1:
            raise refuse(f"Duplicate function declaration found: {name}", field="tools")
    return result


def _read_function(function: JSON, place: str) -> ToolSpec:
    full = f"* GenerateContentRequest.{place}"
    name = function["name"]
    if not _NAME.fullmatch(name):
        raise refuse(
            f"{full}.name: Invalid function name. Must start with a letter or an underscore. Must "
            "be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:) or dashes "
            "(-), with a maximum length of 128.",
            field=f"{place}.name",
        )
    for one, other in (
        ("parameters", "parametersJsonSchema"),
        ("response", "responseJsonSchema"),
    ):
        if one in function and other in function:
            raise refuse(f"{full}: only one of {one} and {other} may be set", field=place)
    schema: JSON = {}
    if "parametersJsonSchema" in function:
        schema = function["parametersJsonSchema"]
        problem = schemas.gemini_json_schema_problem(schema)
        if problem is None and schema and schema.get("type") != "object":
            problem = "schema at top-level must be of type object"
        if problem is not None:
            raise refuse(f"{full}.parameters_json_schema: {problem}", field=place)
    elif "parameters" in function:
        own = function["parameters"]
        if str(own.get("type", "")).upper() != "OBJECT":
            raise refuse(
                f"{full}.parameters: parameters schema should be of type OBJECT.", field=place
            )
        complaint = schemas.gemini_schema_problem(own)
        if complaint is not None:
            raise refuse(f"{full}.parameters.{complaint[0]}: {complaint[1]}", field=place)
        schema = schemas.from_gemini(own)
    return ToolSpec(name, function.get("description", ""), schema)


def _read_choice(fields: JSON, prompt: Prompt) -> None:
    config = object_in(object_in(fields, "toolConfig"), "functionCallingConfig")
    mode = config.get("mode", "AUTO")
    allowed: list[str] = list_in(config, "allowedFunctionNames")
    if mode in ("ANY", "VALIDATED") and not prompt.tools:
        raise refuse(
            "Function calling config is set without function_declarations.", field="tool_config"
        )
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise refuse(
            "Allowed function names should only be set when function calling mode is ANY or "
            "VALIDATED.",
            field="tool_config.function_calling_config.allowed_function_names",
        )
    known = {tool.name for tool in prompt.tools}
    for name in allowed:
        if name not in known:
            raise refuse(
                f"allowed_function_names contains '{name}', which is not declared.",
                field="tool_config.function_calling_config.allowed_function_names",
            )
    prompt.choice = "none" if mode == "NONE" else "required" if mode == "ANY" else "auto"
    prompt.allowed = frozenset(allowed) if allowed else None


def _read_format(config: JSON, tools: list[ToolSpec]) -> JSON | None:
    kind = config.get("responseMimeType", "text/plain")
    has_schema = "responseSchema" in config or "responseJsonSchema" in config
    if kind not in ("text/plain", "application/json", "text/x.enum"):
        raise refuse(
            f"* GenerateContentRequest.generation_config.response_mime_type: {kind} is not one of "
            "the allowed mimetypes",
            field="generation_config.response_mime_type",
        )
    if "responseSchema" in config and "responseJsonSchema" in config:
        raise refuse("Only one of response_schema and response_json_schema may be set.")
    if kind == "text/plain":
        if has_schema:
            raise refuse(
                "* GenerateContentRequest.generation_config.response_schema: only allowed when "
                "response_mime_type is application/json",
                field="generation_config.response_schema",
            )
        return None
    if "responseJsonSchema" in config:
        problem = schemas.gemini_json_schema_problem(config["responseJsonSchema"])
        if problem is not None:
            raise refuse(f"generation_config.response_json_schema: {problem}")
        return config["responseJsonSchema"]
    if "responseSchema" in config:
        complaint = schemas.gemini_schema_problem(config["responseSchema"])
        if complaint is not None:
            place = f"generation_config.response_schema.{complaint[0]}"
            raise refuse(f"* GenerateContentRequest.{place}: {complaint[1]}", field=place)
        return schemas.from_gemini(config["responseSchema"])
    return {}
