"""The vendors' own programmatic calling, under the same policy and in the same record."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import anthropic, openai_responses
from polycall.ir import (
    JSON,
    Message,
    Request,
    Response,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.loop import RunEnd
from polycall.program import Programs
from polycall.sandbox import Sandbox
from polycall.testing import ScriptedModel
from polycall.tools import tool

from .support import collect, request

DIALECTS: dict[str, Any] = {"anthropic": anthropic, "openai-responses": openai_responses}


def tools() -> list[Any]:
    @tool(allowed_callers=["code"], strict=True)
    async def get_rows(region: str) -> list[int]:
        """Rows of a region."""
        return [1, 2, 3]

    @tool
    async def delete() -> str:
        """Deletes."""
        return "gone"

    return [get_rows, delete]


def answer(*calls: ToolCall, container: JSON | None = None) -> Response:
    return Response(
        id="r",
        model="m",
        message=Message("assistant", [*calls]),
        finish_reason="tool_calls",
        metadata={"anthropic": {"container": container}} if container else {},
    )


async def native_run(sandbox: Sandbox, dialect: str, asked: Request, answers: Any) -> Any:
    async with Programs(tools(), sandbox, native=dialect) as programs:
        with ScriptedModel(answers) as model:
            _, end = await collect(programs.run(model, asked))
    return programs, model, end


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_calls_of_the_vendors_program_run_and_are_recorded(
    jail: Sandbox, dialect: str
) -> None:
    inside = ToolCall("c1", "get_rows", '{"region": "north"}', caller="prog_1")
    forbidden = ToolCall("c2", "delete", caller="prog_1")
    wrong = ToolCall("c3", "get_rows", '{"area": 1}', caller="prog_1")
    outside = ToolCall("c4", "delete")
    first = answer(inside, forbidden, wrong, outside)
    programs, _, end = await native_run(jail, dialect, request(), [first, "done"])
    assert isinstance(end, RunEnd)
    assert [result.is_error for result in end.steps[0].results] == [False, True, True, False]
    (run,) = programs.programs
    assert (run.id, run.status) == ("prog_1", "native")
    assert [each.call.id for each in run.calls] == ["c1", "c2", "c3"]
    assert run.calls[0].result == ToolResult("c1", [Text("[1,2,3]")], name="get_rows")
    assert [(each.form, each.rule) for each in programs.decisions] == [("code", "native")]


async def test_what_goes_over_the_wire(jail: Sandbox) -> None:
    sent: dict[str, list[JSON]] = {}
    for name, dialect in DIALECTS.items():
        _, model, _ = await native_run(jail, name, request(), ["done"])
        wire = dialect.render_request(model.requests[0])
        sent[name] = [
            {key: each.get(key) for key in ("type", "name", "allowed_callers") if key in each}
            for each in wire.body["tools"]
        ]
    assert sent["anthropic"] == [
        {"name": "get_rows", "allowed_callers": ["code_execution_20260120"]},
        {"name": "delete"},
        {"type": "code_execution_20260120", "name": "code_execution"},
    ]
    assert sent["openai-responses"] == [
        {"type": "function", "name": "get_rows", "allowed_callers": ["programmatic"]},
        {"type": "function", "name": "delete"},
        {"type": "programmatic_tool_calling"},
    ]


async def test_the_container_goes_on(jail: Sandbox) -> None:
    inside = ToolCall("c1", "get_rows", '{"region": "n"}', caller="srvtoolu_1")
    container = {"id": "container_9", "expires_at": "2026-11-21T00:00:00Z"}
    answers = [answer(inside, container=container), "done"]
    _, model, _ = await native_run(jail, "anthropic", request(), answers)
    bodies = [anthropic.render_request(each).body for each in model.requests]
    assert [body.get("container") for body in bodies] == [None, "container_9"]


@pytest.mark.parametrize(
    ("dialect", "settings", "reason"),
    [
        ("gemini", {}, "the dialect 'gemini' has no programmatic calling of its own"),
        (
            "anthropic",
            {"tool_choice": ToolChoice("required")},
            "the vendor does not combine it with a forced choice",
        ),
        (
            "anthropic",
            {"parallel_tool_calls": False},
            "the vendor does not combine it with parallel calls turned off",
        ),
    ],
)
async def test_where_the_vendor_cannot_the_sandbox_here_can(
    jail: Sandbox, dialect: str, settings: Any, reason: str
) -> None:
    programs, model, _ = await native_run(jail, dialect, request(**settings), ["done"])
    assert [each.name for each in model.requests[0].tools] == ["delete", "run_code"]
    assert programs.decisions[0].reason.endswith(f"; not by the vendor: {reason}")
