"""Tools of this wire that the client runs: bash, the text editor, memory, the computer.

The vendor's models know them by their type.  To any other model they are functions with the
documented fields; a call of one is a `tool_use` of the same name on every way, so nothing has to be
restored.  Toolsets are in `toolsets.py`.
"""

from __future__ import annotations

import re
from typing import Any

from polycall.dialects.anthropic.toolsets import (
    AT,
    DIRECTION,
    NUMBER,
    POINT,
    SECONDS,
    TEXT,
    TOOLSETS,
    described,
    one_of,
    schema,
    set_members,
    set_of,
)
from polycall.ir import JSON, Tool

_KIND = re.compile(r"(bash|text_editor|memory|computer)_(\d{8})")

_PATH = described(TEXT, "The file or folder.")
_OLD = described(TEXT, "For str_replace: the text to replace, exactly as it stands there, once.")
_NEW = described(TEXT, "For str_replace: what takes its place.")
_LINE = described(NUMBER, "For insert: the line after which the text goes; 0 is the beginning.")
_FILE = described(TEXT, "For create: the whole text of the file.")
_RANGE = described(POINT, "For view: the first and the last line, from 1; -1 is the end.")

# https://platform.claude.com/docs/en/agents-and-tools/tool-use/{bash,text-editor,memory}-tool and
# computer-use-tool, and the types of anthropic 2.14; read on 2026-11-29.
_BASH = schema(
    command=described(TEXT, "The command to run."),
    restart=described({"type": "boolean"}, "True to start the shell again; then no command."),
)
_MEMORY = schema(
    "command",
    command=one_of("view", "create", "str_replace", "insert", "delete", "rename"),
    path=described(TEXT, "The file or folder, below /memories."),
    view_range=_RANGE,
    file_text=_FILE,
    old_str=_OLD,
    new_str=_NEW,
    insert_line=_LINE,
    insert_text=described(TEXT, "For insert: the text."),
    old_path=described(TEXT, "For rename: the present path."),
    new_path=described(TEXT, "For rename: the new path."),
)
_EARLY_ACTIONS = (
    *("key", "type", "mouse_move", "left_click", "left_click_drag", "right_click"),
    *("middle_click", "double_click", "screenshot", "cursor_position"),
)
_LATER_ACTIONS = (
    *("left_mouse_down", "left_mouse_up", "triple_click", "scroll", "hold_key", "wait"),
)


def parse_client_tool(definition: JSON, name: str) -> list[Tool]:
    """The functions that a tool or toolset of the client is elsewhere; none for others."""
    kind: Any = definition.get("type")
    if not isinstance(kind, str):
        return []
    if name_of_set := set_of(kind):
        return set_members(definition, name_of_set)
    found = _KIND.fullmatch(kind)
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
    return schema(
        *("command", "path"),
        command=one_of(*commands),
        path=_PATH,
        view_range=_RANGE,
        file_text=_FILE,
        old_str=_OLD,
        new_str=described(TEXT, "For str_replace: what takes its place.  For insert: the text."),
        insert_line=_LINE,
    )


def _computer(since: str, *, has_zoom: bool) -> JSON:
    actions = [*_EARLY_ACTIONS, *(_LATER_ACTIONS if since >= "20250124" else ())]
    more: JSON = {}
    if has_zoom:
        actions.append("zoom")
        more["region"] = TOOLSETS["computer"].members["zoom"][1]["properties"]["region"]
    if since >= "20250124":
        more.update(
            duration=SECONDS,
            scroll_amount=described(NUMBER, "How many clicks of the wheel."),
            scroll_direction=DIRECTION,
            start_coordinate=AT,
        )
    text = described(TEXT, "What to type, or the key or keys to press: ctrl+s, Return.")
    return schema("action", action=one_of(*actions), coordinate=AT, text=text, **more)
