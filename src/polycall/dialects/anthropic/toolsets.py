"""Toolsets of this wire: one entry for many tools that the client runs, whose calls name the set.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/{computer-use,browser-use}-tool, and
in anthropic 2.14 the types of each member's input and `_data/browser_toolset_members.py`; read on
2026-11-29.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from polycall.ir import JSON, Tool

TEXT: JSON = {"type": "string"}
NUMBER: JSON = {"type": "integer"}
POINT: JSON = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}


def schema(*required: str, **properties: JSON) -> JSON:
    """An object of these properties."""
    return {"type": "object", "properties": properties, "required": [*required]}


def one_of(*words: str) -> JSON:
    """One of these words."""
    return {"type": "string", "enum": [*words]}


def described(schema: JSON, words: str) -> JSON:
    """The schema with words for the model."""
    return {**schema, "description": words}


# ---------------------------------------------------------------------------------------------
# The computer

DIRECTION = one_of("up", "down", "left", "right")
_KEYS = described(TEXT, "The key or keys, joined by '+': ctrl+s, alt+Tab, Return.")
AT = described(POINT, "x and y, in pixels from the left and from the top.")
_HELD = described(TEXT, "Keys to hold down meanwhile: ctrl, shift, ctrl+shift.")
SECONDS = described(NUMBER, "How long, in seconds.")
_CLICK = schema(coordinate=AT, text=_HELD)
_COMPUTER: dict[str, tuple[str, JSON]] = {
    "screenshot": ("Take a screenshot.", schema()),
    "left_click": ("Click the left mouse button.", _CLICK),
    "right_click": ("Click the right mouse button.", _CLICK),
    "middle_click": ("Click the middle mouse button.", _CLICK),
    "double_click": ("Double-click the left mouse button.", _CLICK),
    "triple_click": ("Triple-click the left mouse button.", _CLICK),
    "left_click_drag": (
        "Drag with the left mouse button.",
        schema("coordinate", "start_coordinate", coordinate=AT, start_coordinate=AT, text=_HELD),
    ),
    "left_mouse_down": ("Press the left mouse button.", schema()),
    "left_mouse_up": ("Release the left mouse button.", schema()),
    "mouse_move": ("Move the mouse.", schema("coordinate", coordinate=AT)),
    "cursor_position": ("Tell where the mouse is.", schema()),
    "type": ("Type text.", schema("text", text=TEXT)),
    "key": ("Press a key or keys.", schema("text", text=_KEYS, repeat=NUMBER)),
    "hold_key": (
        "Hold a key or keys down.",
        schema("text", "duration", text=_KEYS, duration=SECONDS),
    ),
    "scroll": (
        "Turn the scroll wheel.",
        schema(
            *("scroll_amount", "scroll_direction"),
            scroll_amount=described(NUMBER, "How many clicks of the wheel."),
            scroll_direction=DIRECTION,
            coordinate=AT,
            text=_HELD,
        ),
    ),
    "wait": ("Wait.", schema("duration", duration=SECONDS)),
    "zoom": (
        "Take a screenshot of a region, enlarged.",
        schema(
            "region",
            region=described(
                {"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4},
                "Its left, top, right and bottom, in pixels.",
            ),
        ),
    ),
}


# ---------------------------------------------------------------------------------------------
# The browser

_TAB = described(TEXT, "In which tab; without it, in the active one.")
_NODE = described(TEXT, "An element as read_page or find named it: ref_7.")
_COORDINATE = schema("type", "x", "y", type=one_of("coordinate"), x=NUMBER, y=NUMBER)
_ELEMENT = schema("type", "ref", type=one_of("ref"), ref=_NODE)
_SPOT = described(
    _COORDINATE,
    "A point in pixels from the left and top of what is visible, as a screenshot has it.",
)
_PLACE = described(
    schema("type", type=one_of("coordinate", "ref"), x=NUMBER, y=NUMBER, ref=_NODE),
    'Where: {"type": "coordinate", "x": 10, "y": 20}, or {"type": "ref", "ref": "ref_7"}.',
)
_MODIFIERS = described(TEXT, "Keys to hold down meanwhile: shift, ctrl+shift.")
_STRINGS: JSON = {"type": "array", "items": TEXT}
_AT_MOST = described({"type": "number"}, "How long, in seconds: at most 30.")


def _in_tab(*required: str, **properties: JSON) -> JSON:
    return schema(*required, **properties, tab_id=_TAB)


_PRESS = _in_tab("target", target=_PLACE, modifiers=_MODIFIERS)
_AT_SPOT = _in_tab("target", target=_SPOT)
_TAB_ONLY = _in_tab()
_BROWSER: dict[str, tuple[str, JSON]] = {
    "navigate": (
        "Go to an address, or back, forward or reload.",
        _in_tab("url", url=described(TEXT, "The address, or back, forward or reload.")),
    ),
    "list_tabs": ("List the open tabs: id, title and address.", schema()),
    "new_tab": ("Open an empty tab.", schema()),
    "switch_tab": ("Make a tab the active one.", schema("tab_id", tab_id=TEXT)),
    "close_tab": ("Close a tab.", schema("tab_id", tab_id=TEXT)),
    "read_page": (
        "Read the page as a tree of its elements, each with a name such as [ref_7].",
        _in_tab(
            filter=described(
                one_of("interactive", "all"),
                "interactive: only what can be acted on; all: also what is not visible.",
            ),
            depth=described(NUMBER, "How deep the tree is; 15 without it."),
            ref=described(TEXT, "The element to begin at; the whole page without it."),
        ),
    ),
    "get_page_text": ("Read the visible text of the page.", _TAB_ONLY),
    "read_console": ("Read what the page's console has written since the last time.", _TAB_ONLY),
    "read_network": ("List the requests of the page since the last time.", _TAB_ONLY),
    "find": (
        "Find up to 20 elements by a description of them.",
        _in_tab("query", query=described(TEXT, "What to look for, in words.")),
    ),
    "form_input": (
        "Set the value of a field of a form: true or false for a checkbox.",
        _in_tab(
            "target", "value", target=_ELEMENT, value={"type": ["string", "number", "boolean"]}
        ),
    ),
    "file_upload": (
        "Give files to a field that takes some, by `paths` or by `document_ids`.",
        _in_tab("target", target=_ELEMENT, paths=_STRINGS, document_ids=_STRINGS),
    ),
    "scroll_to": ("Scroll until an element is visible.", _in_tab("target", target=_ELEMENT)),
    "screenshot": ("Take a screenshot of what is visible.", _TAB_ONLY),
    "zoom": (
        "Take a screenshot of a region, enlarged.",
        _in_tab("region", region=_COMPUTER["zoom"][1]["properties"]["region"]),
    ),
    "left_click": ("Click the left mouse button.", _PRESS),
    "right_click": ("Click the right mouse button.", _PRESS),
    "middle_click": ("Click the middle mouse button.", _PRESS),
    "double_click": ("Double-click the left mouse button.", _PRESS),
    "triple_click": ("Triple-click the left mouse button.", _PRESS),
    "hover": ("Move the mouse over a place without a click.", _in_tab("target", target=_PLACE)),
    "left_click_drag": (
        "Drag with the left mouse button.",
        _in_tab("from", "target", **{"from": _SPOT}, target=_SPOT),
    ),
    "left_mouse_down": ("Press the left mouse button.", _AT_SPOT),
    "left_mouse_up": ("Release the left mouse button.", _AT_SPOT),
    "mouse_move": ("Move the mouse.", _AT_SPOT),
    "scroll": (
        "Turn the scroll wheel.",
        _in_tab(
            *("target", "scroll_direction"),
            target=_SPOT,
            scroll_direction=DIRECTION,
            scroll_amount=described(NUMBER, "How many clicks of the wheel, 1 to 10."),
        ),
    ),
    "type": ("Type text where the focus is.", _in_tab("text", text=TEXT)),
    "key": ("Press a key or keys.", _in_tab("text", text=_KEYS, repeat=NUMBER)),
    "hold_key": (
        "Hold a key or keys down.",
        _in_tab("text", "duration", text=_KEYS, duration=_AT_MOST),
    ),
    "wait": ("Wait.", _in_tab("duration", duration=_AT_MOST)),
    "javascript_exec": (
        "Run JavaScript in the page; its last expression is the result.",
        _in_tab("text", text=TEXT),
    ),
}


# ---------------------------------------------------------------------------------------------
# Sets


class Toolset(Struct, frozen=True):
    """The members of a set, and those of them that are off unless `configs` turns them on."""

    members: dict[str, tuple[str, JSON]]
    off: frozenset[str] = frozenset()


TOOLSETS = {
    "computer": Toolset(_COMPUTER),
    "browser": Toolset(
        _BROWSER, frozenset({"file_upload", "read_console", "read_network", "javascript_exec"})
    ),
}
_SET = re.compile(r"(\w+)_toolset_\d{8}")


def set_of(kind: str) -> str:
    """The name of a set by the type of its entry; empty for every other tool."""
    found = _SET.fullmatch(kind)
    return found[1] if found and found[1] in TOOLSETS else ""


def set_members(definition: JSON, name: str) -> list[Tool]:
    """The tools of a set that are on; the first has the entry for its own wire."""
    configs: Any = definition.get("configs") or {}
    tools: list[Tool] = []
    for member, (description, parameters) in TOOLSETS[name].members.items():
        config: Any = configs.get(member) if isinstance(configs, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        enabled: Any = config.get("enabled") if isinstance(config, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not (member not in TOOLSETS[name].off if enabled is None else enabled):
            continue
        notes: JSON = {"in_set": True} if tools else {"definition": definition}
        metadata = {"anthropic": notes}
        tools.append(Tool(member, description, parameters, namespace=name, metadata=metadata))
    return tools
