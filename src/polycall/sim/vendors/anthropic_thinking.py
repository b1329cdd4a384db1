"""Checks of thinking blocks that come back: whether they are whole, readable, and in place.

Three kinds of models.  Simulated ones (`sim-1`) are the strictest: a block is refused under another
model and after any change of the messages before it.  Real ones drop what they cannot read.  Those
that bind thinking also check what came before: `system`, the set of tools, every earlier message,
and the chain of earlier blocks; a deferred tool counts once something refers to it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec import Struct

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.script import ModelSpec, Refused
from polycall.sim.shape import JSON, list_in, object_in
from polycall.sim.vendors.anthropic_tool_changes import added_in
from polycall.sim.vendors.anthropic_turns import (
    SCOPE,
    Turns,
    blocks_of,
    is_program_call,
    prefix_digest,
    refuse,
    sorted_json,
)

BETA = "thinking-binding-controls-2026-08-01"
_KINDS = ("thinking", "redacted_thinking")


class Thinking(Struct):
    """The result of a check: blocks that were dropped, and the last one that was kept."""

    dropped: list[JSON] = []
    last: str = ""


class _Check(Struct, frozen=True):
    """The subject of a check."""

    turns: Turns
    body: JSON
    model: ModelSpec
    has_controls: bool  # the client may say what becomes of blocks that do not fit


class _Block(Struct, frozen=True):
    """One thinking block, its data, and where it stands."""

    kind: str
    data: JSON
    path: str
    number: int  # of its turn


def bound_to(body: JSON, turns: Turns) -> JSON:
    """The digest that a block made after these turns is bound to."""
    return {
        "system": _digest([block["text"] for block in blocks_of(body.get("system"))]),
        "tools": _tools_digest(body, turns),
        "prefix": prefix_digest(turns),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(jsontext.encode_bytes(value)).hexdigest()[:16]


def _tools_digest(body: JSON, turns: Turns) -> str:
    referred = referred_in(turns)
    loaded = [
        {name: value for name, value in tool.items() if name != "cache_control"}
        for tool in list_in(body, "tools")
        if not tool.get("defer_loading") or tool.get("name") in referred
    ]
    return _digest(sorted(_digest(sorted_json(tool)) for tool in loaded))


def referred_in(turns: Turns) -> set[str]:
    """The names of the tools that came later than the beginning."""
    found = {
        str(part.get("tool_name"))
        for _, blocks, _ in turns
        for block in blocks
        for part in [block, *_inner(block)]
        if part.get("type") == "tool_reference"
    }
    found.update(name for _, blocks, _ in turns for name in added_in(blocks))
    return found


def _inner(block: JSON) -> list[JSON]:
    content = None if block["type"] == "compaction" else block.get("content")
    if isinstance(content, dict):  # the result of a search for tools
        return list_in(content, "tool_references")  # pyright: ignore[reportUnknownArgumentType]
    return blocks_of(content) if isinstance(content, list) else []  # pyright: ignore[reportUnknownArgumentType]


def identity(nonce: str, part: int) -> str:
    """The name by which a later block refers to this one."""
    return f"{nonce}:{part}"


def check(
    turns: Turns, body: JSON, model: ModelSpec, *, thinks: bool, has_controls: bool
) -> Thinking:
    """Check every thinking block; raises `Refused`, or says which blocks were dropped."""
    result = Thinking()
    asked = _Check(turns, body, model, has_controls)
    start = _loop_start(turns)
    first = next((n for n in range(start, len(turns)) if turns[n][0] == "assistant"), start)
    for number, (role, blocks, position) in enumerate(turns):
        if role != "assistant":
            continue
        found: dict[str, int] = {}  # blocks by nonce
        totals: dict[str, int] = {}
        for spot, block in enumerate(blocks):
            place = f"messages.{position}.content.{spot}"
            if block["type"] in _KINDS:
                data = _signed(block, place)
                if data is None:
                    continue  # another's, taken on trust
                nonce = data["nonce"]
                found[nonce] = found.get(nonce, 0) + 1
                totals[nonce] = data["parts"]
                if found[nonce] != data["part"]:
                    raise _modified(place)
                _place(_Block(block["type"], data, place, number), asked, result)
            elif _is_models_call(block) and thinks and number >= start:
                place = f"messages.{position}.content"
                _check_presence(blocks, spot, found, asked, place, begins=number == first)
        if found != totals:
            raise _modified(f"messages.{position}")
    return result


def _loop_start(turns: Turns) -> int:
    """The turn that began the loop whose thinking must come back: the user's last."""
    start = 0
    for number, (role, blocks, _) in enumerate(turns):
        if role == "user" and any(block["type"] != "tool_result" for block in blocks):
            start = number
    return start


