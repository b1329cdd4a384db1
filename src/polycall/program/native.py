"""The vendors' own programmatic calling: their model, their sandbox, our tools and our policy.

A provider that runs programs itself sends the calls of a program as ordinary calls with a
`caller`; the executor treats them as it treats those of our own programs.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.ir import JSON, Request, Response, Tool
from polycall.tools import AbstractToolset

# What each dialect calls it.  A new version of a vendor's tool is a change of this table.
HOSTED: dict[str, JSON] = {
    "anthropic": {"type": "code_execution_20260120", "name": "code_execution"},
    "openai-responses": {"type": "programmatic_tool_calling"},
}


def why_not(dialect: str, request: Request) -> str:
    """Why this request cannot use it; empty where it can."""
    choice = request.tool_choice
    if dialect not in HOSTED:
        return f"the dialect {dialect!r} has no programmatic calling of its own"
    if dialect == "anthropic" and choice is not None and choice.mode in ("required", "tool"):
        return "the vendor does not combine it with a forced choice"
    if dialect == "anthropic" and request.parallel_tool_calls is False:
        return "the vendor does not combine it with parallel calls turned off"
    return ""


def native_tools(dialect: str, toolset: AbstractToolset) -> list[Tool]:
    """All tools with their callers, and the vendor's tool that runs programs."""
    definition = HOSTED[dialect]
    name = str(definition.get("name", definition["type"]))
    hosted = Tool(name, kind="hosted", metadata={dialect: {"definition": dict(definition)}})
    return [_open(tool) for tool in toolset.definitions] + [hosted]


def with_container(dialect: str, request: Request, response: Response | None) -> Request:
    """The request, in the container that the last answer ran in; Anthropic asks for it by id."""
    if response is None or dialect != "anthropic":
        return request
    container: Any = response.metadata.get(dialect, {}).get("container")
    identity: Any = container.get("id") if isinstance(container, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(identity, str):
        return request
    options = {**request.provider_options.get(dialect, {}), "container": identity}
    return replace(request, provider_options={**request.provider_options, dialect: options})


def _open(tool: Tool) -> Tool:
    # Programs and strict schemas exclude each other at the vendors.
    return replace(tool, strict=None) if "code" in tool.allowed_callers else tool
