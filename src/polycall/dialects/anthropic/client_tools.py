"""Tools of this wire that the client runs: bash, the text editor, memory, the computer.

The vendor's models know them by their type.  To any other model they are functions with the
documented fields; a call of one is a `tool_use` of the same name on every way, so nothing has to be
restored.  A toolset (`computer_toolset_*`) is one entry for many tools, whose calls name the set.
"""

from __future__ import annotations

import re
from typing import Any

from polycall.ir import JSON, Tool

_KIND = re.compile(r"(bash|text_editor|memory|computer)_(\d{8})")
_SETS = {"computer_toolset_20260801": "computer"}

_TEXT: JSON = {"type": "string"}
_NUMBER: JSON = {"type": "integer"}
_POINT: JSON = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}


def _schema(*required: str, **properties: JSON) -> JSON:
    return {"type": "object", "properties": properties, "required": [*required]}


def _one_of(*words: str) -> JSON:
    return {"type": "string", "enum": [*words]}


def _said(schema: JSON, words: str) -> JSON:
    return {**schema, "description": words}


_PATH = _said(_TEXT, "The file or folder.")
_OLD = _said(_TEXT, "For str_replace: the text to replace, exactly as it stands there, once.")
_NEW = _said(_TEXT, "For str_replace: what takes its place.")
_LINE = _said(_NUMBER, "For insert: the line after which the text goes; 0 is the beginning.")
_FILE = _said(_TEXT, "For create: the whole text of the file.")
_RANGE = _said(_POINT, "For view: the first and the last line, from 1; -1 is the end.")

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/{bash,text-editor,memory}-tool and
# computer-use-tool, and the types of anthropic 2.14; read on 2026-11-29.
_BASH = _schema(
    command=_said(_TEXT, "The command to run."),
    restart=_said({"type": "boolean"}, "True to start the shell again; then no command."),
)
_MEMORY = _schema(
    "command",
    command=_one_of("view", "create", "str_replace", "insert", "delete", "rename"),
    path=_said(_TEXT, "The file or folder, below /memories."),
    view_range=_RANGE,
    file_text=_FILE,
    old_str=_OLD,
    new_str=_NEW,
    insert_line=_LINE,
    insert_text=_said(_TEXT, "For insert: the text."),
    old_path=_said(_TEXT, "For rename: the present path."),
    new_path=_said(_TEXT, "For rename: the new path."),
)
_EARLY_ACTIONS = (
    *("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click"),
    *("middle_click", "double_click", "screenshot", "cursor_position"),
)
_LATER_ACTIONS = (
    *("left_mouse_down", "left_mouse_up", "triple_click", "scroll", "hold_key", "wait"),
)
_DIRECTION = _one_of("up", "down", "left", "right")
_KEYS = _said(_TEXT, "The key or keys, joined by '+': ctrl+s, alt+Tab, Return.")
_AT = _said(_POINT, "x and y, in pixels from the left and from the top.")
_HELD = _said(_TEXT, "Keys to hold down meanwhile: ctrl, shift, ctrl+shift.")
_SECONDS = _said(_NUMBER, "How long, in seconds.")
_CLICK = _schema(coordinate=_AT, text=_HELD)
_MEMBERS: dict[str, tuple[str, JSON]] = {
    "screenshot": ("Take a screenshot.", _schema()),
    "left_click": ("Click the left mouse button.", _CLICK),
    "right_click": ("Click the right mouse button.", _CLICK),
    "middle_click": ("Click the middle mouse button.", _CLICK),
    "double_click": ("Double-click the left mouse button.", _CLICK),
    "triple_click": ("Triple-click the left mouse button.", _CLICK),
    "left_click_drag": (
        "Drag with the left mouse button.",
        _schema("coordinate", "start_coordinate", coordinate=_AT, start_coordinate=_AT, text=_HELD),
    ),
    "left_mouse_down": ("Press the left mouse button.", _schema()),
    "left_mouse_up": ("Release the left mouse button.", _schema()),
    "mouse_move": ("Move the mouse.", _schema("coordinate", coordinate=_AT)),
    "cursor_position": ("Tell where the mouse is.", _schema()),
    "type": ("Type text.", _schema("text", text=_TEXT)),
    "key": ("Press a key or keys.", _schema("text", text=_KEYS, repeat=_NUMBER)),
    "hold_key": (
        "Hold a key or keys down.",
        _schema("text", "duration", text=_KEYS, duration=_SECONDS),
    ),
    "scroll": (
        "Turn the scroll wheel.",
        _schema(
            *("scroll_amount", "scroll_direction"),
            scroll_amount=_said(_NUMBER, "How many clicks of the wheel."),
            scroll_direction=_DIRECTION,
            coordinate=_AT,
            text=_HELD,
        ),
    ),
    "wait": ("Wait.", _schema("duration", duration=_SECONDS)),
    "zoom": (
        "Take a screenshot of a region, enlarged.",
        _schema(
            "region",
            region=_said(
                {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4},
                "Its left, top, right and bottom, in pixels.",
            ),
        ),
    ),
}


