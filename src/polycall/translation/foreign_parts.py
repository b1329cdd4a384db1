"""One table for the parts of a conversation that only one dialect knows (`ir.Opaque`).

A dialect gives its own parts back as they came.  Every other dialect calls `adapt_request` first,
which replaces foreign parts by what the middle language has: tool calls and results, text, media,
tools.  What has no such form is left out with a warning, or refused.  `ROWS` says which; a kind
that no row names is treated by where it stands (`_UNKNOWN`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from msgspec import Struct, convert
from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.ir import JSON
from polycall.translation.context_edits import EDITOR, edited
from polycall.translation.conversation import (
    begun,
    end_of_beginning,
    keep_begun,
    known_of,
    like,
    note_seen,
    unseen,
)
from polycall.translation.foreign_tools import (
    CHANGER,
    changes_in,
    with_tool_changes,
    without_tool_search,
)
from polycall.translation.foreign_words import in_words, words_of
from polycall.translation.nonces import have_nonces, without_nonce
from polycall.translation.repeated_results import without_repeated_results
from polycall.translation.sound_results import with_sound_results
from polycall.translation.tool_list_cache import once
from polycall.translation.wire import Losses

# What each means is in `foreign_parts.toml`, with the rows.
Treatment: TypeAlias = Literal[
    "call", "result", "ran", "said", "media", "tools", "changes", "left out", "refused"
]


class Row(Struct, frozen=True):
    """The treatment of parts of one kind in other dialects.  `tool` names the calls and results."""

    dialect: str
    kind: str
    treatment: Treatment
    tool: str = ""


def _read() -> tuple[Row, ...]:
    source = files("polycall.translation") / "foreign_parts.toml"
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    rows: list[Row] = []
    for tool, result in tables.pop("results").items():
        rows.append(Row("openai-responses", f"{tool}_call", "call", tool))
        rows.append(Row("openai-responses", result, "result", tool))
    for dialect, treatments in convert(tables, dict[str, dict[Treatment, list[str]]]).items():
        for treatment, kinds in treatments.items():
            rows += [Row(dialect, kind, treatment) for kind in kinds]
    return tuple(rows)


ROWS = _read()

# A kind without a row, by where it stands.
_UNKNOWN: dict[str, Treatment] = {
    "tool_result": "said",
    "tool": "result",
    "assistant": "left out",
    "user": "refused",
    "system": "refused",
}
_BY_KIND = {(row.dialect, row.kind): row for row in ROWS}

# Fields of an item that say where it stands, not what it says.
_FRAMING = frozenset(
    {"type", "id", "call_id", "status", "execution", "caller", "created_by", "environment"}
)
_INNER = ("arguments", "action", "operation")


def row_for(part: ir.Opaque, place: str) -> Row:
    """The row of a part that stands in `place`: a role, or `tool_result` for inside of one."""
    found = _BY_KIND.get((part.dialect, part.kind))
    if found is None:
        treatment = _UNKNOWN[place]
        tool = part.kind.removesuffix("_output").removesuffix("_call")
        return Row(part.dialect, part.kind, treatment, tool)
    if place == "tool_result" and found.treatment not in ("said", "media"):
        return replace(found, treatment="said")
    if place in ("user", "system") and found.treatment not in ("said", "media", "tools"):
        return replace(found, treatment="refused")  # what the model read or was asked is needed
    if part.kind.startswith("tool_search_") and part.data.get("execution") == "server":
        return replace(found, treatment="left out")
    return found


def adapt_request(request: ir.Request, dialect: str, losses: Losses) -> ir.Request:
    """The request without what only another dialect knows: parts, and choices of its tools.

    Raises `UnsupportedError` for what is refused, unless the request allows losses.
    """
    hosted = once(request.tools, _hosted_in)
    if request.tool_choice is not None and (hosted or not request.tools):
        choice = _possible_choice(request, request.tool_choice, dialect, losses)
        if choice is not request.tool_choice:
            request = replace(request, tool_choice=choice)
    if hosted:
        request = without_tool_search(request, dialect, losses)
    if known_of(request.messages) is None and _are_words(request.messages):
        # What is looked for below stands in other parts.
        request = _without_nonces(request, dialect, losses)
        is_edited = dialect != EDITOR and EDITOR in request.provider_options
        return edited(request, losses) if is_edited else request
    if dialect != CHANGER:  # whose own changes stay, for another target to find
        if changes_in(unseen(request.messages, changes_in)):
            request = with_tool_changes(request, losses)
        note_seen(request.messages, changes_in)
    request = without_repeated_results(request, losses)
    if dialect not in request.metadata:  # else it is between the client and its vendor
        request = with_sound_results(request, losses)
    request = _without_nonces(request, dialect, losses)
    if dialect != EDITOR:
        request = edited(request, losses)
    look = (_has_foreign, dialect)
    if not any(_has_foreign(message, dialect) for message in unseen(request.messages, look)):
        note_seen(request.messages, look)
        return request
    answered = _answered(request.messages, dialect)
    messages: list[ir.Message] = []
    for position, message in enumerate(request.messages):
        if not _has_foreign(message, dialect):
            messages.append(message)
            continue
        adapter = _Adapter(dialect, losses, f"messages[{position}]", answered)
        parts = [new for part in message.parts for new in adapter.part(part, message.role)]
        messages.extend(_in_turns(message, parts))
    return replace(request, messages=like(messages, request.messages))


def _hosted_in(tools: list[ir.Tool]) -> list[ir.Tool]:
    return [tool for tool in tools if tool.kind == "hosted"]


def _in_turns(message: ir.Message, parts: list[ir.Part]) -> list[ir.Message]:
    """The message; where results stand in it, they are turns of their own between its pieces."""
    if message.role != "assistant" or not any(isinstance(part, ir.ToolResult) for part in parts):
        return [replace(message, parts=parts)] if parts else []
    turns: list[ir.Message] = []
    for part in parts:
        role = "tool" if isinstance(part, ir.ToolResult) else "assistant"
        if not turns or turns[-1].role != role:
            new = ir.Message("tool") if role == "tool" else replace(message, parts=[])
            turns.append(replace(new, parts=[]))
        turns[-1].parts.append(part)
    return turns


def _without_nonces(request: ir.Request, dialect: str, losses: Losses) -> ir.Request:
    given, reader = request.messages, (_without_nonces, dialect)
    known = known_of(given)
    if known is None and not have_nonces(given, dialect):
        return request
    start, before = begun(known, given, reader)
    end = max(start, end_of_beginning(given)) if known is not None else start
    messages: list[ir.Message] = [] if before is None else before[0].copy()
    changes = False if before is None else before[1]
    for place in range(start, len(given)):
        if place == end > start:
            keep_begun(known, given[:end], reader, (messages.copy(), changes))
        message = given[place]
        if message.role == "system":
            parts = [new for part in message.parts for new in without_nonce(part, dialect)]
            if parts != message.parts:
                changes = True
                if not parts:
                    continue
                message = replace(message, parts=parts)
        messages.append(message)
    if not changes:
        return request
    losses.emulate("system", "a line for the client's own vendor is left out")
    return replace(request, messages=like(messages, given))


def _are_words(messages: list[ir.Message]) -> bool:
    """Whether there is nothing but text in the messages."""
    for message in messages:
        for part in message.parts:
            if type(part) is not ir.Text:
                return False
    return True


def _possible_choice(
    request: ir.Request, choice: ir.ToolChoice, dialect: str, losses: Losses
) -> ir.ToolChoice | None:
    """The choice among the tools that are sent; without any there is nothing to choose."""
    gone = {
        tool.name
        for tool in request.tools
        if tool.kind == "hosted" and dialect not in tool.metadata
    }
    is_left = len(gone) < len({tool.name for tool in request.tools})
    if not is_left:
        if not request.tools and choice.mode not in ("auto", "none"):
            return choice  # a call is forced, and nothing was offered: each dialect says so
        if choice.mode not in ("auto", "none"):
            losses.drop("tool_choice", "no tool is left that it could choose")
        return None
    if gone.isdisjoint(choice.names):
        return choice
    losses.drop("tool_choice", f"{sorted(gone & {*choice.names})} are not sent")
    names = [name for name in choice.names if name not in gone]
    if not names or choice.mode == "tool":
        return None
    return replace(choice, names=names, metadata={})


def _has_foreign(message: ir.Message, dialect: str) -> bool:
    for part in message.parts:
        if isinstance(part, ir.Opaque):
            if part.dialect != dialect:
                return True
        elif isinstance(part, ir.ToolResult):
            for inner in part.content:
                if isinstance(inner, ir.Opaque) and inner.dialect != dialect:
                    return True
    return False


def _answered(messages: Iterable[ir.Message], dialect: str) -> set[str]:
    """Ids of the foreign calls whose results are in the conversation."""
    return {
        _call_id(part)
        for message in messages
        if message.role == "tool"
        for part in message.parts
        if isinstance(part, ir.Opaque) and part.dialect != dialect
    }


def _call_id(part: ir.Opaque) -> str:
    data = part.data
    return str(data.get("call_id") or data.get("id") or "")


class _Adapter:
    """Replaces the foreign parts of one message."""

    def __init__(self, dialect: str, losses: Losses, path: str, answered: set[str]) -> None:
        self._dialect = dialect
        self._losses = losses
        self._path = path
        self._answered = answered

    def part(self, part: ir.Part, place: str) -> list[ir.Part]:
        """The replacement of the part; empty where it is left out."""
        if isinstance(part, ir.ToolResult):
            return [self._result(part)]
        if not isinstance(part, ir.Opaque) or part.dialect == self._dialect:
            return [part]
        row = row_for(part, place)
        is_pair = place == "assistant" and row.treatment == "left out" and row.tool
        if is_pair and part.data.get("call_id") and _call_id(part) in self._answered:
            row = replace(row, treatment="call")
        if row.treatment == "result" and place != "tool":
            row = replace(row, treatment="said")
        return self._treated(part, row)

    def _treated(self, part: ir.Opaque, row: Row) -> list[ir.Part]:
        losses = self._losses
        match row.treatment:
            case "call":
                losses.emulate(part.kind, f"sent as a call of the tool {row.tool!r}")
                return [ir.ToolCall(_call_id(part), row.tool, _arguments(part.data))]
            case "result":
                losses.emulate(part.kind, f"sent as the result of the tool {row.tool!r}")
                return [_as_result(part, row.tool)]
            case "ran":
                losses.emulate(part.kind, "sent as a call and its result")
                return _ran(part)
            case "said":
                return [*self._said(part)]
            case "media" if isinstance(data := part.data.get("result"), str) and data:
                losses.emulate(part.kind, "the image that it made is sent")
                return [ir.Media("image", media_type="image/png", data=data)]
            case "tools":
                return []
            case "media" | "left out":
                losses.drop(part.kind, f"a step of {part.dialect} without a counterpart")
                return []
            case "refused" | "changes":
                detail = f"a part that only {part.dialect} has"
                losses.refuse(part.kind, detail, path=self._path)
                return []

    def _said(self, part: ir.Opaque) -> list[ir.Text | ir.Media]:
        self._losses.emulate(part.kind, "sent as text")
        return in_words(part, self._losses)

    def _result(self, result: ir.ToolResult) -> ir.ToolResult:
        content: list[ir.Text | ir.Media | ir.Opaque] = []
        for part in result.content:
            if isinstance(part, ir.Opaque) and part.dialect != self._dialect:
                content.extend(self._said(part))
            else:
                content.append(part)
        return replace(result, content=content)


# ---------------------------------------------------------------------------------------------
# Calls and results


def _arguments(data: JSON) -> str:
    """An item's fields as arguments: those of its action where it has nothing alongside one."""
    fields = {
        key: value
        for key, value in data.items()
        if key not in _FRAMING and value not in (None, [], "")
    }
    if len(fields) == 1:
        ((key, value),) = fields.items()
        if key in _INNER and isinstance(value, dict):
            return jsontext.encode(value)
        if key in _INNER and isinstance(value, str):
            return value
    return jsontext.encode(fields)


