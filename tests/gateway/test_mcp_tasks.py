"""Calls as tasks of the protocol, in both of its forms, at the gateway and behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.session import ClientSession
from pydantic import ConfigDict

from polycall.mcp.tasks import TaskExtension, begin_task
from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.gateway.mcp_support import TOKEN, mcp_client, stock_table, text_of


class Answer(types.Result):
    """Any answer, as it came."""

    model_config = ConfigDict(extra="allow")


class Request(types.Request[Any, str]):
    """Any request for a task, with the name in its header."""

    method: str
    params: dict[str, Any]
    name_param = "taskId"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


def config(place: Path, *more: str) -> str:
    options = ("task_after_s = 0.1", 'ask_for = ["remove"]', "result_bytes_max = 20_000")
    return f"""
[server]
mcp_processes = true
{stock_table("stock", place / "stock", *options)}
{stock_table("old", place / "old", "task_after_s = 0.1", "handshake = true")}
{"".join(more)}
[[keys]]
key = "{KEY}"
name = "first"
[[keys]]
key = "{OTHER_KEY}"
name = "second"
"""


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Gateway]:
    gateway = Gateway(place, config(place)).start()
    asyncio.run(warm(gateway))
    yield gateway
    status = gateway.stop()
    assert status == 0, gateway.log
    assert TOKEN not in gateway.log


async def warm(gateway: Gateway) -> None:
    """The first request loads the protocol's library, for which a probe may not wait."""
    async with mcp_client(gateway, mode="legacy") as client:
        await client.list_tools()


async def ask(client: Client, method: str, **params: Any) -> dict[str, Any]:
    kind = Request if "taskId" in params else types.Request[Any, str]
    answer = await client.session.send_request(kind(method=method, params=params), Answer)
    return answer.model_dump(by_alias=True, exclude_none=True)


async def begin(client: Client, name: str, arguments: dict[str, Any], ttl_ms: int = 60_000) -> str:
    """A task of 2025-11-25."""
    return (await begin_task(client.session, name, arguments, ttl_ms)).task_id


