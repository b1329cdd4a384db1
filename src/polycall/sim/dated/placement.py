"""Conditions that depend on the order of messages, which no path can say.

Each takes a checked body, and gives what the refusal's words may quote, or `None` where the body is
as the vendor wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

JSON: TypeAlias = dict[str, Any]
Found: TypeAlias = dict[str, Any]


def _messages(body: JSON, field: str = "messages") -> list[JSON]:
    value = body.get(field)
    return cast("list[JSON]", value) if isinstance(value, list) else []


def _system_first(body: JSON) -> Found | None:
    """A system message is the first of a Messages conversation."""
    messages = _messages(body)
    return {"index": 0} if messages and messages[0].get("role") == "system" else None


def _system_misplaced(body: JSON) -> Found | None:
    """A run of system messages stands elsewhere than after the user and before the assistant."""
    messages = _messages(body)
    index = 0
    while index < len(messages):
        if messages[index].get("role") != "system":
            index += 1
            continue
        end = index
        while end < len(messages) and messages[end].get("role") == "system":
            end += 1
        after_user = index > 0 and (
            messages[index - 1].get("role") == "user"
            or _ends_with_server_result(messages[index - 1])
        )
        before_assistant = end == len(messages) or messages[end].get("role") == "assistant"
        if not (after_user and before_assistant):
            return {"index": index}
        index = end
    return None


def _ends_with_server_result(message: JSON) -> bool:
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list) or not content:
        return False
    last = cast("list[JSON]", content)[-1]
    kind = str(last.get("type", ""))
    return kind.endswith("_tool_result")


def _ends_with_assistant(body: JSON) -> Found | None:
    """The conversation ends with a turn of the assistant's: a prefill."""
    messages = _messages(body)
    return {} if messages and messages[-1].get("role") == "assistant" else None


def _more_output_than_budget(body: JSON) -> Found | None:
    """The thinking budget leaves nothing of `max_tokens`."""
    thinking = body.get("thinking")
    budget = cast("JSON", thinking).get("budget_tokens") if isinstance(thinking, dict) else None
    most = body.get("max_tokens")
    if isinstance(budget, int) and isinstance(most, int) and most <= budget:
        return {"value": budget}
    return None


def _optional_parameters(body: JSON) -> Found | None:
    """Strict schemas have more than 24 optional parameters in all."""
    count = sum(_optional(schema) for schema in _strict_schemas(body))
    return {"count": count} if count > 24 else None


def _union_parameters(body: JSON) -> Found | None:
    """Strict schemas have more than 16 parameters of union types in all."""
    count = sum(_unions(schema) for schema in _strict_schemas(body))
    return {"count": count} if count > 16 else None


def _strict_schemas(body: JSON) -> list[Any]:
    tools = _messages(body, "tools")
    schemas = [tool.get("input_schema") for tool in tools if tool.get("strict") is True]
    config = body.get("output_config")
    wanted = cast("JSON", config).get("format") if isinstance(config, dict) else None
    if isinstance(wanted, dict):
        schemas.append(cast("JSON", wanted).get("schema"))
    return schemas


def _children(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return cast("list[Any]", schema)
    return list(cast("JSON", schema).values()) if isinstance(schema, dict) else []


def _optional(schema: Any) -> int:
    count = 0
    if isinstance(schema, dict):
        fields = cast("JSON", schema)
        properties = fields.get("properties")
        if isinstance(properties, dict):
            required = cast("list[Any]", fields.get("required") or [])
            count = len([name for name in cast("JSON", properties) if name not in required])
    return count + sum(_optional(child) for child in _children(schema))


def _unions(schema: Any) -> int:
    count = 0
    if isinstance(schema, dict):
        properties = cast("JSON", schema).get("properties")
        if isinstance(properties, dict):
            count = sum(1 for child in cast("JSON", properties).values() if _is_union(child))
    return count + sum(_unions(child) for child in _children(schema))


def _is_union(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    fields = cast("JSON", schema)
    return "anyOf" in fields or isinstance(fields.get("type"), list)


def _all_deferred(body: JSON) -> Found | None:
    """No tool is loaded from the start."""
    tools = _messages(body, "tools")
    return {} if tools and all(tool.get("defer_loading") is True for tool in tools) else None


def _unknown_reference(body: JSON) -> Found | None:
    """A result refers to a tool that is not in `tools`."""
    names = {tool.get("name") for tool in _messages(body, "tools")}
    for message in _messages(body):
        for block in _blocks(message.get("content")):
            for part in [block, *_blocks(block.get("content"))]:
                if part.get("type") == "tool_reference" and part.get("tool_name") not in names:
                    return {"value": part.get("tool_name")}
    return None


def _blocks(content: Any) -> list[JSON]:
    if not isinstance(content, list):
        return []
    return [block for block in cast("list[Any]", content) if isinstance(block, dict)]


def _thinking_kind(body: JSON) -> Found | None:
    """Names the kind of thinking, for a path."""
    return {"kind": cast("JSON", body["thinking"]).get("type")}


def _effort_levels(body: JSON) -> Found | None:
    """Names the levels that an older model has."""
    older = str(body.get("model", "")).startswith("claude-opus-4-5")
    return {"levels": "low, medium, high" if older else "low, medium, high, max"}


def _metadata(body: JSON) -> JSON:
    value = body.get("metadata")
    return cast("JSON", value) if isinstance(value, dict) else {}


def _long_metadata(body: JSON) -> Found | None:
    """A value of `metadata` has more than 512 characters."""
    for name, value in _metadata(body).items():
        if isinstance(value, str) and len(value) > 512:
            return {"path": f"metadata.{name}", "length": len(value)}
    return None


def _many_metadata(body: JSON) -> Found | None:
    """`metadata` has more than 16 names."""
    count = len(_metadata(body))
    return {"count": count} if count > 16 else None


def _built_in_with_functions(body: JSON) -> Found | None:
    """Gemini's own tools alongside functions."""
    names = {name for tool in _messages(body, "tools") for name in tool}
    built_in = names - {"functionDeclarations", "computerUse"}
    return {} if "functionDeclarations" in names and built_in else None


CHECKS: dict[str, Callable[[JSON], Found | None]] = {
    "all_deferred": _all_deferred,
    "built_in_with_functions": _built_in_with_functions,
    "effort_levels": _effort_levels,
    "ends_with_assistant": _ends_with_assistant,
    "long_metadata": _long_metadata,
    "many_metadata": _many_metadata,
    "more_output_than_budget": _more_output_than_budget,
    "optional_parameters": _optional_parameters,
    "system_first": _system_first,
    "system_misplaced": _system_misplaced,
    "thinking_kind": _thinking_kind,
    "union_parameters": _union_parameters,
    "unknown_reference": _unknown_reference,
}