def parse_client_tool(definition: JSON, name: str) -> list[Tool]:
    """The functions that a tool or toolset of the client is elsewhere; none for others."""
    kind: Any = definition.get("type")
    if kind in _SETS:
        return _members(definition, _SETS[kind])
    found = _KIND.fullmatch(kind) if isinstance(kind, str) else None
    if found is None:
        return []
    description, parameters = _function(found[1], found[2], definition)
    metadata = {"anthropic": {"definition": definition}}
    return [Tool(name, description, parameters, metadata=metadata)]


def _function(family: str, since: str, definition: JSON) -> tuple[str, JSON]:
    match family:
        case "bash":
            return "Run commands in a lasting bash session on the user's machine.", _BASH
        case "text_editor":
            return "View, create and edit text files on the user's machine.", _editor(since)
        case "memory":
            words = (
                "Your memory: files below /memories that last between conversations.  Look into it "
                "before you begin, and write down what will be needed later."
            )
            return words, _MEMORY
        case _:
            width, height = definition.get("display_width_px"), definition.get("display_height_px")
            words = f"Use the mouse and keyboard of a computer whose screen is {width} x {height}."
            return words, _computer(since, has_zoom=bool(definition.get("enable_zoom")))


def _editor(since: str) -> JSON:
    commands = ["view", "create", "str_replace", "insert"]
    if since < "20250429":
        commands.append("undo_edit")
    return _schema(
        *("command", "path"),
        command=_one_of(*commands),
        path=_PATH,
        view_range=_RANGE,
        file_text=_FILE,
        old_str=_OLD,
        new_str=_said(_TEXT, "For str_replace: what takes its place.  For insert: the text."),
        insert_line=_LINE,
    )


def _computer(since: str, *, has_zoom: bool) -> JSON:
    actions = [*_EARLY_ACTIONS, *(_LATER_ACTIONS if since >= "20250124" else ())]
    more: JSON = {}
    if has_zoom:
        actions.append("zoom")
        more["region"] = _MEMBERS["zoom"][1]["properties"]["region"]
    if since >= "20250124":
        more.update(
            duration=_SECONDS,
            scroll_amount=_said(_NUMBER, "How many clicks of the wheel."),
            scroll_direction=_DIRECTION,
            start_coordinate=_AT,
        )
    text = _said(_TEXT, "What to type, or the key or keys to press: ctrl+s, Return.")
    return _schema("action", action=_one_of(*actions), coordinate=_AT, text=text, **more)


def _members(definition: JSON, set_name: str) -> list[Tool]:
    """The tools of a set that are not turned off; the first has the entry for its own wire."""
    configs: Any = definition.get("configs") or {}
    tools: list[Tool] = []
    for name, (description, parameters) in _MEMBERS.items():
        config: Any = configs.get(name) if isinstance(configs, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(config, dict) and config.get("enabled") is False:  # pyright: ignore[reportUnknownMemberType]
            continue
        notes: JSON = {"in_set": True} if tools else {"definition": definition}
        tools.append(
            Tool(
                name,
                description,
                parameters,
                namespace=set_name,
                metadata={"anthropic": notes},
            )
        )
    return tools
