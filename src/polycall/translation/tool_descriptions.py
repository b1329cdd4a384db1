"""Options that a wire has no field for: written into a tool's description, or noted."""

from __future__ import annotations

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.ir import JSON, Tool
from polycall.translation.wire import Losses

# The parameters of a freeform tool, where it is a function.
FREE_TEXT: JSON = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


def with_grammar(tool: Tool) -> str:
    """The description of a freeform tool, and the grammar that its text must match."""
    if not tool.grammar:
        return tool.description
    syntax, definition = tool.grammar.get("syntax", ""), tool.grammar.get("definition", "")
    said = f"The input must match this {syntax} grammar:\n{definition}"
    return f"{tool.description}\n\n{said}".strip()


def with_examples(description: str, tool: Tool) -> str:
    """A description, and the tool's examples of arguments."""
    if not tool.examples:
        return description
    examples = "\n".join(jsontext.encode(example) for example in tool.examples)
    return f"{description}\n\nExamples of arguments:\n{examples}".strip()


def as_function(tool: Tool, losses: Losses) -> Tool:
    """The tool as a function: a freeform one takes one string, examples are in the description."""
    if tool.kind == "custom":
        losses.emulate("custom_tool", f"{tool.name!r} is a function with one string")
        tool = replace(tool, description=with_grammar(tool).strip(), parameters=FREE_TEXT)
    if tool.examples:
        losses.emulate("examples", "written into the description")
        tool = replace(tool, description=with_examples(tool.description, tool))
    return tool


def note_absent_features(
    tool: Tool, losses: Losses, *features: str, detail: str = "tools have none on this wire"
) -> None:
    """Note those of these features that the tool has, and a wire has no field for."""
    for feature in features:
        value = getattr(tool, feature)
        if value and value != ["direct"]:  # that the model itself may call it says nothing
            losses.drop(feature, detail)