def _ran(part: ir.Opaque) -> list[ir.Part]:
    """Call and result of a tool that somebody ran for the model, as far as the part has both."""
    data = part.data
    if part.kind == "mcp_tool_result":
        content = _output(data.get("content"), part.kind)
        is_error = data.get("is_error") is True
        return [ir.ToolResult(str(data.get("tool_use_id") or ""), [*content], is_error=is_error)]
    name = ran_name(str(data.get("server_label") or data.get("server_name") or ""), data)
    if part.kind == "mcp_tool_use":
        return [ir.ToolCall(_call_id(part), name, jsontext.encode(data.get("input") or {}))]
    arguments: Any = data.get("arguments")
    call = ir.ToolCall(_call_id(part), name, arguments if isinstance(arguments, str) else "{}")
    error: Any = data.get("error")
    content = _output(data.get("output") if error is None else error, part.kind)
    return [call, ir.ToolResult(call.id, [*content], is_error=error is not None, name=name)]


def ran_name(server: str, data: JSON) -> str:
    """The model's name for a tool of an MCP server: with the server's name before its own."""
    return f"{server}_{data.get('name') or ''}" if server else str(data.get("name") or "")


def _as_result(part: ir.Opaque, tool: str) -> ir.ToolResult:
    data = part.data
    content: list[ir.Text | ir.Media | ir.Opaque] = []
    if isinstance(data.get("tools"), list):
        content.append(ir.Text(_loaded(data["tools"])))
    else:
        fields = {key: data[key] for key in data if key not in _FRAMING}
        content.extend(_output(fields.pop("output", None), part.kind))
        if fields := {key: fields[key] for key in fields if fields[key] not in (None, [], {})}:
            content.append(ir.Text(jsontext.encode(fields)))
    is_error = data.get("status") in ("failed", "incomplete")
    return ir.ToolResult(_call_id(part), content, is_error=is_error, name=tool)