def _place(seen: _Block, asked: _Check, result: Thinking) -> None:
    """Keep the block, drop it, or refuse the request."""
    data, model = seen.data, asked.model
    if not model.is_real:
        _check_strictly(seen, asked)
        return
    if data["model"] not in model.reads:
        result.dropped.append(_dropped(seen, "model_binding_mismatch"))
        return
    if not model.binds_thinking:
        return
    broken = any(entry["reason"] == "prefix_binding_mismatch" for entry in result.dropped)
    change = "chain" if broken else _change(seen, asked, result)
    if not change:
        result.last = identity(data["nonce"], data["part"])
        return
    binding = object_in(object_in(asked.body, "thinking"), "block_binding")
    if binding.get("prefix_mismatch_behavior") != "drop_block":
        raise _mismatch(seen, change, has_controls=asked.has_controls)
    result.dropped.append(_dropped(seen, "prefix_binding_mismatch"))


def _check_strictly(seen: _Block, asked: _Check) -> None:
    words = f"{seen.path}: Invalid `{_token_field(seen.kind)}` in `{seen.kind}` block"
    if seen.data["model"] != asked.body["model"]:
        raise refuse(f"{words}: it belongs to another model")
    if seen.data["prefix"] != prefix_digest(asked.turns[: seen.number]):
        raise refuse(f"{words}: the messages before it are not those it was made for")


def _change(seen: _Block, asked: _Check, result: Thinking) -> str:
    now = bound_to(asked.body, asked.turns[: seen.number])
    for name in ("system", "tools", "prefix"):
        if seen.data.get(name) != now[name]:
            return name
    # Blocks may be left out from the front, and nowhere else.
    return "chain" if result.last and seen.data.get("previous", "") != result.last else ""


_CHANGES = {
    "system": " The `system` prompt differs from when the block was created.",
    "tools": " The `tools` list differs from when the block was created.",
    "prefix": " A message before the block differs from when it was created.",
    "chain": " An earlier thinking block is missing or was moved.",
}


def _mismatch(seen: _Block, change: str, *, has_controls: bool) -> Refused:
    controls = (
        ""
        if has_controls
        else f" That setting requires the `{BETA}` value in the `anthropic-beta` header."
    )
    return refuse(
        f"{seen.path}: Invalid `{_token_field(seen.kind)}` in `{seen.kind}` block. The block is "
        "bound to a different conversation. Remove the block, or set "
        '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
        f"{controls}{_CHANGES[change]}"
    )


def _dropped(seen: _Block, reason: str) -> JSON:
    return {"type": "thinking_dropped", "path": seen.path, "reason": reason}


def _token_field(kind: str) -> str:
    return "signature" if kind == "thinking" else "data"


def _signed(block: JSON, place: str) -> JSON | None:
    """The data of a block that this simulation made; `None` for one that is taken on trust."""
    kind = block["type"]
    token = block[_token_field(kind)]
    data = signing.read(SCOPE, token)
    if data is None and signing.takes_foreign():
        return None
    text = block["thinking"] if kind == "thinking" else ""
    if data is None or not signing.holds(SCOPE, token, kind, text):
        raise refuse(f"{place}: Invalid `{_token_field(kind)}` in `{kind}` block")
    return data


def _is_models_call(block: JSON) -> bool:
    return block["type"] in ("tool_use", "server_tool_use") and not is_program_call(block)


def _modified(place: str) -> Refused:
    return refuse(
        f"{place}: `thinking` or `redacted_thinking` blocks in the latest assistant message "
        "cannot be modified. These blocks must remain as they were in the original response."
    )


def _check_presence(
    blocks: list[JSON],
    spot: int,
    found: dict[str, int],
    asked: _Check,
    place: str,
    *,
    begins: bool,
) -> None:
    nonce = signing.marked_nonce(SCOPE, blocks[spot]["id"])
    first = blocks[0]["type"]
    # With a fixed budget the last turn starts with thinking, no matter who wrote it; the model goes
    # on after results without, where it does not think between calls.
    fixed = object_in(asked.body, "thinking").get("type") == "enabled"
    if asked.model.is_real and not fixed:
        return  # adaptive thinking may be left out
    misplaced = fixed and begins and "thinking" not in first
    wrong = first if misplaced else blocks[spot]["type"]
    if misplaced or (nonce and nonce not in found):
        raise refuse(
            f"{place}.{0 if misplaced else spot}.type: Expected `thinking` or "
            f"`redacted_thinking`, but found `{wrong}`. When "
            "`thinking` is enabled, a final `assistant` message must start with a thinking block "
            "(preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
        )
