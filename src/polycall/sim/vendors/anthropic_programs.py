"""Programmatic calling as Anthropic has it: `code_execution`, callers, containers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

from polycall.sim.schemas import is_recursive
from polycall.sim.script import Answer, Called, Entry, Programs, Ran, Returned
from polycall.sim.shape import JSON, OBJECT, STRING, Kind, ListOf, Obj, Scalar, Tagged
from polycall.sim.vendors.anthropic_turns import (
    SCOPE,
    Turns,
    blocks_of,
    is_program_call,
    refuse,
)

KINDS = ("code_execution_20250825", "code_execution_20260120", "code_execution_20260521")
NAME = "code_execution"

_RESULT: dict[str, Kind] = {
    "stderr!": STRING,
    "return_code!": Scalar("integer"),
    "content!": ListOf(OBJECT),
}
BLOCKS: dict[str, Obj] = {
    "code_execution_tool_result": Obj(
        {
            "tool_use_id!": STRING,
            "content!": Tagged(
                "type",
                {
                    "code_execution_result": Obj({"stdout!": STRING, **_RESULT}),
                    "encrypted_code_execution_result": Obj(
                        {"encrypted_stdout!": STRING, **_RESULT}
                    ),
                    "code_execution_tool_result_error": Obj({"error_code!": STRING}),
                },
            ),
        }
    ),
}


# ---------------------------------------------------------------------------------------------
# What a request may say


def offered(body: JSON) -> Programs | None:
    """What the request lets programs do; `None` where it offers none."""
    tools: list[JSON] = body.get("tools", [])
    kinds = [tool["type"] for tool in tools if tool.get("type") in KINDS]
    for index, tool in enumerate(tools):
        if "input_schema" in tool:
            _check_tool(tool, kinds, f"tools.{index}.custom")
    if not kinds:
        return None
    callable_names = [tool["name"] for tool in tools if _is_open(tool)]
    _check_choice(body.get("tool_choice") or {}, tools, is_used=bool(callable_names))
    container: Any = body.get("container")
    if isinstance(container, dict):
        container = cast("JSON", container).get("id")
    return Programs(
        names=frozenset(callable_names),
        code_only=frozenset(
            tool["name"]
            for tool in tools
            if "direct" not in tool.get("allowed_callers", ["direct"])
        ),
        scope=SCOPE,
        program_prefix="srvtoolu",
        call_prefix="toolu",
        kind=kinds[0],
        has_containers=True,
        container=container or "",
    )


def _is_open(tool: JSON) -> bool:
    return any(caller in KINDS for caller in tool.get("allowed_callers", []))


def _check_tool(tool: JSON, kinds: list[str], place: str) -> None:
    for caller in tool.get("allowed_callers", ["direct"]):
        if caller == "direct":
            continue
        if caller not in KINDS:
            raise refuse(f"{place}.allowed_callers: Input should be 'direct' or one of {KINDS}")
        if caller not in kinds:
            raise refuse(f"{place}.allowed_callers: '{caller}' requires that tool in `tools`")
    if not _is_open(tool):
        return
    if tool.get("strict"):
        raise refuse(f"{place}.strict: strict tools cannot be called from code execution")
    if is_recursive(tool["input_schema"]):
        raise refuse(f"{place}.input_schema: Circular $ref detected")


def _check_choice(choice: JSON, tools: list[JSON], *, is_used: bool) -> None:
    if is_used and choice.get("disable_parallel_tool_use"):
        raise refuse(
            "tool_choice.disable_parallel_tool_use: not supported with programmatic tool calling"
        )
    for tool in tools:
        if choice.get("name") == tool.get("name") and "direct" not in tool.get(
            "allowed_callers", ["direct"]
        ):
            raise refuse(
                f"tool_choice.tool.name: Tool '{tool['name']}' cannot be called directly: its "
                "allowed_callers do not have 'direct'"
            )


def check_history(turns: Turns, programs: Programs | None) -> None:
    """Callers, results and ends of programs; notes in `programs` which one waits."""
    reader = _Reader()
    for number, (role, blocks, position) in enumerate(turns):
        place = f"messages.{position}"
        if role == "assistant":
            reader.said(blocks, place)
        elif role == "user":
            reader.answered(turns[number - 1][1] if number else [], blocks, place)
    waiting = [program for program in reader.open if program in reader.pending]
    if reader.open and not waiting:
        raise refuse(
            f"messages: `{NAME}` tool use with id `{reader.open[0]}` was found without a "
            f"corresponding `{NAME}_tool_result` block"
        )
    if not waiting:
        return
    if programs is None:
        raise refuse(f"tools: a program waits, and no {NAME} tool is provided")
    if not programs.container:
        raise refuse(
            "container_id is required when there are pending tool uses generated by code "
            "execution with tools."
        )
    programs.pending = waiting[0]
    programs.results = reader.results
    programs.answered_now = reader.answered_now


class _Reader:
    """Goes through a conversation, turn by turn."""

    def __init__(self) -> None:
        self.open: list[str] = []  # programs that have not ended
        self.pending: set[str] = set()  # those whose calls the last message answers
        self.results: dict[str, str] = {}
        self.answered_now: list[str] = []

    def said(self, blocks: list[JSON], place: str) -> None:
        """A turn of the model."""
        self.pending = set()
        for spot, block in enumerate(blocks):
            where = f"{place}.content.{spot}"
            if is_program(block):
                self.open.append(block["id"])
            elif block["type"] == "code_execution_tool_result":
                if block["tool_use_id"] not in self.open:
                    raise refuse(
                        f"{where}: unexpected `tool_use_id` found in `{NAME}_tool_result` blocks: "
                        f"{block['tool_use_id']}"
                    )
                self.open.remove(block["tool_use_id"])
            elif is_program_call(block):
                caller: JSON = block["caller"]
                if caller["type"] not in KINDS or caller.get("tool_id") not in self.open:
                    raise refuse(
                        f"{where}.caller: no `server_tool_use` block that waits has the id "
                        f"{caller.get('tool_id')}"
                    )
                self.pending.add(caller["tool_id"])

    def answered(self, before: list[JSON], blocks: list[JSON], place: str) -> None:
        """A turn of the user."""
        calls = {block["id"] for block in before if is_program_call(block)}
        if not calls:
            # A program begun alongside the model's own calls continues when those are answered.
            is_answered = any(block["type"] == "tool_result" for block in blocks)
            self.pending = set(self.open) if is_answered else set()
            self.answered_now = []
            return
        self.answered_now = list(calls)
        for spot, block in enumerate(blocks):
            where = f"{place}.content.{spot}"
            if block["type"] != "tool_result":
                raise refuse(
                    f"{where}: when there are pending tool calls from code execution, the message "
                    f"may contain only `tool_result` blocks, and found `{block['type']}`"
                )
            content = blocks_of(block.get("content"))
            if block["tool_use_id"] in calls and any(part["type"] != "text" for part in content):
                raise refuse(f"{where}: a result for code execution holds text and nothing else")
            self.results[block["tool_use_id"]] = "\n".join(part["text"] for part in content)


def is_program(block: JSON) -> bool:
    """Whether the block is a program that the model wrote."""
    return block["type"] == "server_tool_use" and block["name"] == NAME


def read_block(block: JSON, entries: list[Entry]) -> None:
    """What the model has of a program: its code, and how it ended."""
    if is_program(block):
        entries.append(Called(block["id"], NAME, block["input"]))
    elif block["type"] == "code_execution_tool_result":
        content: JSON = block["content"]
        text = content.get("stderr") or content.get("stdout") or content.get("error_code", "")
        is_error = content.get("return_code", 1) != 0
        entries.append(Returned(block["tool_use_id"], NAME, text, is_error))


# ---------------------------------------------------------------------------------------------
# What an answer says


def began_block(ran: Ran) -> JSON:
    """The program."""
    return {
        "type": "server_tool_use",
        "id": ran.id,
        "name": NAME,
        "input": {"code": ran.code},
        "caller": {"type": "direct"},
    }


def call_blocks(ran: Ran, kind: str) -> Iterator[JSON]:
    """Its calls that wait."""
    for call in ran.calls:
        yield {
            "type": "tool_use",
            "id": call.id,
            "name": call.name,
            "input": call.arguments,
            "caller": {"type": kind, "tool_id": ran.id},
        }


def ended_block(ran: Ran) -> JSON:
    """How it ended."""
    assert ran.outcome is not None
    return {
        "type": "code_execution_tool_result",
        "tool_use_id": ran.id,
        "content": {
            "type": "code_execution_result",
            "stdout": ran.outcome.stdout,
            "stderr": ran.outcome.stderr,
            "return_code": 1 if ran.outcome.stderr else 0,
            "content": [],
        },
    }


def container_field(answer: Answer) -> JSON | None:
    """Where it ran."""
    if answer.container is None:
        return None
    expires = datetime.fromtimestamp(answer.container.expires_at, UTC)
    return {
        "id": answer.container.id,
        "expires_at": expires.isoformat().replace("+00:00", "Z"),
        "skills": None,
    }
