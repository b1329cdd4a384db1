"""A history that tells the result of a call twice, as Gemini CLI does when it resumes."""

from __future__ import annotations

import pytest

from polycall._support import jsontext
from polycall.ir import Message, Request, Text, Tool, ToolCall, ToolResult
from polycall.providers.dialects import DIALECTS
from polycall.providers.quirks import NAMED_QUIRKS
from polycall.translation.quirks import Quirks

CALL = Message("assistant", [ToolCall("call_1", "read", "{}")])


def result(text: str = "BODY-1") -> Message:
    return Message("tool", [ToolResult("call_1", [Text(text)], name="read")])


def rendered(dialect: str, messages: list[Message]) -> tuple[str, list[str]]:
    request = Request("m", [Message("user", [Text("go")]), *messages], tools=[Tool("read")])
    wire = DIALECTS[dialect].render_request(request)
    return jsontext.encode(wire.body), [warning.feature for warning in wire.warnings]


REPEATED = {
    "at once": [CALL, result(), result()],
    "after other words": [CALL, result(), Message("user", [Text("on")]), result()],
    "three times": [CALL, result(), result(), result()],
    "with another text": [CALL, result(), result("BODY-2")],
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", REPEATED)
def test_a_result_is_told_once(dialect: str, name: str) -> None:
    text, features = rendered(dialect, REPEATED[name])
    assert text.count("BODY-1") == 1
    assert "BODY-2" not in text
    assert "orphan_tool_result" in features


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_that_has_the_id_of_an_earlier_one_has_its_own_result(dialect: str) -> None:
    again = [CALL, result(), Message("user", [Text("again")]), CALL, result("BODY-2")]
    text, features = rendered(dialect, again)
    assert (text.count("BODY-1"), text.count("BODY-2")) == (1, 1)
    assert "orphan_tool_result" not in features


@pytest.mark.parametrize(
    "quirks", [NAMED_QUIRKS[name] for name in ("openai", "compatible", "deepseek", "vllm")]
)
def test_a_long_id_is_shortened_alike_in_call_and_result(quirks: Quirks) -> None:
    """Gemini CLI puts the tool's name before the id when it resumes."""
    name = "run_shell_command__call_6669b848299900b1be8f0d43"
    messages = [
        Message("user", [Text("go")]),
        Message("assistant", [ToolCall(name, "read", "{}")]),
        Message("tool", [ToolResult(name, [Text("BODY-1")], name="read")]),
    ]
    request = Request("m", messages, tools=[Tool("read")])
    sent = DIALECTS["openai-chat"].render_request(request, quirks=quirks).body["messages"]
    made, answered = sent[-2]["tool_calls"][0]["id"], sent[-1]["tool_call_id"]
    assert made == answered
    assert len(made) <= 40
