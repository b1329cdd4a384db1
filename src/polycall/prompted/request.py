"""A request as a model without tools can be asked it: tools, calls and results are text."""

from __future__ import annotations

from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.ir import JSON

FREE_TEXT: JSON = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
_HOW = """\
You can call tools. To call one, end your answer with a block of exactly this form:

<tool_call>
{"name": "the tool's name", "arguments": {"parameter": "value"}}
</tool_call>

The block holds one JSON object; its arguments fit the JSON Schema in the tool's "parameters". \
Nothing may follow the block. The result comes in the next message, in a block <tool_result>; \
never write one yourself. Where no tool is needed, answer without a block."""
_SEVERAL = "Write several blocks, one after another, to make several calls at once."
_ONE = "Write one block at a time."
_RESULT_END = "</tool_result"


def prompted(request: ir.Request, *, by_schema: bool = False) -> ir.Request:
    """The request with its tools, calls and results as text; hosted tools stay what they are.

    Where a call is required and the server holds answers to a JSON Schema (`by_schema`), it holds
    the model to a call.
    """
    offered = callable_tools(request)
    messages = _merged([_without_calls(each) for each in _named(request.messages)])
    response_format = request.response_format
    if offered:
        words = _instructions(request, offered)
        if response_format is not None and response_format.kind != "text":
            # A server that holds the model to JSON would let it write no block.
            words += f"\n\n{_format_words(response_format)}"
            response_format = None
        if by_schema and _must_call(request):
            response_format = _call_format(offered)
        messages = _with_system(messages, words)
    return replace(
        request,
        messages=messages,
        tools=[tool for tool in request.tools if tool.kind == "hosted"],
        tool_choice=None,
        parallel_tool_calls=None,
        response_format=response_format,
    )


def ask_again(sent: ir.Request, said: str, problem: str) -> ir.Request:
    """The request after an answer that cannot be used: the answer, and what is wrong with it."""
    words = (
        f"Nothing was run, since your answer cannot be read: {problem}\n"
        "Write the whole answer again, each call in a <tool_call> block as described."
    )
    answer = [ir.Message("assistant", [ir.Text(said)])] if said.strip() else []
    return replace(
        sent, messages=_merged([*sent.messages, *answer, ir.Message("user", [ir.Text(words)])])
    )


def callable_tools(request: ir.Request) -> dict[str, ir.Tool]:
    """The tools that may be called now, by the name that the model knows."""
    choice = request.tool_choice
    if choice is not None and choice.mode == "none":
        return {}
    names = set(choice.names) if choice is not None else set[str]()
    return {
        told_name(tool.name, tool.namespace): tool
        for tool in request.tools
        if tool.kind != "hosted" and (not names or tool.name in names)
    }


def told_name(name: str, namespace: str) -> str:
    """The one name that the model knows a tool by."""
    return f"{namespace}.{name}" if namespace else name


def _instructions(request: ir.Request, offered: dict[str, ir.Tool]) -> str:
    lines = [_HOW, _ONE if request.parallel_tool_calls is False else _SEVERAL]
    if _must_call(request):
        lines.append(f"Your next answer must call {' or '.join(offered)}.")
    lines.append("The tools:")
    for name, tool in offered.items():
        told: JSON = {"name": name, "description": _description(tool)}
        told["parameters"] = FREE_TEXT if tool.kind == "custom" else tool.parameters or {}
        lines.append(jsontext.encode(told))
    return "\n\n".join(lines)


def _must_call(request: ir.Request) -> bool:
    return (request.tool_choice or ir.ToolChoice("auto")).mode in ("required", "tool")


def _call_format(offered: dict[str, ir.Tool]) -> ir.ResponseFormat | None:
    """The schema of one call; `None` where a tool's refers to parts of itself."""
    arguments = [_parameters(tool) for tool in offered.values()]
    if any("$ref" in jsontext.encode(each) for each in arguments):
        return None
    schema: JSON = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": list(offered)},
            "arguments": arguments[0] if len(arguments) == 1 else {"anyOf": arguments},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    return ir.ResponseFormat("json_schema", schema=schema, name="call")


def _parameters(tool: ir.Tool) -> JSON:
    return FREE_TEXT if tool.kind == "custom" else tool.parameters or {"type": "object"}


def _description(tool: ir.Tool) -> str:
    words = tool.description
    if tool.grammar is not None:
        words += f"\nThe input must match this grammar: {jsontext.encode(tool.grammar)}"
    if tool.examples:
        shown = "\n".join(jsontext.encode(example) for example in tool.examples)
        words += f"\nExamples of arguments:\n{shown}"
    return words.strip()


def _format_words(wanted: ir.ResponseFormat) -> str:
    words = "An answer without a block is one JSON value and nothing else"
    if wanted.schema is None:
        return f"{words}."
    return f"{words}, which fits this JSON Schema:\n{jsontext.encode(wanted.schema)}"


# ---------------------------------------------------------------------------------------------
# The conversation


def _named(messages: list[ir.Message]) -> list[ir.Message]:
    """The messages, with every result under the name of its tool."""
    names = {
        call.id: told_name(call.name, call.namespace)
        for message in messages
        for call in message.tool_calls
    }
    return [
        replace(
            message,
            parts=[
                replace(part, name=names.get(part.call_id, part.name))
                if isinstance(part, ir.ToolResult)
                else part
                for part in message.parts
            ],
        )
        for message in messages
    ]


def _without_calls(message: ir.Message) -> ir.Message:
    parts: list[ir.Part] = []
    for part in message.parts:
        match part:
            case ir.ToolCall():
                parts.append(ir.Text(_call_text(part)))
            case ir.ToolResult():
                parts.append(ir.Text(_result_text(part)))
                parts += [each for each in part.content if not isinstance(each, ir.Text)]
            case _:
                parts.append(part)
    if message.role == "tool":
        return ir.Message("user", parts)
    return message if parts == message.parts else replace(message, parts=parts)


def _call_text(call: ir.ToolCall) -> str:
    name = jsontext.encode(told_name(call.name, call.namespace))
    arguments = call.arguments
    shown = call.arguments_json if arguments is None else jsontext.encode(arguments)
    return f'\n<tool_call>\n{{"name": {name}, "arguments": {shown}}}\n</tool_call>'


def _result_text(result: ir.ToolResult) -> str:
    # What a tool gives cannot end its own block, and so cannot pass for another's result.
    text = result.text.replace(_RESULT_END, "<\\/tool_result")
    state = ' error="true"' if result.is_error else ""
    return f'<tool_result name="{result.name}"{state}>\n{text}\n</tool_result>\n'


def _merged(messages: list[ir.Message]) -> list[ir.Message]:
    """Neighbours of the user in one message: many servers want the roles to alternate."""
    merged: list[ir.Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last is not None and last.role == message.role == "user" and not message.name:
            merged[-1] = replace(last, parts=[*last.parts, *message.parts])
        else:
            merged.append(message)
    return merged


def _with_system(messages: list[ir.Message], words: str) -> list[ir.Message]:
    """The instructions behind those of the caller, in one message with them where that is text."""
    place = 0
    while place < len(messages) and messages[place].role == "system":
        place += 1
    own = ir.Message("system", [ir.Text(words)])
    if place and len(messages[place - 1].parts) == 1:
        (part,) = messages[place - 1].parts
        if isinstance(part, ir.Text) and not part.metadata:
            own = replace(messages[place - 1], parts=[ir.Text(f"{part.text}\n\n{words}")])
            place -= 1
            return [*messages[:place], own, *messages[place + 1 :]]
    return [*messages[:place], own, *messages[place:]]
