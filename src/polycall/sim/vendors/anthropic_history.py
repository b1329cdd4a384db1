"""The rules of a Messages conversation: turns, calls and results, thinking and its signatures."""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeAlias

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.script import Called, Entry, ModelSpec, Refused, Returned, Said
from polycall.sim.shape import JSON, object_in
from polycall.sim.vendors.openai_common import IMAGE_TYPES, sniff_image

SCOPE = "anthropic"
# Role, blocks and position of each turn.
Turns: TypeAlias = "list[tuple[str, list[JSON], int]]"
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def refuse(message: str) -> Refused:
    """400."""
    error: JSON = {"type": "invalid_request_error", "message": message, "details": None}
    return Refused(400, {"type": "error", "error": error, "request_id": ""})


def blocks_of(content: str | list[JSON] | None) -> list[JSON]:
    """A string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def turns_of(messages: list[JSON]) -> Turns:
    """Role, blocks and position of each turn; neighbours of one role are one turn."""
    turns: Turns = []
    for index, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message["role"], list(blocks), index))
    return turns


def prefix_digest(turns: Turns) -> str:
    """What a signature is bound to: all that was said before, however it was spelled."""
    plain = [
        [role, [_essence(block) for block in blocks if "thinking" not in block["type"]]]
        for role, blocks, _ in turns
    ]
    return hashlib.sha256(jsontext.encode_bytes(plain)).hexdigest()[:16]


def _essence(block: JSON) -> list[Any]:
    match block["type"]:
        case "text":
            return ["text", block["text"]]
        case "tool_use":
            return ["tool_use", block["id"], block["name"], sorted_json(block["input"])]
        case "tool_result":
            inner = [_essence(part) for part in blocks_of(block.get("content"))]
            return ["tool_result", block["tool_use_id"], inner, bool(block.get("is_error"))]
        case "server_tool_use":
            return ["server_tool_use", block["id"], sorted_json(block["input"])]
        case "code_execution_tool_result":
            return ["result", block["tool_use_id"], sorted_json(block["content"])]
        case kind:
            return [kind, sorted_json(block.get("source"))]


def sorted_json(value: Any) -> Any:
    """The value with all names in order, so that their order does not matter."""
    if isinstance(value, dict):
        items: list[tuple[str, Any]] = sorted(value.items())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        return [[name, sorted_json(item)] for name, item in items]
    if isinstance(value, list):
        return [sorted_json(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def read_history(body: JSON, model: ModelSpec, *, thinks: bool) -> list[Entry]:
    """The conversation, checked."""
    system = body.get("system")
    entries: list[Entry] = []
    if system:
        _check_texts(blocks_of(system), "system")
        entries.append(Said("system", "\n".join(block["text"] for block in blocks_of(system))))
    _check_messages(body["messages"])
    turns = turns_of(body["messages"])
    _check_pairs(turns)
    _check_end(turns, model)
    _check_thinking(turns, body, thinks=thinks)
    names: dict[str, str] = {}
    for role, blocks, position in turns:
        for block in blocks:
            _read_block(role, block, position, names, entries)
    return entries


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
        # What a model wrote may be blank beside its calls; what is written to it may not.
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
    "assistant": frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
    | {"server_tool_use", "code_execution_tool_result"},
    "user": frozenset({"text", "image", "document", "search_result", "tool_result"})
    | {"tool_reference"},
    "system": frozenset({"text"}),
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
    if model.reasons == "always":
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


def _check_thinking(turns: Turns, body: JSON, *, thinks: bool) -> None:
    # A new turn of the user ends the loop whose thinking must come back.
    start = 0
    for number, (role, blocks, _) in enumerate(turns):
        if role == "user" and any(block["type"] != "tool_result" for block in blocks):
            start = number
    for number, (role, blocks, position) in enumerate(turns):
        if role != "assistant":
            continue
        found: dict[str, int] = {}  # blocks by nonce
        totals: dict[str, int] = {}
        for spot, block in enumerate(blocks):
            if block["type"] in ("thinking", "redacted_thinking"):
                place = f"messages.{position}.content.{spot}"
                data = _check_signature(block, body["model"], turns[:number], place)
                nonce = data["nonce"]
                found[nonce] = found.get(nonce, 0) + 1
                totals[nonce] = data["parts"]
                if found[nonce] != data["part"]:
                    raise _modified(place)
            elif _is_models_call(block) and thinks and number >= start:
                _check_presence(blocks, spot, found, body, f"messages.{position}.content")
        if found != totals:
            raise _modified(f"messages.{position}")


def is_program_call(block: JSON) -> bool:
    """Whether a `tool_use` block was made by a program."""
    caller: JSON | None = block.get("caller")
    return block["type"] == "tool_use" and caller is not None and caller["type"] != "direct"


def _is_models_call(block: JSON) -> bool:
    return block["type"] in ("tool_use", "server_tool_use") and not is_program_call(block)


def _modified(place: str) -> Refused:
    return refuse(
        f"{place}: `thinking` or `redacted_thinking` blocks in the latest assistant message "
        "cannot be modified. These blocks must remain as they were in the original response."
    )


def _check_signature(block: JSON, model: str, before: Turns, place: str) -> JSON:
    thinking = block["type"] == "thinking"
    token = block["signature"] if thinking else block["data"]
    words = f"{place}: Invalid `{'signature' if thinking else 'data'}` in `{block['type']}` block"
    data = signing.read(SCOPE, token)
    text = block["thinking"] if thinking else ""
    if data is None or not signing.holds(SCOPE, token, block["type"], text):
        raise refuse(words)
    if data["model"] != model:
        raise refuse(f"{words}: it belongs to another model")
    if data["prefix"] != prefix_digest(before):
        raise refuse(f"{words}: the messages before it are not those it was made for")
    return data


def _check_presence(
    blocks: list[JSON], spot: int, found: dict[str, int], body: JSON, place: str
) -> None:
    nonce = signing.marked_nonce(SCOPE, blocks[spot]["id"])
    first = blocks[0]["type"]
    # With a fixed budget every last turn starts with thinking, whoever wrote it.
    fixed = object_in(body, "thinking").get("type") == "enabled"
    misplaced = fixed and "thinking" not in first
    wrong = first if misplaced else blocks[spot]["type"]
    if misplaced or (nonce and nonce not in found):
        raise refuse(
            f"{place}.{0 if misplaced else spot}.type: Expected `thinking` or "
            f"`redacted_thinking`, but found `{wrong}`. When "
            "`thinking` is enabled, a final `assistant` message must start with a thinking block "
            "(preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
        )


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
            if call_id in names:  # what a program got is not for the model
                entries.append(Returned(call_id, names[call_id], text, is_error))
        case _:
            return
