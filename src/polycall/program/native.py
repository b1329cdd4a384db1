"""The vendors' own programmatic calling: their model, their sandbox, our tools and our policy.

A provider that runs programs itself sends the calls of a program as ordinary calls with a
`caller`; the executor treats them as it treats those of our own programs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.ir import JSON, Message, Opaque, Request, Text, Tool, ToolCall, ToolResult
from polycall.program.nested_calls import data_of
from polycall.schema import is_recursive
from polycall.tools import AbstractToolset
from polycall.translation.portable import MARK

# What each dialect calls it.  A new version of a vendor's tool is a change of this table.
HOSTED: dict[str, JSON] = {
    "anthropic": {"type": "code_execution_20260120", "name": "code_execution"},
    "openai-responses": {"type": "programmatic_tool_calling"},
}
_CONTAINER_SPARE_S = 5.0  # one that is about to expire is not worth naming


class Native(Struct, frozen=True):
    """Whether the vendor of `dialect` is to run programs; `refusal` says why it cannot."""

    dialect: str = ""
    refusal: str = ""

    def why_not(self, request: Request, opened: Iterable[Tool]) -> str:
        """Why this request cannot use it; empty where it can."""
        choice = request.tool_choice
        if self.refusal:
            return self.refusal
        if request.prompted:
            return "the prompt describes the model's tools"
        if self.dialect not in HOSTED:
            return f"the dialect {self.dialect!r} has no programmatic calling of its own"
        if self.dialect != "anthropic":
            return ""
        if choice is not None and choice.mode in ("required", "tool"):
            return "the vendor does not combine it with a forced choice"
        if request.parallel_tool_calls is False:
            return "the vendor does not combine it with parallel calls turned off"
        for tool in opened:
            if tool.allowed_callers == ["code"] and is_recursive(tool.parameters or {}):
                return f"the vendor's programs take no recursive schema, as {tool.name!r} has"
        return ""

    def tools(self, toolset: AbstractToolset) -> list[Tool]:
        """All tools with their callers, and the vendor's tool that runs programs."""
        definition = HOSTED[self.dialect]
        name = str(definition.get("name", definition["type"]))
        hosted = Tool(
            name, kind="hosted", metadata={self.dialect: {"definition": dict(definition)}}
        )
        return [self._open(tool) for tool in toolset.definitions] + [hosted]

    def _open(self, tool: Tool) -> Tool:
        if self.dialect != "anthropic":
            return tool
        if "code" in tool.allowed_callers and is_recursive(tool.parameters or {}):
            return replace(tool, allowed_callers=["direct"], output_schema=None)
        if tool.output_schema is not None:
            # The wire has no field for it, and a program needs to know what it gets.
            returns = f"Returns JSON of this schema: {jsontext.encode(tool.output_schema)}"
            words = f"{tool.description}\n\n{returns}".strip()
            tool = replace(tool, description=words, output_schema=None)
        # Programs and strict schemas exclude each other at this vendor.
        return replace(tool, strict=None) if "code" in tool.allowed_callers else tool

    def goes_on(self, request: Request) -> Request:
        """The request, in the container of the conversation; Anthropic asks for it by id."""
        if self.dialect != "anthropic":
            return request
        container = _container_of(request)
        identity = container.get("id")
        is_gone = _expiry(container) < time.time() + _CONTAINER_SPARE_S
        if not isinstance(identity, str) or (is_gone and not is_waiting(request.messages)):
            return request
        options = {**request.provider_options.get("anthropic", {}), "container": identity}
        merged = {**request.provider_options, "anthropic": options}
        return replace(request, provider_options=merged)

    def result(self, call: ToolCall, result: ToolResult) -> ToolResult:
        """The result as text, which is all that a program there can get; with its caller."""
        content = result.content
        if not all(isinstance(part, Text) for part in content):
            content = [Text(jsontext.encode(data_of(result)))]
        metadata = result.metadata
        if self.dialect == "openai-responses":
            caller = {"type": "program", "caller_id": call.caller}
            metadata = {**metadata, self.dialect: {"fields": {"caller": caller}}}
        return replace(result, content=content, metadata=metadata)


def is_waiting(messages: list[Message]) -> bool:
    """Whether a program of the vendor has begun and not ended, so that it waits for results."""
    begun: set[str] = set()
    for message in messages:
        begun.update(call.caller for call in message.tool_calls if call.caller != "direct")
        for program in programs_in(message):
            if program.output is None:
                begun.add(program.id)
            else:
                begun.discard(program.id)
    return bool(begun)


class NativeProgram(Struct):
    """The part of an answer on one program: that it began, or how it ended."""

    id: str
    code: str = ""
    output: str | None = None
    is_error: bool = False


def programs_in(answer: Message) -> Iterator[NativeProgram]:
    """The programs that begin or end in an answer."""
    for part in answer.parts:
        if not isinstance(part, Opaque):
            continue
        data: Any = part.data
        match part.kind:
            case "server_tool_use" if data.get("name") == "code_execution":
                yield NativeProgram(str(data["id"]), str(data.get("input", {}).get("code", "")))
            case "code_execution_tool_result":
                content: JSON = data.get("content") or {}
                output = content.get("stderr") or content.get("stdout", "")
                failed = content.get("return_code", 1) != 0
                output = output or str(content.get("error_code", ""))
                yield NativeProgram(str(data["tool_use_id"]), "", output, failed)
            case "program":
                yield NativeProgram(str(data["call_id"]), str(data.get("code", "")))
            case "program_output":
                failed = data.get("status") != "completed"
                result = str(data.get("result", ""))
                yield NativeProgram(str(data["call_id"]), "", result, failed)
            case _:
                pass


def _container_of(request: Request) -> JSON:
    """The last container that the model's provider has named."""
    for message in reversed(request.messages):
        mark: JSON = message.metadata.get(MARK, {})
        giver, slash, _ = str(mark.get("model", "")).partition("/")
        is_other = slash and "/" in request.model and f"{giver}/" not in request.model
        if "container" in mark and not is_other:
            return mark["container"]
    return {}


def _expiry(container: JSON) -> float:
    try:
        return datetime.fromisoformat(str(container.get("expires_at"))).timestamp()
    except ValueError:
        return float("inf")
