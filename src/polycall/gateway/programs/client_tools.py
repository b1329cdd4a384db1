"""The client's tools as programs have them: what is awaited waits for the client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from polycall.errors import (
    MalformedRequestError,
    SchemaError,
    ToolDefinitionError,
    UnsupportedError,
)
from polycall.ir import Request, Tool, Warning
from polycall.program import Calling, Programs, ResultLater
from polycall.program.programs import NAME as RUN_CODE
from polycall.sandbox import Session
from polycall.tools import FunctionTool, ToolContext, tool_from_schema
from polycall.translation.wire import NAMESPACE_SEPARATOR

_CALLING: dict[str, Calling] = {"auto": "auto", "direct": "direct"}


def programs_for(
    request: Request,
    model: str,
    calling: str,
    new_session: Callable[[], Session],
    own: Sequence[FunctionTool[..., Any]] = (),
) -> Programs:
    """The programs of one request; raises `MalformedRequestError` for tools that cannot be.

    `own` are tools of the gateway, which run here.
    """
    if any(tool.name == RUN_CODE for tool in request.tools if tool.kind != "hosted"):
        raise MalformedRequestError(
            f"no tool can be named {RUN_CODE!r} where programs are asked for", path="tools"
        )
    try:
        return Programs(
            [*own, *(_tool(each) for each in request.tools if each.kind == "function")],
            new_session,
            calling=_CALLING.get(calling, "code"),
            context=ToolContext(deps=None, model=model),
        )
    except (ToolDefinitionError, SchemaError) as error:
        raise MalformedRequestError(str(error), path="tools") from None


def for_several_steps(request: Request) -> tuple[Request, list[Warning]]:
    """The request without what only a single answer can have; refused, or lost where that is fine.

    An answer with programs is made of several of the model's.
    """
    wanted: dict[str, Any] = {}
    if request.candidates is not None and request.candidates > 1:
        wanted["candidates"] = request.candidates
    if request.logprobs is not None:
        wanted["logprobs"] = request.logprobs
    for feature in wanted if not request.lossy else ():
        raise UnsupportedError(
            "an answer with programs is made of several; remove it or allow losses",
            feature=feature,
            path=feature,
        )
    detail = "an answer with programs is made of several"
    warnings = [Warning("unsupported", feature, detail) for feature in wanted]
    return replace(request, candidates=None, logprobs=None), warnings


def without_namespaces(request: Request) -> tuple[Request, dict[str, Tool]]:
    """The request with functions under names that say their namespace, and the tools by those.

    A program has one space of names.
    """
    own: dict[str, Tool] = {}
    tools: list[Tool] = []
    for tool in request.tools:
        is_inside = bool(tool.namespace) and tool.kind == "function"
        name = f"{tool.namespace}{NAMESPACE_SEPARATOR}{tool.name}" if is_inside else tool.name
        tools.append(replace(tool, name=name, namespace="") if is_inside else tool)
        if tool.kind != "hosted":
            own[name] = tool
    choice = request.tool_choice
    if choice is not None and choice.names:
        names = [name for name, tool in own.items() if tool.name in choice.names]
        choice = replace(choice, names=names or choice.names)
    return replace(request, tools=tools, tool_choice=choice), own


async def _later(arguments: dict[str, Any]) -> Any:
    raise ResultLater


def _tool(tool: Tool) -> FunctionTool[..., Any]:
    return tool_from_schema(
        tool.name,
        tool.description,
        tool.parameters,
        _later,
        strict=tool.strict,
        output_schema=tool.output_schema,
        examples=tool.examples,
        allowed_callers=tool.allowed_callers,
        defer_loading=tool.defer_loading,
    )
