"""A17: what a provider writes beside its words ends no answer, however odd it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from polycall.errors import ProtocolError
from polycall.gateway.programs.records import Record, Records
from polycall.gateway.store import open_store
from polycall.ir import Message, Text
from tests.edge.test_doors import ask, serving
from tests.origins import Handler
from tests.origins import serving as provider

RESPONSES: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "m",
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "thought"}],
            "encrypted_content": "e",
        },
        {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
}
GEMINI: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "thought", "thought": True, "thoughtSignature": "eA=="},
                    {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "eA=="},
                ],
            },
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
}
ANSWERS: dict[str, Any] = {"r": RESPONSES, "g": GEMINI}
PARTS = ("candidates", 0, "content", "parts")
# Where something stands that is carried for the client.
PLACES: list[tuple[str, tuple[Any, ...]]] = [
    ("r", ("output", 0, "id")),
    ("r", ("output", 0, "encrypted_content")),
    ("r", ("output", 0, "summary", 0, "type")),
    ("r", ("output", 0, "summary", 0, "text")),
    ("r", ("output", 0, "summary", 0, "more")),
    ("r", ("output", 1, "id")),
    ("r", ("output", 1, "call_id")),
    ("g", (*PARTS, 0, "text")),
    ("g", (*PARTS, 0, "thoughtSignature")),
    ("g", (*PARTS, 1, "thoughtSignature")),
    ("g", (*PARTS, 1, "functionCall", "id")),
]
ODD: list[Any] = [2**70, -(2**70), "\ud83d", "a\udc80b", ["\ud83d", 10**300], {"\ud83d": 2**64}]
FUNCTION: dict[str, Any] = {"name": "f", "parameters": {"type": "object", "properties": {}}}
SAID: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
CLIENTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**SAID, "tools": [{"type": "function", "function": FUNCTION}]},
    "/v1/messages": {**SAID, "tools": [{"name": "f", "input_schema": FUNCTION["parameters"]}]},
    "/v1/responses": {"input": "hi", "tools": [{"type": "function", **FUNCTION}]},
}


class Vendor(Handler):
    answers: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.read()
        self.answer(self.answers[-1])


@pytest.mark.parametrize("path", CLIENTS)
@pytest.mark.parametrize("number", range(len(PLACES)))
async def test_a17_state_that_nobody_else_takes_ends_no_answer(
    tmp_path: Path, number: int, path: str
) -> None:
    name, place = PLACES[number]
    with provider(Vendor) as url:
        config = (
            "[server]\nattempts = 1\n"
            f'[providers.r]\ndialect="openai-responses"\nbase_url="{url}/v1"\napi_key="sk-rrrrrrrr"\n'
            f'[providers.g]\ndialect="gemini"\nbase_url="{url}"\napi_key="sk-gggggggg"\n'
        )
        async with serving(tmp_path, config) as served:
            for odd in ODD:
                holder = answer = copy.deepcopy(ANSWERS[name])
                for step in place[:-1]:
                    holder = holder[step]
                holder[place[-1]] = odd
                Vendor.answers.append(answer)
                status, said = await ask(
                    served, "POST", path, {"model": f"{name}/m", **CLIENTS[path]}
                )
                assert status in (200, 502), said
                assert "its log has the reason" not in json.dumps(said)


@pytest.mark.parametrize("odd", [{"n": 2**70}, {"t": "\ud83d"}], ids=["a number", "half a letter"])
async def test_a17_a_program_whose_model_wrote_odd_things_fails_by_name(
    tmp_path: Path, odd: Any
) -> None:
    store = open_store("sqlite:///s.db", tmp_path)
    records = Records(store, 60.0)
    said = [Message("assistant", [Text("x", metadata={"gemini": odd})])]
    with pytest.raises(ProtocolError, match="cannot be kept for its program"):
        await records.save("alice", "r", Record(said))
    await store.close()
