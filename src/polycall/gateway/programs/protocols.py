"""Programs in clients' protocols: their requests, and the parts that show them.

A client of Anthropic or of OpenAI's Responses gets its vendor's protocol, as far as that says how
programs look from outside (WIRE.md sections 2 and 3; the official SDKs' types).  Any other client
asks by a header and sees ordinary calls of its tools.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec.structs import replace

from polycall import ir
from polycall.errors import MalformedRequestError
from polycall.gateway.programs.records import read_id, shown_id
from polycall.gateway.state.sealed_tokens import Sealer
from polycall.ir import JSON
from polycall.program.programs import NAME as RUN_CODE

_CODE_EXECUTION = "code_execution_"
_PROGRAMMATIC = "programmatic_tool_calling"
# By the version of Anthropic's tool, what its calls say of their caller: no type has the third one.
_CALLERS = {
    "code_execution_20250825": "code_execution_20250825",
    "code_execution_20260120": "code_execution_20260120",
    "code_execution_20260521": "code_execution_20260120",
}


class ProgramProtocol(Protocol):
    """One way to speak with a client about programs."""

    shows_programs: bool  # the client sees a program, and sends it back
    keeps_sessions: bool  # it names a container, whose variables outlive a program

    def without_programs(self, request: ir.Request) -> ir.Request:
        """The request as any model can be asked it; raises for what the vendor refuses."""
        ...

    def check_answers(self, request: ir.Request, container: str) -> None:
        """Raise where a reply to waiting calls is not what the vendor takes."""
        ...

    def began(self, record_id: str, code: str) -> list[ir.Part]:
        """The parts that show the client a program that the model wrote."""
        ...

    def ended(self, record_id: str, result: ir.ToolResult) -> list[ir.Part]:
        """The parts that show the client a program's end, as the model reads it."""
        ...

    def call(
        self, record_id: str, number: int, call: ir.ToolCall, *, from_program: bool
    ) -> ir.ToolCall:
        """A call that the client is to run."""
        ...

    def state(self, container: str, expires: float) -> ir.Metadata:
        """The answer's field on the container where programs run."""
        ...


class PlainProtocol:
    """Programs asked for by header: the client sees calls of its tools and no more."""

    shows_programs = False
    keeps_sessions = False

    def without_programs(self, request: ir.Request) -> ir.Request:
        """Every function is open to programs, but for those whose callers are named."""
        tools = [
            replace(tool, allowed_callers=["direct", "code"])
            if tool.kind == "function" and not tool.allowed_callers
            else tool
            for tool in request.tools
        ]
        return _chosen(replace(request, tools=tools))

    def check_answers(self, request: ir.Request, container: str) -> None:
        """Anything may stand alongside the results."""

    def began(self, record_id: str, code: str) -> list[ir.Part]:
        """Nothing."""
        return []

    def ended(self, record_id: str, result: ir.ToolResult) -> list[ir.Part]:
        """Nothing."""
        return []

    def call(
        self, record_id: str, number: int, call: ir.ToolCall, *, from_program: bool
    ) -> ir.ToolCall:
        """An ordinary call."""
        return replace(call, id=shown_id("call", record_id, number), caller="direct", metadata={})

    def state(self, container: str, expires: float) -> ir.Metadata:
        """Nothing."""
        return {}


