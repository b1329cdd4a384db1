"""Programmatic calling as Responses has it: `program`, callers, `program_output`, fingerprints."""

from __future__ import annotations

from typing import Any

from polycall.sim import signing
from polycall.sim.script import Called, Entry, Programs, Ran, Returned
from polycall.sim.shape import JSON, list_in
from polycall.sim.vendors import openai_common as common

TYPE = "programmatic_tool_calling"
SCOPE = "openai"
_NAME = "program"


# ---------------------------------------------------------------------------------------------
# What a request may say


def offered(body: JSON) -> Programs | None:
    """The programs that the request allows; `None` where it allows none."""
    tools = list_in(body, "tools")
    has_programs = any(tool["type"] == TYPE for tool in tools)
    names: list[str] = []
    code_only: list[str] = []
    for index, tool in enumerate(tools):
        if "programmatic" not in (tool.get("allowed_callers") or []):
            continue
        place = f"tools[{index}].allowed_callers"
        if not has_programs:
            raise common.refuse(
                f"'programmatic' in '{place}' needs a tool of the type '{TYPE}'.", param=place
            )
        if tool.get("async"):
            raise common.refuse(f"'{place}': async tools are called directly only.", param=place)
        names.append(tool["name"])
        if "direct" not in tool["allowed_callers"]:
            code_only.append(tool["name"])
    if not has_programs:
        return None
    return Programs(
        names=frozenset(names),
        code_only=frozenset(code_only),
        scope=SCOPE,
        program_prefix="call",
        call_prefix="call",
    )


class ProgramItems:
    """Reads the items of programs: which were begun, called, got results, and ended."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.callers: dict[str, str] = {}  # calls of programs, and whose they are
        self.results: dict[str, str] = {}
        self.last: list[str] = []  # what was answered since the model's last item

    def read(self, item: JSON, index: int) -> list[Entry]:
        """One item; gives what the model has of it."""
        match item.get("type", "message"):
            case "program":
                return [self._begin(item, index)]
            case "program_output":
                return [self._end(item, index)]
            case "function_call" | "custom_tool_call":
                self._call(item, index)
            case "function_call_output" | "custom_tool_call_output":
                self._result(item, index)
            case _:
                pass
        return []

    def _begin(self, item: JSON, index: int) -> Entry:
        if item["fingerprint"] != fingerprint(item["call_id"], item["code"]):
            raise common.refuse(
                f"The fingerprint of program '{item['call_id']}' does not match the program.",
                param=f"input[{index}].fingerprint",
            )
        self.open.append(item["call_id"])
        return Called(item["call_id"], _NAME, {"code": item["code"]})

    def _end(self, item: JSON, index: int) -> Entry:
        call_id = item["call_id"]
        if call_id not in self.open:
            raise common.refuse(
                f"No program found for program output with call_id {call_id}.",
                param=f"input[{index}].call_id",
            )
        self.open.remove(call_id)
        return Returned(call_id, _NAME, item["result"], item["status"] != "completed")

    def _call(self, item: JSON, index: int) -> None:
        caller = _program_of(item)
        if not caller:
            return
        if caller not in self.open:
            raise common.refuse(
                f"No program found for function call with caller_id {caller}.",
                param=f"input[{index}].caller",
            )
        self.callers[item["call_id"]] = caller
        self.last = []

    def _result(self, item: JSON, index: int) -> None:
        call_id = item["call_id"]
        caller = self.callers.get(call_id, "")
        if item.get("caller") is not None and _program_of(item) != caller:
            raise common.refuse(
                f"The caller of the output for {call_id} is not that of its call.",
                param=f"input[{index}].caller",
            )
        if caller:
            output: str | list[JSON] = item["output"]
            parts = [{"text": output}] if isinstance(output, str) else output
            self.results[call_id] = "\n".join(part.get("text", "") for part in parts)
            self.last.append(call_id)

    def conclude(self, programs: Programs | None) -> None:
        """Note in `programs` which one waits."""
        if not self.open:
            return
        waiting = [program for program in self.open if program in self.callers.values()]
        if not waiting or programs is None:
            raise common.refuse(
                f"No program output found for program {self.open[0]}.", param="input"
            )
        programs.pending = waiting[0]
        programs.results = self.results
        programs.answered_now = self.last


def _program_of(item: JSON) -> str:
    caller: Any = item.get("caller") or {}
    return caller.get("caller_id", "")


# ---------------------------------------------------------------------------------------------
# What an answer says


def fingerprint(call_id: str, code: str) -> str:
    """The fingerprint that must come back with a program, unchanged."""
    return signing.issue("openai-program", {"scope": "openai-program"}, call_id, code)


def began_item(ran: Ran) -> JSON:
    """The program."""
    return {
        "type": "program",
        "id": f"prog_{ran.id.rpartition('_')[2]}",
        "call_id": ran.id,
        "code": ran.code,
        "fingerprint": fingerprint(ran.id, ran.code),
    }


def call_items(ran: Ran) -> list[JSON]:
    """Its calls that wait."""
    return [
        {
            "type": "function_call",
            "id": f"fc_{call.id.rpartition('_')[2]}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments_json,
            "status": "completed",
            "caller": {"type": "program", "caller_id": ran.id},
        }
        for call in ran.calls
    ]


def ended_item(ran: Ran) -> JSON:
    """The item with a program's end."""
    assert ran.outcome is not None
    return {
        "type": "program_output",
        "id": f"po_{ran.id.rpartition('_')[2]}",
        "call_id": ran.id,
        "result": ran.outcome.stderr or ran.outcome.stdout,
        "status": "incomplete" if ran.outcome.stderr else "completed",
    }
