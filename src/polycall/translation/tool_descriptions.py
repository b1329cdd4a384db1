"""What a wire has no field for, written into a tool's description."""

from __future__ import annotations

from polycall._support import jsontext
from polycall.ir import Tool


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