async def until(client: Client, name: str, *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            task = await ask(client, "tasks/get", taskId=name)
            if task["status"] in statuses:
                return task
            await asyncio.sleep(0.05)


class Seen:
    """A client that takes tasks, and keeps what it was told of them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.extension = TaskExtension(self.hear)

    async def hear(self, message: str) -> None:
        self.said.append(message)


async def test_a_long_call_becomes_a_task_where_the_client_takes_them(served: Gateway) -> None:
    seen = Seen()
    async with mcp_client(served, extensions=[seen.extension]) as client:
        capabilities = client.server_capabilities
        assert capabilities is not None
        assert "io.modelcontextprotocol/tasks" in (capabilities.extensions or {})
        session: ClientSession = client.session
        short = await session.call_tool("stock_add", {"a": 1, "b": 2}, allow_claimed=True)
        assert isinstance(short, types.CallToolResult)
        handle = await session.call_tool("stock_nap", {"seconds": 0.6}, allow_claimed=True)
        shown = handle.model_dump(by_alias=True)
        task = await ask(client, "tasks/get", taskId=shown["taskId"])
        assert (task["status"], task["ttlMs"]) == ("working", 3_600_000)
        done = await until(client, shown["taskId"], "completed")
        assert done["result"]["content"] == [{"type": "text", "text": "slept"}]
        assert done["resultType"] == "complete"
        assert text_of(await client.call_tool("stock_nap", {"seconds": 0.3})) == "slept"
    assert any("asleep" in each for each in seen.said)
    assert not any(TOKEN in each for each in seen.said)


async def test_a_client_that_takes_none_waits(served: Gateway) -> None:
    async with mcp_client(served) as client:
        assert text_of(await client.call_tool("stock_nap", {"seconds": 0.3})) == "slept"
        with pytest.raises(MCPError) as refused:
            await ask(client, "tasks/get", taskId="0" * 32)
        assert refused.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
        for method in ("tasks/list", "tasks/result"):
            with pytest.raises(MCPError) as refused:
                await ask(client, method, taskId="0" * 32)
            assert refused.value.code == types.METHOD_NOT_FOUND


async def test_a_call_that_asks_for_a_task_gets_one(served: Gateway) -> None:
    async with mcp_client(served, mode="legacy") as client:
        capabilities = client.server_capabilities
        assert capabilities is not None
        assert capabilities.tasks is not None
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        execution = tools["stock_nap"].execution
        assert execution is not None
        assert execution.task_support == "optional"
        name = await begin(client, "stock_nap", {"seconds": 0.2})
        assert (await ask(client, "tasks/get", taskId=name))["ttl"] == 60_000
        result = await ask(client, "tasks/result", taskId=name)
        assert result["content"] == [{"type": "text", "text": "slept"}]
        assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": name}
        listed = await ask(client, "tasks/list")
        assert (name, "completed") in [(each["taskId"], each["status"]) for each in listed["tasks"]]
        failed = await begin(client, "stock_fail", {})
        result = await ask(client, "tasks/result", taskId=failed)
        assert result["isError"] is True
        assert TOKEN not in str(result)
        with pytest.raises(MCPError, match="there is no tool"):
            await begin(client, "stock_nothing", {})


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_task_is_its_keys_own(served: Gateway, mode: str) -> None:
    extensions = [Seen().extension]
    async with mcp_client(served, mode="legacy") as client:
        name = await begin(client, "stock_add", {"a": 1, "b": 1})
        await until(client, name, "completed")
    async with mcp_client(served, mode=mode, key=OTHER_KEY, extensions=extensions) as client:
        for method in ("tasks/get", "tasks/cancel"):
            with pytest.raises(MCPError, match="there is no task"):
                await ask(client, method, taskId=name)
        if mode == "legacy":
            assert (await ask(client, "tasks/list"))["tasks"] == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_cancelled_task_ends_the_call(served: Gateway, place: Path, mode: str) -> None:
    log = place / "stock" / "log"
    before = log.read_text("utf-8").count("nap cancelled") if log.exists() else 0
    async with mcp_client(served, mode=mode, extensions=[Seen().extension]) as client:
        if mode == "legacy":
            name = await begin(client, "stock_nap", {"seconds": 30})
            cancelled = await ask(client, "tasks/cancel", taskId=name)
            assert cancelled["status"] == "cancelled"
            with pytest.raises(MCPError, match="cancelled already"):
                await ask(client, "tasks/cancel", taskId=name)
        else:
            session: ClientSession = client.session
            handle = await session.call_tool("stock_nap", {"seconds": 30}, allow_claimed=True)
            name = handle.model_dump(by_alias=True)["taskId"]
            await ask(client, "tasks/cancel", taskId=name)
            assert (await until(client, name, "cancelled"))["status"] == "cancelled"
        async with asyncio.timeout(20):
            while log.read_text("utf-8").count("nap cancelled") == before:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(("mode", "tool"), [("auto", "old_nap_then_ask"), ("legacy", "remove")])
async def test_a_task_asks_a_person(served: Gateway, mode: str, tool: str) -> None:
    asked: list[str] = []

    async def elicited(context: Any, params: Any) -> types.ElicitResult:
        del context
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "영희", "approve": True})

    options: dict[str, Any] = {
        "elicitation_callback": elicited,
        "extensions": [Seen().extension],
    }
    async with mcp_client(served, mode=mode, **options) as client:
        if mode == "auto":
            assert text_of(await client.call_tool(tool, {})) == "accept: 영희"
        else:
            for name, arguments in (("stock_remove", {"path": "/x"}), ("old_nap_then_ask", {})):
                task = await begin(client, name, arguments)
                await until(client, task, "input_required")
                result = await ask(client, "tasks/result", taskId=task)
                assert result["content"][0]["text"] in ("removed /x", "accept: 영희")
    assert len(asked) == (1 if mode == "auto" else 2)


async def test_too_many_tasks_of_a_key(served: Gateway) -> None:
    async with mcp_client(served, mode="legacy", key=OTHER_KEY) as client:
        names = [await begin(client, "stock_nap", {"seconds": 30}) for _ in range(32)]
        with pytest.raises(MCPError, match="32 tasks of this key"):
            await begin(client, "stock_nap", {"seconds": 30})
        await asyncio.gather(*(ask(client, "tasks/cancel", taskId=name) for name in names))
        async with asyncio.timeout(20):
            while True:
                try:
                    await begin(client, "stock_add", {"a": 1, "b": 1})
                except MCPError:
                    await asyncio.sleep(0.05)
                else:
                    break


async def test_a_program_as_a_task(served: Gateway) -> None:
    async with mcp_client(served, "/mcp?mode=code", mode="legacy") as client:
        code = "await stock_nap(seconds=0.4)\nawait stock_add(a=20, b=22)"
        name = await begin(client, "run", {"code": code})
        result = await ask(client, "tasks/result", taskId=name)
        assert "42" in result["content"][0]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_task_of_a_killed_gateway_is_told_and_not_made_again(
    tmp_path: Path, mode: str
) -> None:
    gateway = Gateway(tmp_path, config(tmp_path)).start()
    extensions = [Seen().extension]
    await warm(gateway)
    async with mcp_client(gateway, mode=mode, extensions=extensions) as client:
        done = await client.call_tool("stock_nap", {"seconds": 0.1})
        assert text_of(done) == "slept"
        if mode == "legacy":
            kept = await begin(client, "stock_nap", {"seconds": 0.1})
            lost = await begin(client, "stock_nap", {"seconds": 30})
            await until(client, kept, "completed")
        else:
            session: ClientSession = client.session
            handle = await session.call_tool("stock_nap", {"seconds": 0.9}, allow_claimed=True)
            kept = handle.model_dump(by_alias=True)["taskId"]
            handle = await session.call_tool("stock_nap", {"seconds": 30}, allow_claimed=True)
            lost = handle.model_dump(by_alias=True)["taskId"]
            await until(client, kept, "completed")
        gateway.kill()
    gateway.start()
    await warm(gateway)
    try:
        async with mcp_client(gateway, mode=mode, extensions=extensions) as client:
            await until(client, lost, "completed")
            answers: list[Any] = []
            for name in (kept, lost):
                if mode == "legacy":
                    answers.append(await ask(client, "tasks/result", taskId=name))
                else:
                    answers.append((await ask(client, "tasks/get", taskId=name))["result"])
        assert answers[0]["content"][0]["text"] == "slept"
        assert answers[1]["isError"] is True
        assert "may have done its work" in answers[1]["content"][0]["text"]
        rows = [row for row in gateway.ledger(4) if row["asked"] == "stock_nap"]
        assert sum(row["error"] == "the process that made the call ended" for row in rows) == 1
    finally:
        gateway.stop()
    log = (tmp_path / "stock" / "log").read_text("utf-8").splitlines()
    assert log.count("nap 30.0") == 1


async def stream_of(
    gateway: Gateway, names: Any, *, key: str = KEY, declares: bool = True
) -> AsyncGenerator[dict[str, Any]]:
    """What comes on a `subscriptions/listen` stream: the stock client knows no tasks there."""
    extensions: dict[str, Any] = {"io.modelcontextprotocol/tasks": {}} if declares else {}
    capabilities = {"extensions": extensions}
    meta: dict[str, Any] = {
        types.PROTOCOL_VERSION_META_KEY: "2026-07-28",
        types.CLIENT_CAPABILITIES_META_KEY: capabilities,
    }
    body: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": "listen-1",
        "method": "subscriptions/listen",
        "params": {"notifications": {"taskIds": names}, "_meta": meta},
    }
    headers = {
        "authorization": f"Bearer {key}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "subscriptions/listen",
    }
    async with (
        httpx2.AsyncClient(timeout=30) as http,
        http.stream("POST", f"{gateway.url}/mcp", json=body, headers=headers) as answer,
    ):
        if not answer.headers["content-type"].startswith("text/event-stream"):
            yield json.loads(await answer.aread())
            return
        async for line in answer.aiter_lines():
            if line.startswith("data:") and line[5:].strip():
                yield json.loads(line[5:])


@pytest.mark.slow
async def test_a_stream_tells_of_tasks_until_they_end(served: Gateway) -> None:
    said: list[dict[str, Any]] = []

    async def elicited(context: Any, params: Any) -> types.ElicitResult:
        del context, params
        return types.ElicitResult(action="decline")

    async with mcp_client(served, mode="legacy", elicitation_callback=elicited) as client:
        done = await begin(client, "stock_add", {"a": 1, "b": 1})
        await until(client, done, "completed")
        long = await begin(client, "stock_nap", {"seconds": 0.8})
        asking = await begin(client, "stock_remove", {"path": "/x"})
        async with asyncio.timeout(20):
            async for message in stream_of(served, [done, long, asking, "0" * 32]):
                said.append(message)
                told = {(e["params"].get("taskId"), e["params"].get("status")) for e in said}
                if {(long, "completed"), (done, "completed"), (asking, "input_required")} <= told:
                    break
        await ask(client, "tasks/cancel", taskId=asking)
    first, *rest = said
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"]["notifications"]["taskIds"] == [done, long, asking]
    assert {each["method"] for each in rest} == {"notifications/tasks"}
    subscription = "io.modelcontextprotocol/subscriptionId"
    assert {each["params"]["_meta"][subscription] for each in said} == {"listen-1"}
    seen = [(each["params"]["taskId"], each["params"]["status"]) for each in rest]
    assert [status for name, status in seen if name == done] == ["completed"]
    assert [status for name, status in seen if name == long][-1] == "completed"
    assert (asking, "input_required") in seen
    results = {e["params"]["taskId"]: e["params"] for e in rest if "result" in e["params"]}
    assert results[long]["result"]["content"][0]["text"] == "slept"
    questions = [each["params"] for each in rest if each["params"]["status"] == "input_required"]
    assert "Run stock_remove" in str(questions[0]["inputRequests"])


@pytest.mark.parametrize(
    ("names", "more", "code"),
    [
        (["0" * 32], {"declares": False}, types.MISSING_REQUIRED_CLIENT_CAPABILITY),
        ("all", {}, types.INVALID_PARAMS),
        ([str(number) for number in range(101)], {}, types.INVALID_PARAMS),
    ],
)
async def test_a_stream_of_tasks_that_cannot_be_had(
    served: Gateway, names: Any, more: dict[str, Any], code: int
) -> None:
    (answer,) = [message async for message in stream_of(served, names, **more)]
    assert answer["error"]["code"] == code


async def test_a_stream_tells_no_other_key_of_a_task(served: Gateway) -> None:
    async with mcp_client(served, mode="legacy") as client:
        mine = await begin(client, "stock_add", {"a": 1, "b": 1})
    async for message in stream_of(served, [mine], key=OTHER_KEY):
        assert "taskIds" not in message["params"]["notifications"]
        break
