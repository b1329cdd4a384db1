"""The formats for browsers, read by the official JavaScript clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from polycall import Agent, ToolContext, tool
from polycall.agents import PausedRun
from polycall.ir import Message, Reasoning, Text, ToolCall
from polycall.testing import ScriptedModel
from polycall.web import SSE_HEADERS, VERCEL_HEADERS, ag_ui, decide, read_ag_ui, read_vercel, vercel

from .conftest import play


class Shop:
    """One conversation: a call, a background task, a thought, and perhaps an approval."""

    def __init__(self, *, asks: bool) -> None:
        calls = [ToolCall("a", "look", '{"what": "tea"}')]
        calls += [ToolCall("b", "pay", '{"amount": 3}')] if asks else [ToolCall("b", "ship")]
        self.model = ScriptedModel(
            [
                Message("assistant", [Reasoning("hm"), Text("Let me look."), *calls]),
                *([] if asks else ["It is on its way."]),
                Message("assistant", [Text("All "), Text("done.")]),
            ]
        )
        self.agent = Agent("test/m", name="shop", tools=[look, pay, ship], client=self.model)
        self.paused: dict[str, PausedRun] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """A server: `/ag-ui` and `/vercel`."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        data = json.loads(body)
        is_ag_ui = scope["path"] == "/ag-ui"
        chunks = self.ag_ui(data) if is_ag_ui else self.vercel(data)
        headers = SSE_HEADERS if is_ag_ui else VERCEL_HEADERS
        listed = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": listed})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def stream(self, key: str, prompt: Message, verdicts: Any) -> Any:
        paused = self.paused.pop(key, None) if verdicts else None
        if paused is None:
            return self.agent.stream([prompt], approve="pause")
        decide(paused, verdicts)
        return self.agent.resume_stream(paused)

    async def ag_ui(self, data: Any) -> AsyncIterator[bytes]:
        request = read_ag_ui(data)
        stream = self.stream(request.thread_id, request.prompt, request.verdicts)
        async for chunk in ag_ui(stream, request):
            yield chunk
        self.keep(request.thread_id, stream)

    async def vercel(self, data: Any) -> AsyncIterator[bytes]:
        request = read_vercel(data)
        stream = self.stream(request.chat_id, request.prompt, request.verdicts)
        chunks = vercel(stream, run_id=request.chat_id, message_id=request.message_id)
        async for chunk in chunks:
            yield chunk
        self.keep(request.chat_id, stream)

    def keep(self, key: str, stream: Any) -> None:
        if stream.run.paused is not None:
            self.paused[key] = stream.run.paused


@tool
async def look(what: str) -> str:
    """Look for something."""
    return f"{what} is there"


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@tool(background=True)
async def ship(context: ToolContext[Any]) -> str:
    """Ship it."""
    await context.report(0.5, "half")
    await asyncio.sleep(0.05)
    return "arrived"


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Shop], Any]]:
    servers: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def begin(shop: Shop) -> str:
        config = uvicorn.Config(shop, host="127.0.0.1", port=0, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        servers.append((server, task))
        while not server.started:
            await asyncio.sleep(0.01)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield begin
    for server, task in servers:
        server.should_exit = True
        await task


async def test_n16_ag_uis_client_reads_text_thoughts_calls_and_tasks(
    node: Path, serve: Any
) -> None:
    told = await play(node, "ag-ui", f"{await serve(Shop(asks=False))}/ag-ui")
    types = told["types"]
    assert (types[0], types[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    assert {"REASONING_MESSAGE_CONTENT", "TOOL_CALL_RESULT", "ACTIVITY_SNAPSHOT"} <= set(types)
    messages = told["messages"]
    assert next(each["content"] for each in messages if each["role"] == "tool") == "tea is there"
    texts = [each.get("content") for each in messages if each["role"] == "assistant"]
    assert [text for text in texts if text][-2:] == ["All ", "done."]
    activity = next(each for each in messages if each["role"] == "activity")
    assert activity["content"]["state"] == "finished"


@pytest.mark.parametrize("approve", [True, False])
async def test_n16_ag_uis_client_answers_an_approval_by_an_interrupt(
    node: Path, serve: Any, approve: bool
) -> None:
    shop = Shop(asks=True)
    told = await play(node, "ag-ui", f"{await serve(shop)}/ag-ui", approve=approve)
    assert [each["metadata"]["tool"] for each in told["interrupts"]] == ["pay"]
    results = [each["content"] for each in told["messages"] if each["role"] == "tool"]
    assert ("paid 3" in results) is approve
    assert told["types"].count("RUN_FINISHED") == 2


async def test_n16_the_ai_sdk_reads_text_thoughts_calls_and_tasks(node: Path, serve: Any) -> None:
    told = await play(node, "vercel", f"{await serve(Shop(asks=False))}/vercel")
    assert told["errors"] == []
    parts = told["answer"]["parts"]
    kinds = [part["type"] for part in parts]
    assert kinds.count("step-start") == 3
    assert {"reasoning", "text", "dynamic-tool", "data-task"} <= set(kinds)
    looked = next(part for part in parts if part.get("toolName") == "look")
    assert (looked["state"], looked["input"]) == ("output-available", {"what": "tea"})
    assert looked["output"] == "tea is there"
    task = next(part for part in parts if part["type"] == "data-task")
    assert task["data"]["state"] == "finished"


@pytest.mark.parametrize("approve", [True, False])
async def test_n16_the_ai_sdk_answers_an_approval(node: Path, serve: Any, approve: bool) -> None:
    told = await play(node, "vercel", f"{await serve(Shop(asks=True))}/vercel", approve=approve)
    assert (told["asked"], told["errors"]) == (1, [])
    parts = told["answer"]["parts"]
    paid = [part for part in parts if part.get("toolName") == "pay"]
    assert len(paid) == 1
    assert (paid[0].get("output") == "paid 3") is approve
    assert paid[0]["state"] == ("output-available" if approve else "output-error")
    assert "".join(part["text"] for part in parts if part["type"] == "text").endswith("All done.")