class AnthropicProtocol:
    """`code_execution_*` with `allowed_callers`: server_tool_use, callers, containers."""

    shows_programs = True
    keeps_sessions = True

    def __init__(self, kind: str) -> None:
        # As the client declared it; one that declares nothing now calls nothing from programs.
        self._kind = kind or "code_execution_20260120"

    def without_programs(self, request: ir.Request) -> ir.Request:
        """Without the vendor's tool and container; what the vendor refuses is refused."""
        has_code = any("code" in tool.allowed_callers for tool in request.tools)
        if has_code and self._kind not in _CALLERS:
            known = ", ".join(_CALLERS)
            raise MalformedRequestError(
                f"{self._kind!r} is not a tool whose programs call others; there are {known}",
                path="tools",
            )
        for index, tool in enumerate(request.tools):
            if "code" in tool.allowed_callers and tool.strict:
                raise MalformedRequestError(
                    "strict tools cannot be called from programs; leave one of both out",
                    path=f"tools[{index}].strict",
                )
        choice = request.tool_choice
        if request.parallel_tool_calls is False:
            raise MalformedRequestError(
                "parallel calls cannot be disabled with programmatic tool calling",
                path="tool_choice.disable_parallel_tool_use",
            )
        if choice is not None and choice.mode == "tool":
            forced = next((t for t in request.tools if t.name in choice.names), None)
            if forced is not None and "code" in forced.allowed_callers:
                raise MalformedRequestError(
                    f"{forced.name!r} is called from programs; a choice cannot force it",
                    path="tool_choice",
                )
        options = dict(request.provider_options)
        own = {k: v for k, v in options.pop("anthropic", {}).items() if k != "container"}
        if own:
            options["anthropic"] = own
        tools = [tool for tool in request.tools if not declares_code_execution(tool)]
        return _chosen(replace(request, tools=tools, provider_options=options))

    def check_answers(self, request: ir.Request, container: str) -> None:
        """Only results, in the same container."""
        if request.messages[-1].role != "tool":
            raise MalformedRequestError(
                "a reply to calls of a program holds tool_result blocks and nothing else",
                path=f"messages[{len(request.messages) - 1}]",
            )
        given = container_of(request)
        if given != container:
            raise MalformedRequestError(
                f"calls of a program wait in the container {container!r}; send it as `container`"
                + (f", not {given!r}" if given else ""),
                path="container",
            )

    def began(self, record_id: str, code: str) -> list[ir.Part]:
        """A `server_tool_use` block."""
        block: JSON = {
            "type": "server_tool_use",
            "id": shown_id("srvtoolu", record_id),
            "name": "code_execution",
            "input": {"code": code},
            "caller": {"type": "direct"},
        }
        return [ir.Opaque("anthropic", "server_tool_use", block)]

    def ended(self, record_id: str, result: ir.ToolResult) -> list[ir.Part]:
        """A `code_execution_tool_result` block."""
        content: JSON = {
            "type": "code_execution_result",
            "stdout": "" if result.is_error else result.text,
            "stderr": result.text if result.is_error else "",
            "return_code": 1 if result.is_error else 0,
            "content": [],
        }
        block: JSON = {
            "type": "code_execution_tool_result",
            "tool_use_id": shown_id("srvtoolu", record_id),
            "content": content,
        }
        return [ir.Opaque("anthropic", "code_execution_tool_result", block)]

    def call(
        self, record_id: str, number: int, call: ir.ToolCall, *, from_program: bool
    ) -> ir.ToolCall:
        """A `tool_use` block that says who called."""
        program = shown_id("srvtoolu", record_id)
        by: JSON = {"type": "direct"}
        if from_program:
            by = {"type": _CALLERS[self._kind], "tool_id": program}
        return replace(
            call,
            id=shown_id("toolu", record_id, number),
            caller=program if from_program else "direct",
            metadata={"anthropic": {"caller": by}},
        )

    def state(self, container: str, expires: float) -> ir.Metadata:
        """The container."""
        if not container:
            return {}
        at = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"anthropic": {"container": {"id": container, "expires_at": at}}}