def _output(output: Any, kind: str) -> list[ir.Text | ir.Media]:
    if output in (None, "", [], {}):
        return []
    if isinstance(output, str):
        return [ir.Text(output)]
    entries: list[Any] = output if isinstance(output, list) else [output]  # pyright: ignore[reportUnknownVariableType]
    said: list[ir.Text | ir.Media] = []
    for entry in entries:
        if isinstance(entry, dict) and {"stdout", "stderr"} & entry.keys():
            said.append(ir.Text(_terminal(entry)))  # pyright: ignore[reportUnknownArgumentType]
        else:
            said.extend(words_of(entry, kind, []))
    return said


def _terminal(entry: JSON) -> str:
    """The output of a command, and its end where that is worth saying."""
    outcome: Any = entry.get("outcome")
    ending = ""
    if isinstance(outcome, dict):
        code: Any = outcome.get("exit_code")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if outcome.get("type") == "timeout":  # pyright: ignore[reportUnknownMemberType]
            ending = "[timed out]"
        elif code:
            ending = f"[exit code {code}]"
    stderr = entry.get("stderr")
    texts = [entry.get("stdout") or "", f"stderr: {stderr}" if stderr else "", ending]
    return "\n".join(text for text in texts if text)


def _loaded(tools: list[Any]) -> str:
    names: list[str] = []
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        members: Any = tool.get("tools")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        names.extend(
            str(each.get("name") or each.get("type"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            for each in (members if isinstance(members, list) else [tool])  # pyright: ignore[reportUnknownVariableType]
            if isinstance(each, dict)
        )
    return f"loaded: {', '.join(names)}" if names else "loaded: nothing"
