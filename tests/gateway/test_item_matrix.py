"""Tools that a Responses client runs: item kind x another vendor's model x way, history included.

The model calls the tool; the client gets the item that it waits for, plain, streamed and over
WebSocket, by its vendor's SDK; it sends that item and its result back, and the model reads both.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from tests.dialects.openai_responses.test_client_tools import PATCH, SEARCH, TOOLS, WEATHER
from tests.gateway.harness import KEY, Gateway
from tests.gateway.test_responses_stored import paid, scripted

JSON = dict[str, Any]
TARGETS = ["up-anthropic", "up-gemini", "up-chat", "up-deepseek", "up-compatible"]
WAYS = ["plain", "streamed", "socket"]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)
EXEC: JSON = {"type": "custom", "name": "exec", "description": "Runs JavaScript."}
SPACE: JSON = {"type": "namespace", "name": "functions", "description": "All.", "tools": [EXEC]}

# The tool, the name and the arguments of the model's call, the item, the client's result of it.
KINDS: dict[str, tuple[JSON, str, JSON, JSON, JSON]] = {
    "function": (
        WEATHER,
        "get_weather",
        {},
        {"type": "function_call", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "output": "RESULT-7"},
    ),
    "freeform": (
        {"type": "custom", "name": "apply_patch", "description": "patch"},
        "apply_patch",
        {"input": PATCH},
        {"type": "custom_tool_call", "name": "apply_patch", "input": PATCH},
        {"type": "custom_tool_call_output", "output": "RESULT-7"},
    ),
    "freeform in a namespace": (
        SPACE,
        "functions__exec",
        {"input": "text('가')"},
        {"type": "custom_tool_call", "name": "exec", "input": "text('가')"},
        {"type": "custom_tool_call_output", "output": "RESULT-7"},
    ),
    "shell": (
        TOOLS["shell"][0],
        "shell",
        {"commands": ["ls"]},
        TOOLS["shell"][2],
        {
            "type": "shell_call_output",
            "output": [
                {"stdout": "RESULT-7", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
            ],
        },
    ),
    "local_shell": (
        TOOLS["local_shell"][0],
        "local_shell",
        {"command": ["ls", "-l"]},
        TOOLS["local_shell"][2],
        {"type": "local_shell_call_output", "output": "RESULT-7"},
    ),
    "apply_patch": (
        TOOLS["apply_patch"][0],
        "apply_patch",
        json.loads(TOOLS["apply_patch"][1]),
        TOOLS["apply_patch"][2],
        {"type": "apply_patch_call_output", "status": "completed", "output": "RESULT-7"},
    ),
    "computer": (
        TOOLS["computer"][0],
        "computer",
        json.loads(TOOLS["computer"][1]),
        TOOLS["computer"][2],
        {
            "type": "computer_call_output",
            "output": {"type": "computer_screenshot", "image_url": PIXEL},
        },
    ),
    "tool_search": (
        SEARCH,
        "tool_search",
        {"query": "rain"},
        TOOLS["tool_search"][2],
        {"type": "tool_search_output", "execution": "client", "tools": [WEATHER]},
    ),
}
CELLS = list(itertools.product(KINDS, TARGETS, WAYS))
# A Latin square of them runs in every check.
QUICK = {
    (kind, TARGETS[number % 5], WAYS[number % 3]) for number, kind in enumerate(KINDS)
}  # fmt: skip


def asked(client: Any, way: str, body: JSON) -> Any:
    """The whole answer, as the SDK reads it."""
    if way == "plain":
        return client.responses.create(**body)
    if way == "streamed":
        events = [*client.responses.create(**body, stream=True)]
    else:
        with client.responses.connect() as connection:
            connection.send({"type": "response.create", **body})
            events = []
            for event in connection:
                events.append(event)
                if event.type in ("response.completed", "error"):
                    break
    assert events[-1].type == "response.completed", events[-1]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.type for item in done] == [item.type for item in events[-1].response.output]
    return events[-1].response


# The SDK opens connections in a way that its own library for them has begun to deprecate.
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "upstream", "way"),
    [pytest.param(*c, marks=[] if c in QUICK else pytest.mark.slow) for c in CELLS],
)
def test_an_item_and_its_result(
    *, gateway: Gateway, sim: Simulation, kind: str, upstream: str, way: str
) -> None:
    tool, name, arguments, expected, result = KINDS[kind]
    turns = [Turn("I call it.", calls=[Call(name, arguments)]), Turn("read")]
    model = scripted(sim, upstream, f"cell-{list(KINDS).index(kind)}-{way}", turns)
    body: JSON = {"model": model, "tools": [tool], "store": False}
    given: list[Any] = [{"role": "user", "content": "go"}]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        first = asked(client, way, {**body, "input": given})
        items = [item.to_dict() for item in first.output]
        call = items[-1]
        assert {key: call.get(key) for key in expected} == expected
        assert items[0]["content"][0]["text"] == "I call it."
        given += [*items, {**result, "call_id": call["call_id"]}]
        second = asked(client, way, {**body, "input": given})
    assert second.output_text == "read"
    sent = json.dumps(sim.requests[-1].body, ensure_ascii=False)
    if kind == "computer":
        assert PIXEL.partition(",")[2] in sent
    elif kind == "tool_search":
        assert "get_weather" in sent
    else:
        assert "RESULT-7" in sent
    assert {row["outcome"] for row in paid(gateway, model, 2)} == {"ok"}
