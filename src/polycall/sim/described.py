"""Tools that a prompt describes in words: what is offered, called and returned there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.sim.script import Called, Entry, Prompt, Returned, Said, ToolSpec, Turn
from polycall.sim.shape import JSON, parse_object

_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_RESULT = re.compile(
    r'<tool_result name="([^"\n]*)"( error="true")?>\n(.*?)\n?</tool_result>\n?', re.DOTALL
)
_MUST_CALL = "Your next answer must call"
_ONE_AT_A_TIME = "Write one block at a time."


def with_described(prompt: Prompt) -> Prompt | None:
    """The prompt as if its tools were offered by the wire; `None` where no words describe any."""
    system = "\n".join(
        entry.text for entry in prompt.entries if isinstance(entry, Said) and entry.role == "system"
    )
    if "<tool_call>" not in system:
        return None
    tools = list(_tools(system))
    if not tools:
        return None
    return replace(
        prompt,
        entries=list(_entries(prompt.entries)),
        tools=[*prompt.tools, *tools],
        choice="required" if _MUST_CALL in system else prompt.choice,
        parallel=prompt.parallel and _ONE_AT_A_TIME not in system,
        schema=None,
    )


def in_words(turn: Turn, schema: JSON | None) -> Turn:
    """The turn with its calls as text; as JSON alone where the server holds it to a schema."""
    if not turn.calls:
        return turn
    calls = [jsontext.encode({"name": c.name, "arguments": c.arguments}) for c in turn.calls]
    if schema is not None:
        return replace(turn, text=calls[0], calls=[])
    blocks = [f"<tool_call>\n{each}\n</tool_call>" for each in calls]
    return replace(turn, text="\n".join([*([turn.text] if turn.text else []), *blocks]), calls=[])


def _tools(system: str) -> Iterator[ToolSpec]:
    for line in system.splitlines():
        told = parse_object(line) if line.startswith("{") else None
        if told is not None and isinstance(told.get("parameters"), dict):
            parameters = cast("JSON", told["parameters"])
            yield ToolSpec(str(told.get("name")), str(told.get("description", "")), parameters)


def _entries(entries: list[Entry]) -> Iterator[Entry]:
    waiting: dict[str, list[str]] = {}  # ids of calls by their tools: results come in their order
    for place, entry in enumerate(entries):
        if isinstance(entry, Said) and entry.role == "assistant":
            left = _CALL.sub("", entry.text).strip()
            if left:
                yield replace(entry, text=left)
            for number, match in enumerate(_CALL.finditer(entry.text)):
                call = parse_object(match[1]) or {}
                name, given = str(call.get("name")), call.get("arguments")
                arguments = cast("JSON", given) if isinstance(given, dict) else {}
                call_id = f"described_{place}_{number}"
                waiting.setdefault(name, []).append(call_id)
                yield Called(call_id, name, arguments)
        elif isinstance(entry, Said) and entry.role == "user":
            for match in _RESULT.finditer(entry.text):
                ids = waiting.get(match[1]) or [match[1]]
                yield Returned(ids.pop(0), match[1], match[3], is_error=bool(match[2]))
            left = _RESULT.sub("", entry.text).strip()
            if left:
                yield replace(entry, text=left)
        else:
            yield entry
