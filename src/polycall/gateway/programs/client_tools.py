"""The client's tools as programs have them: what is awaited waits for the client."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from polycall import errors
from polycall.gateway.programs.records import Record, read_id
from polycall.ir import Message, Request, Tool, ToolResult, Warning
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
        raise errors.MalformedRequestError(
            f"no tool can be named {RUN_CODE!r} where programs are asked for", path="tools"
        )
    try:
        return Programs(
            [*own, *(_tool(each) for each in request.tools if each.kind == "function")],
            new_session,
            calling=_CALLING.get(calling, "code"),
            context=ToolContext(deps=None, model=model),
        )
    except (errors.ToolDefinitionError, errors.SchemaError) as error:
        raise errors.MalformedRequestError(str(error), path="tools") from None


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
        raise errors.UnsupportedError(
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


def check_calls(messages: list[Message], found: dict[str, Record]) -> None:
    """Raise for calls and callers that were made up, are another key's, or have expired."""
    answered = answered_now(messages)
    for message in messages:
        for call in message.tool_calls:
            own = read_id(call.id)
            is_now = call.id in answered
            if own is not None and is_now:
                _check_alive(found.get(own[0]), call.id)
            if call.caller == "direct":
                continue
            program = read_id(call.caller)
            is_foreign = own is None and program is None and not is_now
            if not is_foreign and (own is None or program is None or own[0] != program[0]):
                raise errors.MalformedRequestError(
                    f"the call {call.id!r} was not made by a program {call.caller!r}",
                    path="messages",
                )


def answers_to(messages: list[Message], name: str, record: Record) -> dict[str, ToolResult]:
    """The results for the calls that a record waits for, by the calls' own ids.

    Empty where all that came was given before: then the client did not get our answer to it.
    """
    results: dict[int, ToolResult] = {}
    for message in messages:
        for part in message.parts:
            own = read_id(part.call_id) if isinstance(part, ToolResult) else None
            if own is not None and own[0] == name and own[1] is not None:
                assert isinstance(part, ToolResult)
                if own[1] in results:
                    raise errors.InvalidRequestError(f"there are two results for {part.call_id!r}")
                results[own[1]] = part
    last = max(wait.number for wait in record.waits)
    unknown = [number for number in results if not 1 <= number <= last]
    if unknown:
        raise errors.InvalidRequestError(f"the program made no call number {unknown[0]}")
    given = {wait.call_id: results[wait.number] for wait in record.waits if wait.number in results}
    missing = [wait.number for wait in record.waits if wait.number not in results]
    is_repeated = bool(results) and not given
    if missing and not is_repeated:
        raise errors.InvalidRequestError(
            f"{len(missing)} calls of the program have no result, the first of them is number "
            f"{missing[0]}; give all results in one request"
        )
    return given


def _check_alive(record: Record | None, shown: str) -> None:
    if record is None:
        raise errors.InvalidRequestError(
            f"no program waits for {shown!r}: the id is not one that this gateway gave to this key"
        )
    if record.waits and record.expires < time.time():
        raise errors.InvalidRequestError(
            f"the program that waited for {shown!r} has expired; ask again from before its call"
        )


def answered_now(messages: list[Message]) -> set[str]:
    """The ids of the calls whose results came with this request: those after the last answer."""
    found: set[str] = set()
    for message in reversed(messages):
        if message.role == "assistant":
            break
        found |= {part.call_id for part in message.parts if isinstance(part, ToolResult)}
    return found
