"""The rules of a Messages conversation: turns, calls and results."""

from __future__ import annotations

import re

from polycall.sim.script import Called, Entry, ModelSpec, Refused, Returned, Said
from polycall.sim.shape import JSON
from polycall.sim.vendors import anthropic_server_tools as server_tools
from polycall.sim.vendors import anthropic_thinking
from polycall.sim.vendors.anthropic_thinking import Thinking
from polycall.sim.vendors.anthropic_turns import (
    Turns,
    blocks_of,
    is_program_call,
    refuse,
    turns_of,
)
from polycall.sim.vendors.openai_common import IMAGE_TYPES, sniff_image

_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def read_history(
    body: JSON, model: ModelSpec, *, thinks: bool, has_controls: bool
) -> tuple[list[Entry], Thinking]:
    """The conversation, checked, and what became of its thinking blocks."""
    system = body.get("system")
    entries: list[Entry] = []
    if system:
        _check_texts(blocks_of(system), "system")
        entries.append(Said("system", "\n".join(block["text"] for block in blocks_of(system))))
    _check_messages(body["messages"])
    turns = turns_of(body["messages"])
    _check_pairs(turns)
    _check_end(turns, model)
    thinking = anthropic_thinking.check(
        turns, body, model, thinks=thinks, has_controls=has_controls
    )
    names: dict[str, str] = {}
    for role, blocks, position in turns:
        for block in blocks:
            _read_block(role, block, position, names, entries)
    return entries, thinking


def _check_texts(blocks: list[JSON], place: str, *, blank: bool = False) -> None:
    for block in blocks:
        if block["type"] == "text" and not block["text"]:
            raise refuse(f"{place}: text content blocks must be non-empty")
        if block["type"] == "text" and not block["text"].strip() and not blank:
            raise refuse(f"{place}: text content blocks must contain non-whitespace text")


def _check_messages(messages: list[JSON]) -> None:
    for index, message in enumerate(messages):
        last = index == len(messages) - 1
        content = message["content"]
        if not content:
            if last and message["role"] == "assistant":
                continue
            raise refuse(
                f"messages.{index}: all messages must have non-empty content except for the "
                "optional final assistant message"
            )
        blocks = blocks_of(content)
        # What a model wrote may be blank alongside its calls; what is written to it may not.
        _check_texts(blocks, "messages", blank=message["role"] == "assistant")
        for number, block in enumerate(blocks):
            place = f"messages.{index}.content.{number}"
            _check_block(message["role"], block, place)
            if block["type"] == "tool_result":
                inner = blocks_of(block.get("content"))
                _check_texts(inner, place)
                for spot, part in enumerate(inner):
                    _check_block("user", part, f"{place}.content.{spot}")


_BLOCKS_OF_ROLE = {
    "assistant": frozenset({"text", "thinking", "redacted_thinking", "tool_use", "document"})
    | {"code_execution_tool_result", *server_tools.ASSISTANT_BLOCKS},
    "user": frozenset({"text", "image", "document", "search_result", "tool_result"})
    | {"tool_reference", *server_tools.USER_BLOCKS},
    "system": frozenset({"text", *server_tools.SYSTEM_BLOCKS}),
}


def _check_block(role: str, block: JSON, place: str) -> None:
    kind = block["type"]
    if kind not in _BLOCKS_OF_ROLE[role]:
        raise refuse(f"{place}: `{kind}` blocks are not allowed in `{role}` messages")
    if kind == "image":
        _check_image(block["source"], place)
    if kind == "tool_use":
        if not _CALL_ID.fullmatch(block["id"]):
            raise refuse(f"{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if not 1 <= len(block["name"]) <= 200:
            raise refuse(f"{place}.tool_use.name: String should have at least 1 character")


def _check_image(source: JSON, place: str) -> None:
    if source["type"] == "url":
        if not source["url"].startswith("https://"):
            raise refuse(f"{place}.image.source.url: Only HTTPS URLs are supported.")
        return
    if source["type"] != "base64":
        return
    declared = source["media_type"]
    if declared not in IMAGE_TYPES:
        raise refuse(
            f"{place}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', "
            "'image/gif' or 'image/webp'"
        )
    found = sniff_image(source["data"])
    if not found:
        raise refuse(f"{place}.image.source.base64: Could not process image")
    if found != declared:
        raise refuse(
            f"{place}.image.source.base64: The image was specified using the {declared} media "
            f"type, but the image appears to be a {found} image"
        )


def _check_pairs(turns: Turns) -> None:
    open_ids: list[str] = []
    for number, (_, blocks, position) in enumerate(turns):
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        for result in results:
            if result not in open_ids:
                raise refuse(
                    f"messages.{position}: unexpected `tool_use_id` found in `tool_result` "
                    f"blocks: {result}. Each `tool_result` block must have a corresponding "
                    "`tool_use` block in the previous message."
                )
            if results.count(result) > 1:
                raise refuse(
                    f"messages.{position}: each tool_use must have a single result. Found "
                    f"multiple `tool_result` blocks with id: {result}"
                )
        leading = 0
        while leading < len(blocks) and blocks[leading]["type"] == "tool_result":
            leading += 1
        answered = {block["tool_use_id"] for block in blocks[:leading]}
        missing = [call_id for call_id in open_ids if call_id not in answered]
        if missing:
            raise _without_results(turns[number - 1][2], missing)
        open_ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(open_ids)) < len(open_ids):
            raise refuse(f"messages.{position}: `tool_use` ids must be unique")
    if open_ids:
        raise _without_results(turns[-1][2], open_ids)


def _without_results(position: int, missing: list[str]) -> Refused:
    return refuse(
        f"messages.{position}: `tool_use` ids were found without `tool_result` blocks "
        f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a "
        "corresponding `tool_result` block in the next message."
    )


def _check_end(turns: Turns, model: ModelSpec) -> None:
    role, blocks, _ = turns[-1]
    if role != "assistant":
        return
    if model.always_thinks:
        raise refuse(
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
    if (
        blocks
        and blocks[-1]["type"] == "text"
        and blocks[-1]["text"] != blocks[-1]["text"].rstrip()
    ):
        raise refuse("messages: final assistant content cannot end with trailing whitespace")


_REFERENCE = "tool_reference"


def _read_block(
    role: str, block: JSON, position: int, names: dict[str, str], entries: list[Entry]
) -> None:
    match block["type"]:
        case "text":
            said = "user" if role == "user" else "assistant" if role == "assistant" else "system"
            entries.append(Said(said, block["text"]))
        case "tool_use" if is_program_call(block):
            return
        case "tool_use":
            names[block["id"]] = block["name"]
            entries.append(Called(block["id"], block["name"], block["input"]))
        case "tool_result":
            inner = blocks_of(block.get("content"))
            text = "\n".join(part["text"] for part in inner if part["type"] == "text")
            call_id = block["tool_use_id"]
            is_error = bool(block.get("is_error"))
            opens = [str(part.get("tool_name")) for part in inner if part["type"] == _REFERENCE]
            if call_id in names:  # what a program got is not for the model
                entries.append(Returned(call_id, names[call_id], text, is_error, opens))
        case _:
            return
