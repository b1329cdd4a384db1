"""Calls that a model wrote into its text.

Read are the forms that models are trained on: `<tool_call>` around JSON (Hermes and what the
prompt asks for), `<function=...>` with parameters (Qwen), `<invoke name=...>` with or without a
prefix (Claude), and an answer that is nothing but the JSON of a call.  How a call is written may be
sloppy; what it asks must name an offered tool and fit its schema.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from polycall._support import jsontext
from polycall.errors import ToolError
from polycall.ir import JSON, Tool
from polycall.prompted.request import FREE_TEXT
from polycall.schema.walk import as_object
from polycall.tools.mending import Mending
from polycall.tools.relaxed import read_relaxed
from polycall.tools.validate import SchemaChecker, check_arguments, read_arguments

_PREFIX = r"(?:antml:)?"
# Where a call may begin; what stands behind decides.
_OPENERS = (
    "<tool_call>",
    "<function=",
    *(f"<{prefix}{tag}" for tag in ("invoke", "function_calls>") for prefix in ("", "antml:")),
)
_JSON_OPENERS = ('{"name":', '[{"name":', '```json{"name":', '```{"name":', '```tool_call{"name":')
_INVOKE = re.compile(rf"<{_PREFIX}invoke\s+name\s*=\s*[\"']([^\"'<>]*)[\"']\s*>")
_FUNCTION = re.compile(r"<function=([^<>\s]+)\s*>")
_WRAPPER = re.compile(rf"<{_PREFIX}function_calls>\s*|<tool_call>\s*(?=<function=)")
_LEFT_OVER = re.compile(rf"\s*</(?:{_PREFIX}function_calls|tool_call)>")
_PARAMETER = re.compile(
    rf"\s*<{_PREFIX}parameter(?:=([^<>\s]+)|\s+name\s*=\s*[\"']([^\"'<>]*)[\"'])\s*>"
    # A value may hold anything; it ends where another parameter or the end of the call follows.
    rf"(.*?)</{_PREFIX}parameter>"
    rf"(?=\s*(?:<{_PREFIX}parameter[=\s]|</(?:function|{_PREFIX}invoke)>|\Z))",
    re.DOTALL,
)
_END = re.compile(rf"\s*</(?:function|{_PREFIX}invoke)>")
_FENCE = re.compile(r"\A```\w*\s*")
_ARGUMENTS = ("arguments", "parameters", "input", "args")
_OPENER_CHARS_MAX = 300
_ENDS_MAX = 16  # closing tags of a block that are tried


class Wanted(NamedTuple):
    """A call that was written: the tool, by the name that the model knows, and its arguments."""

    tool: Tool
    arguments: JSON


class Found(NamedTuple):
    """The contents of a text: words, calls, and the reasons why something in it is not a call."""

    text: str
    calls: list[Wanted]
    problem: str = ""


class Offer:
    """The tools that a model may call in its text.

    `is_lenient` leaves what is not a call as text, and arguments unchecked; else either is a
    problem, and the model is asked again.  Raises `ToolDefinitionError` for a malformed schema.
    """

    def __init__(self, tools: dict[str, Tool], *, is_lenient: bool) -> None:
        self.tools = tools
        self.is_lenient = is_lenient
        self._checkers: dict[str, tuple[SchemaChecker, Mending, JSON]] = {}
        for name in () if is_lenient else tools:
            self._checker(name)

    # Where a call may begin.

    def opening(self, text: str, *, is_start: bool) -> tuple[int, bool]:
        """The place where a call begins, or may begin once more is known (`False`).

        The end without one.
        """
        if is_start:
            state = _json_state(text.lstrip())
            if state is not None:
                return 0, state
        place = text.find("<")
        while place >= 0:
            state = self._state(text[place : place + _OPENER_CHARS_MAX])
            if state is not None:
                return place, state
            place = text.find("<", place + 1)
        return len(text), True

    def _state(self, text: str) -> bool | None:
        """True: a call begins here.  False: it may.  `None`: it does not."""
        opener = next((each for each in _OPENERS if text.startswith(each)), "")
        if not opener:
            return False if any(each.startswith(text) for each in _OPENERS) else None
        rest = text[len(opener) :]
        if opener.endswith("function_calls>"):
            inner = rest.lstrip()
            return self._state(inner) if inner else False
        if opener == "<tool_call>":
            inner = rest.lstrip()
            if inner.startswith("<"):
                return self._state(inner)
            return False if not inner else True if inner[0] in "{[`" else None
        pattern = _FUNCTION if opener == "<function=" else _INVOKE
        found = pattern.match(text)
        if found is None:
            return False if ">" not in rest and len(text) < _OPENER_CHARS_MAX else None
        return True if found.group(1) in self.tools or not self.is_lenient else None

    # What stands there.

    def read(self, text: str, *, is_start: bool) -> Found:
        """The calls in a text that is whole."""
        if is_start and _json_state(text.lstrip()):
            found = self._read_bare(text)
            if found is not None:
                return found
        words: list[str] = []
        calls: list[Wanted] = []
        problems: list[str] = []
        while text:
            place, is_sure = self.opening(text, is_start=False)
            words.append(text[:place])
            text = text[place:]
            if not text or not is_sure:
                break
            made, rest, problem = self._read_block(text)
            if problem and not self.is_lenient:
                problems.append(problem)
            elif not made:
                words.append(text[: len(text) - len(rest)])
            calls += made
            left_over = _LEFT_OVER.match(rest) if made else None
            text = rest if left_over is None else rest[left_over.end() :]
        return Found("".join([*words, text]), calls, "; ".join(problems))

    def _read_bare(self, text: str) -> Found | None:
        """An answer that is nothing but calls in JSON; `None` where it is something else."""
        stripped = _FENCE.sub("", text.strip()).removesuffix("```").rstrip()
        try:
            return Found("", self._from_json(read_relaxed(stripped)))
        except ValueError as error:
            problem = f"it is not JSON that can be read ({error})"
        except ToolError as error:
            problem = str(error)
        # JSON that names no tool is an answer; a tool's name with other arguments is a mistake.
        if self.is_lenient or not any(f'"{name}"' in stripped for name in self.tools):
            return None
        return Found(text, [], problem)

    def _read_block(self, text: str) -> tuple[list[Wanted], str, str]:
        """The calls of the block that begins the text, what follows it, and what is wrong."""
        wrapper = _WRAPPER.match(text)
        if wrapper is not None:
            text = text[wrapper.end() :]
        for pattern in (_INVOKE, _FUNCTION):
            opener = pattern.match(text)
            if opener is not None:
                return self._read_parameters(opener.group(1), text[opener.end() :])
        body = text.removeprefix("<tool_call>")
        ends = [found.start() for found in re.finditer(r"</tool_call>", body)][:_ENDS_MAX]
        problem = ""
        for end in [*ends, len(body)]:
            rest = body[end:].removeprefix("</tool_call>")
            try:
                return self._from_json(read_relaxed(body[:end].strip())), rest, ""
            except ValueError as error:
                # The closing tag may stand inside of a string: the next one is tried.
                problem = problem or f"a <tool_call> block holds no JSON object ({error})"
            except ToolError as error:
                return [], rest, str(error)
        end = ends[0] if ends else len(body)
        return [], body[end:].removeprefix("</tool_call>"), problem

    def _read_parameters(self, name: str, text: str) -> tuple[list[Wanted], str, str]:
        arguments: JSON = {}
        behind = text
        while True:
            found = _PARAMETER.match(text)
            if found is None:
                break
            key = found.group(1) or found.group(2)
            # Text, which is mended where the schema wants something else.
            arguments[key] = found.group(3).removeprefix("\n").removesuffix("\n")
            text = text[found.end() :]
        end = _END.match(text)
        rest = text[end.end() :] if end is not None else ""
        if end is None and name not in self.tools:
            return [], behind, ""  # words about calls
        if end is None and text.strip():
            return [], rest, f"the call of {name!r} does not end, or holds more than parameters"
        try:
            return [self._checked(name, jsontext.encode(arguments))], rest, ""
        except ToolError as error:
            return [], rest, str(error)

    def _from_json(self, value: Any) -> list[Wanted]:
        """The calls that a JSON value means; `ToolError` where it means none."""
        items: list[Any] = [value]
        if isinstance(value, list):
            items = value  # pyright: ignore[reportUnknownVariableType]
        made: list[Wanted] = []
        for item in items:
            fields = as_object(item) or {}
            fields = as_object(fields.get("function")) or fields
            name = fields.get("name")
            if not isinstance(name, str):
                raise ToolError('a call is a JSON object with "name" and "arguments"')
            key = next((each for each in _ARGUMENTS if each in fields), "")
            given = fields.get(key, "")
            text = given if isinstance(given, str) else jsontext.encode(given)
            made.append(self._checked(name, text))
        if not made:
            raise ToolError("a <tool_call> block holds no call")
        return made

    def _checked(self, name: str, text: str) -> Wanted:
        """The call, if it names an offered tool and fits its schema; else `ToolError`."""
        tool = self.tools.get(name)
        if tool is None:
            raise ToolError(f"there is no tool {name!r}; there are: {', '.join(self.tools)}")
        try:
            checker, mending, schema = self._checker(name)
            checked = check_arguments(
                text, name=name, parameters=schema, checker=checker, mending=mending
            )
            return Wanted(tool, checked.arguments)
        except ToolError:
            if not self.is_lenient:
                raise
            # As if it had come natively: the code that runs the tool says what is wrong.
            return Wanted(tool, read_arguments(text, name)[0])

    def _checker(self, name: str) -> tuple[SchemaChecker, Mending, JSON]:
        found = self._checkers.get(name)
        if found is None:
            tool = self.tools[name]
            schema = FREE_TEXT if tool.kind == "custom" else tool.parameters or {"type": "object"}
            found = self._checkers[name] = (
                SchemaChecker(schema, label=name),
                Mending(schema),
                schema,
            )
        return found


def _json_state(text: str) -> bool | None:
    """Whether an answer that begins so is the JSON of a call: yes, maybe (`False`), or no."""
    compact = "".join(text[:_OPENER_CHARS_MAX].split())
    if not compact:
        return False
    if any(compact.startswith(each) for each in _JSON_OPENERS):
        return True
    return False if any(each.startswith(compact) for each in _JSON_OPENERS) else None