class ResponsesProtocol:
    """`programmatic_tool_calling`: program items, callers, fingerprints.

    The vendor's programs are JavaScript; these are Python, as the item's code shows.
    """

    shows_programs = True
    keeps_sessions = False

    def __init__(self, sealer: Sealer, owner: str) -> None:
        self._sealer = sealer
        self._owner = owner

    def without_programs(self, request: ir.Request) -> ir.Request:
        """Without the vendor's tool; fingerprints that are not ours are refused."""
        for message in request.messages:
            for part in message.parts:
                if isinstance(part, ir.Opaque) and part.kind == "program":
                    self._check(part.data)
        choice = request.tool_choice
        if choice is not None and choice.mode == "hosted" and _PROGRAMMATIC in str(choice.metadata):
            choice = ir.ToolChoice("tool", [RUN_CODE])
        tools = [tool for tool in request.tools if not declares_programmatic(tool)]
        return _chosen(replace(request, tools=tools, tool_choice=choice))

    def _check(self, item: JSON) -> None:
        call_id = str(item.get("call_id"))
        sealed = self._sealer.open(self._owner, str(item.get("fingerprint")))
        if read_id(call_id) is None or sealed != call_id.encode():
            raise MalformedRequestError(
                f"the fingerprint of the program {call_id!r} is not the one that came with it",
                path="input",
            )

    def check_answers(self, request: ir.Request, container: str) -> None:
        """Anything may stand alongside the results."""

    def began(self, record_id: str, code: str) -> list[ir.Part]:
        """A `program` item."""
        call_id = shown_id("prog", record_id)
        item: JSON = {
            "type": "program",
            "id": f"pg_{record_id}",
            "call_id": call_id,
            "code": code,
            "fingerprint": self._sealer.seal(self._owner, call_id.encode()),
        }
        return [ir.Opaque("openai-responses", "program", item)]

    def ended(self, record_id: str, result: ir.ToolResult) -> list[ir.Part]:
        """A `program_output` item."""
        item: JSON = {
            "type": "program_output",
            "id": f"po_{record_id}",
            "call_id": shown_id("prog", record_id),
            "result": result.text,
            "status": "incomplete" if result.is_error else "completed",
        }
        return [ir.Opaque("openai-responses", "program_output", item)]

    def call(
        self, record_id: str, number: int, call: ir.ToolCall, *, from_program: bool
    ) -> ir.ToolCall:
        """A `function_call` item that says who called."""
        caller = shown_id("prog", record_id) if from_program else "direct"
        return replace(call, id=shown_id("call", record_id, number), caller=caller, metadata={})

    def state(self, container: str, expires: float) -> ir.Metadata:
        """Nothing."""
        return {}


def declares_code_execution(tool: ir.Tool) -> bool:
    """Whether this is Anthropic's tool that runs programs."""
    return _declared(tool, "anthropic").startswith(_CODE_EXECUTION)


def declares_programmatic(tool: ir.Tool) -> bool:
    """Whether this is OpenAI's tool that runs programs."""
    return _declared(tool, "openai-responses") == _PROGRAMMATIC


def declared_kind(request: ir.Request) -> str:
    """The version of Anthropic's tool that a request declares."""
    kinds = (_declared(tool, "anthropic") for tool in request.tools)
    return next((kind for kind in kinds if kind.startswith(_CODE_EXECUTION)), "")


def container_of(request: ir.Request) -> str:
    """The container that an Anthropic client names; empty for none."""
    given: Any = request.provider_options.get("anthropic", {}).get("container")
    if isinstance(given, dict):
        given = given.get("id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return given if isinstance(given, str) else ""


def _chosen(request: ir.Request) -> ir.Request:
    """The request with a choice that holds for what the model is offered in the tools' place.

    A tool that must be called is called directly; of a choice among some, the others are left out.
    """
    choice = request.tool_choice
    if choice is None or not choice.names or choice.names == [RUN_CODE]:
        return request
    if choice.mode != "tool":
        tools = [tool for tool in request.tools if tool.name in choice.names]
        return replace(request, tools=tools, tool_choice=ir.ToolChoice(choice.mode))
    named = [tool for tool in request.tools if tool.name in choice.names]
    if any(tool.allowed_callers == ["code"] for tool in named):
        raise MalformedRequestError(
            f"{named[0].name!r} is called from programs alone; a choice cannot force it",
            path="tool_choice",
        )
    tools = [
        replace(tool, allowed_callers=["direct"]) if tool in named else tool
        for tool in request.tools
    ]
    return replace(request, tools=tools)


def _declared(tool: ir.Tool, dialect: str) -> str:
    if tool.kind != "hosted":
        return ""
    definition: Any = tool.metadata.get(dialect, {}).get("definition", {})
    return str(definition.get("type", ""))
