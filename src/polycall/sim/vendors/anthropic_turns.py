"""The turns of a Messages conversation, and what they are when their spelling does not matter."""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.script import Refused
from polycall.sim.shape import JSON

SCOPE = "anthropic"
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
# Role, blocks and position of each turn.
Turns: TypeAlias = "list[tuple[str, list[JSON], int]]"


def refuse(message: str, *, status: int = 400, headers: dict[str, str] | None = None) -> Refused:
    """An error in Anthropic's shape."""
    kind = _ERROR_TYPES.get(status, "api_error")
    error: JSON = {"type": kind, "message": message, "details": None}
    return Refused(status, {"type": "error", "error": error, "request_id": ""}, headers)


def blocks_of(content: str | list[JSON] | None) -> list[JSON]:
    """A string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def turns_of(messages: list[JSON]) -> Turns:
    """Role, blocks and position of each turn; neighbours of one role are one turn.

    A summary that the vendor signed is a turn by itself: it stands for those before it.
    """
    turns: Turns = []
    for index, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        if not turns and blocks and summed_up(blocks[:1]) is not None:
            turns.append((message["role"], blocks[:1], index))
            blocks = blocks[1:]
            if blocks:
                turns.append((message["role"], list(blocks), index))
        elif turns and turns[-1][0] == message["role"] and summed_up(turns[-1][1]) is None:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message["role"], list(blocks), index))
    return turns


def summed_up(blocks: list[JSON]) -> JSON | None:
    """The conversation behind the summary in all of these blocks; `None` without a summary."""
    if len(blocks) != 1 or blocks[0]["type"] != "compaction" or not blocks[0].get("signature"):
        return None
    token, text = blocks[0]["signature"], blocks[0].get("content") or ""
    data = signing.read(SCOPE, token)
    if data is None or not signing.holds(SCOPE, token, "compaction", text):
        raise refuse("messages.0.content.0: Invalid `signature` in `compaction` block")
    return data


def prefix_digest(turns: Turns) -> str:
    """The digest that a signature is bound to: all that was said before, however it was spelled."""
    digest = ""
    for role, blocks, _ in turns:
        if (summed := summed_up(blocks)) is not None:
            digest = summed["prefix"]
            continue
        said = [_essence(block) for block in blocks if "thinking" not in block["type"]]
        plain = jsontext.encode_bytes([digest, role, said])
        digest = hashlib.sha256(plain).hexdigest()[:16]
    return digest


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
            return ["server_tool_use", block["id"], sorted_json(block.get("input"))]
        case "code_execution_tool_result":
            return ["result", block["tool_use_id"], sorted_json(block["content"])]
        case kind:
            rest = {name: value for name, value in block.items() if name != "cache_control"}
            return [kind, sorted_json(rest)]


def sorted_json(value: Any) -> Any:
    """The value with all names in order, so that their order does not matter."""
    if isinstance(value, dict):
        items: list[tuple[str, Any]] = sorted(value.items())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        return [[name, sorted_json(item)] for name, item in items]
    if isinstance(value, list):
        return [sorted_json(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def is_program_call(block: JSON) -> bool:
    """Whether a `tool_use` block was made by a program."""
    caller: JSON | None = block.get("caller")
    return block["type"] == "tool_use" and caller is not None and caller["type"] != "direct"
