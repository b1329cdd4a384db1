"""MCP servers behind the gateway, as stock clients of both revisions meet them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError

from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.gateway.mcp_support import REVISIONS, TOKEN, mcp_client, stock_table, text_of
from tests.gateway.scripted import Scripted, scripted

THIRD_KEY = "sk-client-for-tests-0003"
_TIME = f'[mcp.time]\ncommand = ["{sys.executable}", "-m", "mcp_server_time"]\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture(scope="module")
def served(place: Path, upstream: Scripted) -> Iterator[Gateway]:
    config = f"""
[server]
mcp_processes = true
[providers.script]
dialect = "openai-chat"
base_url = "{upstream.base_url}/v1"
api_key = "sk-provider-script"
{
        stock_table(
            "stock",
            place / "stock",
            'ask_for = ["remove"]',
            'sampling = "script/small"',
            "sampling_requests = 2",
            "result_bytes_max = 20_000",
        )
    }
{stock_table("old", place / "old", "handshake = true", 'sampling = "script/small"')}
{_TIME}
[[keys]]
key = "{KEY}"
name = "first"
[[keys]]
key = "{OTHER_KEY}"
name = "second"
mcp = ["time_*", "stock_add"]
[[keys]]
key = "{THIRD_KEY}"
name = "third"
requests_per_minute = 3
"""
    gateway = Gateway(place, config).start()
    yield gateway
    status = gateway.stop()
    print(gateway.log)
    assert status == 0, gateway.log
    assert TOKEN not in gateway.log


def rows(place: Path) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(place / "polycall.db")
    try:
        return database.execute(
            "SELECT key, client, asked, provider, model, outcome, cost_usd FROM ledger "
            "WHERE client = 'mcp' ORDER BY created"
        ).fetchall()
    finally:
        database.close()


@pytest.mark.parametrize("mode", REVISIONS)
async def test_tools_of_all_servers(served: Gateway, mode: str) -> None:
    async with mcp_client(served, mode=mode) as client:
        is_newest = client.protocol_version == "2026-07-28"
        assert is_newest == (mode == "auto")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == sorted(tools)
        assert {"stock_add", "time_get_current_time", "stock_picture"} <= set(tools)
        assert tools["stock_add"].description == "Add two numbers (더하기 ➕)."
        assert tools["stock_add"].annotations is not None
        assert tools["stock_add"].annotations.read_only_hint is True
        result = await client.call_tool("stock_add", {"a": 2, "b": 3})
        assert (text_of(result), result.structured_content) == ("5", {"result": 5})
        table = await client.call_tool("stock_rows", {})
        assert table.structured_content == {
            "result": [{"city": "서울", "degrees": 3}, {"city": "도쿄", "degrees": 5}]
        }
        picture = await client.call_tool("stock_picture", {})
        assert isinstance(picture.content[0], types.ImageContent)
        assert picture.content[0].mime_type == "image/png"
        greeting = await client.call_tool("stock_greet", {"name": "김철수 👋"})
        assert text_of(greeting) == "안녕하세요, 김철수 👋 🎉"


@pytest.mark.parametrize("mode", REVISIONS)
async def test_one_server_by_its_path(served: Gateway, mode: str) -> None:
    async with mcp_client(served, "/mcp/time", mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["time_convert_time", "time_get_current_time"]
        result = await client.call_tool("stock_add", {"a": 1, "b": 1})
        assert result.is_error is True


async def test_what_a_key_may_not_call_is_not_there(served: Gateway, place: Path) -> None:
    async with mcp_client(served, key=OTHER_KEY) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["stock_add", "time_convert_time", "time_get_current_time"]
        result = await client.call_tool("stock_remove", {"path": "/x"})
        assert result.is_error is True
        assert text_of(result) == "there is no tool 'stock_remove' for this key"
        assert (await client.list_resources()).resources == []
        assert (await client.list_prompts()).prompts == []
    log = place / "stock" / "log"
    assert not log.exists() or "remove /x" not in log.read_text("utf-8")


async def test_limits_count_calls(served: Gateway) -> None:
    async with mcp_client(served, "/mcp/time", key=THIRD_KEY) as client:
        results = [
            await client.call_tool("time_get_current_time", {"timezone": "Asia/Seoul"})
            for _ in range(4)
        ]
        assert [result.is_error for result in results] == [False, False, False, True]
        assert "may make 3 requests a minute" in text_of(results[3])


async def test_a_wrong_key_and_a_wrong_path(served: Gateway) -> None:
    for path, key, status in (("/mcp", "sk-wrong", 401), ("/mcp/nope", KEY, 404)):
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        answer = served.request("POST", path, ping, key=key)
        assert answer.status == status, answer
        assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("mode", REVISIONS)
async def test_a_person_approves(served: Gateway, place: Path, mode: str) -> None:
    questions: list[str] = []
    says: dict[str, Any] = {"action": "accept", "content": {"approve": True}}

    async def elicited(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        del context
        questions.append(params.message)
        return types.ElicitResult(**says)

    path = f"/approved/{mode} 한글"
    async with mcp_client(served, mode=mode, elicitation_callback=elicited) as client:
        result = await client.call_tool("stock_remove", {"path": path})
        assert text_of(result) == f"removed {path}"
        assert questions == [f'Run stock_remove with {{"path":"{path}"}}?']
        says = {"action": "accept", "content": {"approve": False}}
        assert "said no" in text_of(await client.call_tool("stock_remove", {"path": "/no"}))
        says = {"action": "cancel"}
        assert "did not answer" in text_of(await client.call_tool("stock_remove", {"path": "/no"}))
    async with mcp_client(served, mode=mode) as client:
        result = await client.call_tool("stock_remove", {"path": "/no"})
        assert result.is_error is True
        assert "needs a person's approval" in text_of(result)
    assert "/no" not in (place / "stock" / "log").read_text("utf-8")


async def test_an_approval_is_good_for_one_call(served: Gateway, place: Path) -> None:
    yes: types.InputResponses = {
        "answer": types.ElicitResult(action="accept", content={"approve": True})
    }

    async def never(context: Any, params: Any) -> types.ElicitResult:
        raise AssertionError("the answer is given by hand")

    async with mcp_client(served, elicitation_callback=never) as client:
        call: Any = client.session.call_tool
        asked = await call("stock_remove", {"path": "/once"}, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        state = asked.request_state
        options: dict[str, Any] = {"input_responses": yes, "request_state": state}
        other = await call("stock_remove", {"path": "/other"}, **options)
        assert other.is_error is True
        first = await call("stock_remove", {"path": "/once"}, **options)
        assert first.is_error is False
        again = await call("stock_remove", {"path": "/once"}, **options)
        assert again.is_error is True
    async with mcp_client(served, key=THIRD_KEY, elicitation_callback=never) as client:
        steal: Any = client.session.call_tool
        stolen = await steal("stock_remove", {"path": "/once"}, **options)
        assert stolen.is_error is True
    log = (place / "stock" / "log").read_text("utf-8").splitlines()
    assert log.count("remove /once") == 1
    assert "remove /other" not in log


@pytest.mark.parametrize("server", ["stock", "old"])
@pytest.mark.parametrize("mode", REVISIONS)
async def test_a_server_asks_a_person(served: Gateway, mode: str, server: str) -> None:
    async def elicited(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        del context
        assert params.message == f"{server}: Your name?"
        return types.ElicitResult(action="accept", content={"name": "영희"})

    async with mcp_client(served, mode=mode, elicitation_callback=elicited) as client:
        assert text_of(await client.call_tool(f"{server}_ask_name", {})) == "accept: 영희"
    async with mcp_client(served, mode=mode) as client:
        assert text_of(await client.call_tool(f"{server}_ask_name", {})) == "decline: "


@pytest.mark.parametrize("server", ["stock", "old"])
async def test_a_server_asks_a_model(served: Gateway, upstream: Scripted, server: str) -> None:
    upstream.say("small", _chat("안녕"))
    async with mcp_client(served) as client:
        result = await client.call_tool(f"{server}_ask_model", {})
    assert text_of(result) == "the model said: 안녕"
    body = upstream.bodies[0]
    assert body["messages"] == [{"role": "user", "content": "Say hello."}]
    assert body["max_tokens"] == 50


@pytest.mark.parametrize("mode", REVISIONS)
async def test_resources_prompts_and_completion(served: Gateway, mode: str) -> None:
    async with mcp_client(served, mode=mode) as client:
        listed = (await client.list_resources()).resources
        assert [each.uri for each in listed] == [
            "polycall://old/memo://today",
            "polycall://stock/memo://today",
        ]
        read = await client.read_resource(listed[1].uri)
        assert read.contents[0].uri == listed[1].uri
        assert getattr(read.contents[0], "text", "") == "오늘 할 일, [redacted]"
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == [
            "polycall://old/memo://{day}/items",
            "polycall://stock/memo://{day}/items",
        ]
        prompts = (await client.list_prompts()).prompts
        assert [each.name for each in prompts] == ["old_review", "stock_review"]
        prompt = await client.get_prompt("stock_review", {"code": "x = 1"})
        assert getattr(prompt.messages[0].content, "text", "") == "Review this: x = 1"
        reference = types.ResourceTemplateReference(uri=templates[1].uri_template)
        found = await client.complete(reference, {"name": "day", "value": "tu"})
        assert found.completion.values == ["tuesday"]
    async with mcp_client(served, "/mcp/stock", mode=mode) as client:
        assert [each.uri for each in (await client.list_resources()).resources] == ["memo://today"]
        assert [each.name for each in (await client.list_prompts()).prompts] == ["review"]


@pytest.mark.parametrize("mode", REVISIONS)
async def test_results_are_bounded_and_hold_no_secret(served: Gateway, mode: str) -> None:
    async with mcp_client(served, mode=mode) as client:
        said = await client.call_tool("stock_tell_token", {})
        assert said.structured_content == {
            "token": "[redacted]",
            "tagged": "fine",
            "flag": "🏴\U000e0067\U000e007f",
        }
        assert TOKEN not in said.model_dump_json()
        failed = await client.call_tool("stock_fail", {})
        assert failed.is_error is True
        assert "the token was [redacted]" in text_of(failed)
        huge = await client.call_tool("stock_huge", {"size": 100_000})
        assert len(huge.model_dump_json()) < 45_000
        assert "cut: 100,000 bytes in all" in text_of(huge)


@pytest.mark.parametrize("mode", REVISIONS)
async def test_progress_and_cancellation_reach_the_server(
    served: Gateway, place: Path, mode: str
) -> None:
    log = place / "stock" / "log"
    before = log.read_text("utf-8").count("slow cancelled") if log.exists() else 0
    reports: asyncio.Queue[tuple[float, float | None, str | None]] = asyncio.Queue()

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        await reports.put((progress, total, message))

    async with mcp_client(served, mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("stock_slow", {}, progress_callback=heard))
        assert await asyncio.wait_for(reports.get(), 20) == (0.25, 1.0, "begun")
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        async with asyncio.timeout(20):
            while log.read_text("utf-8").count("slow cancelled") == before:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("server", ["stock", "old"])
@pytest.mark.parametrize("mode", REVISIONS)
async def test_updates_of_resources(served: Gateway, mode: str, server: str) -> None:
    """Of this server's resource alone, and for a key that may read it."""
    uri, other = f"polycall://{server}/memo://today", "polycall://time/memo://today"
    heard: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.append(str(message.params.uri))

    async def touch(client: Client) -> None:
        # The subscription at the server may take a moment.
        async with asyncio.timeout(20):
            while not heard:
                await client.call_tool(f"{server}_touch", {"uri": "memo://today"})
                await asyncio.sleep(0.1)

    async def subscribe(client: Client, at: str, kind: Any = types.SubscribeRequest) -> None:
        params = types.SubscribeRequestParams(uri=at)
        await client.session.send_request(kind(params=params), types.EmptyResult)

    async with mcp_client(served, mode=mode, message_handler=hear) as client:
        if mode == "auto":
            async with client.listen(resource_subscriptions=[uri, other]):
                await touch(client)
        else:
            await subscribe(client, uri)
            await subscribe(client, other)
            await touch(client)
        assert set(heard) == {uri}
    async with mcp_client(served, mode=mode, key=OTHER_KEY) as client:
        with pytest.raises(MCPError, match="for this key"):
            if mode == "auto":
                async with client.listen(resource_subscriptions=[uri]):
                    pass
            else:
                await subscribe(client, uri)


async def test_a_server_that_died_is_started_anew(served: Gateway, place: Path) -> None:
    async with mcp_client(served) as client:
        died = await client.call_tool("stock_die", {})
        assert died.is_error is True
        assert "ended during 'die'; it may have done its work" in text_of(died)
        result = await client.call_tool("stock_add", {"a": 20, "b": 22})
        assert text_of(result) == "42"
    log = (place / "stock" / "log").read_text("utf-8").splitlines()
    assert log.count("die") == 1


@pytest.mark.parametrize("mode", REVISIONS)
async def test_code_mode(served: Gateway, place: Path, mode: str) -> None:
    questions: list[str] = []

    async def elicited(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        del context
        questions.append(params.message)
        return types.ElicitResult(action="accept", content={"approve": True})

    options: dict[str, Any] = {"mode": mode, "elicitation_callback": elicited}
    async with mcp_client(served, "/mcp?mode=code", **options) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["search", "run"]
        found = text_of(
            await client.call_tool("search", {"query": "add two numbers", "namespace": "stock"})
        )
        assert found.startswith("async def stock_add(a: int, b: int) -> int:")
        code = (
            "import asyncio\n"
            "sums = await asyncio.gather(*[stock_add(a=i, b=i) for i in range(3)])\n"
            "table = (await stock_rows())\n"
            "print(sums, table)"
        )
        first = text_of(await client.call_tool("run", {"code": code}))
        assert "[0, 2, 4]" in first
        assert "서울" in first
        session = {} if mode == "legacy" else {"session": first.partition("=")[2][:16]}
        second = await client.call_tool("run", {"code": "len(sums)", **session})
        assert text_of(second) == "3"
        code = f"await stock_remove(path='/code/{mode}')"
        third = await client.call_tool("run", {"code": code, **session})
        assert f"removed /code/{mode}" in text_of(third)
        assert len(questions) == 1
        fourth = await client.call_tool("run", {"code": "len(sums)", **session})
        assert text_of(fourth) == "3"
    async with mcp_client(served, "/mcp?mode=code", key=OTHER_KEY) as client:
        stolen = await client.call_tool("run", {"code": "len(sums)", **session})
        assert stolen.is_error is True
        denied = await client.call_tool("run", {"code": "await stock_remove(path='/x')"})
        assert denied.is_error is True
        assert "not there for this key" in text_of(denied)
    log = (place / "stock" / "log").read_text("utf-8").splitlines()
    assert log.count(f"remove /code/{mode}") == 1


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic", "openai-responses", "gemini"])
def test_model_requests_have_tools(served: Gateway, upstream: Scripted, dialect: str) -> None:
    upstream.say("big", _call("stock_add", {"a": 20, "b": 22}), _chat("it is 42"))
    path, body = _requests()[dialect]
    answer = served.post(path, body, **{"polycall-mcp": "stock, time"})
    assert answer.status == 200, answer
    assert "it is 42" in answer.content.decode()
    assert "stock_add" not in answer.content.decode()
    names = [tool["function"]["name"] for tool in upstream.bodies[0]["tools"]]
    assert names[0] == "stock_add"
    assert "time_get_current_time" in names
    result = upstream.bodies[1]["messages"][-1]
    assert (result["role"], result["content"]) == ("tool", "42")


def test_calls_of_the_clients_own_tools_go_to_the_client(
    served: Gateway, upstream: Scripted
) -> None:
    both = _call("stock_add", {"a": 1, "b": 1}, "mine", {"x": 1})
    upstream.say("big", both, _chat("done"))
    mine = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    body: dict[str, Any] = {
        "model": "script/big",
        "messages": [{"role": "user", "content": "both"}],
        "tools": [mine],
    }
    headers = {"polycall-mcp": "stock"}
    answer = served.post("/v1/chat/completions", body, **headers).json()
    message = answer["choices"][0]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["mine"]
    reply = {
        "role": "tool",
        "tool_call_id": message["tool_calls"][0]["id"],
        "content": "seen",
    }
    body["messages"] = [*body["messages"], message, reply]
    answer = served.post("/v1/chat/completions", body, **headers).json()
    assert answer["choices"][0]["message"]["content"] == "done"
    sent = upstream.bodies[-1]["messages"]
    results = {each["tool_call_id"]: each["content"] for each in sent if each["role"] == "tool"}
    assert sorted(results.values()) == ["2", "seen"]


def test_a_server_that_is_not_there(served: Gateway) -> None:
    body = {"model": "script/big", "messages": [{"role": "user", "content": "hi"}]}
    answer = served.post("/v1/chat/completions", body, **{"polycall-mcp": "nope"})
    assert answer.status == 400
    assert "there is no MCP server 'nope'" in answer.json()["error"]["message"]


def test_every_call_has_a_row(served: Gateway, place: Path) -> None:
    del served
    found = rows(place)
    assert ("first", "mcp", "stock_add", "mcp:stock", "add", "ok", "0") in found
    assert ("first", "mcp", "stock_slow", "mcp:stock", "slow", "cancelled", "0") in found
    assert ("first", "mcp", "stock_die", "mcp:stock", "die", "error", "0") in found


def _chat(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
    }


def _call(*calls: Any) -> dict[str, Any]:
    answer = _chat("")
    made = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for number, (name, arguments) in enumerate(zip(calls[::2], calls[1::2], strict=True))
    ]
    answer["choices"][0]["message"] |= {"content": None, "tool_calls": made}
    answer["choices"][0]["finish_reason"] = "tool_calls"
    return answer


def _requests() -> dict[str, tuple[str, dict[str, Any]]]:
    said = "how much is 20 + 22?"
    messages = [{"role": "user", "content": said}]
    return {
        "openai-chat": (
            "/v1/chat/completions",
            {"model": "script/big", "messages": messages},
        ),
        "anthropic": (
            "/v1/messages",
            {"model": "script/big", "max_tokens": 100, "messages": messages},
        ),
        "openai-responses": ("/v1/responses", {"model": "script/big", "input": said}),
        "gemini": (
            "/v1beta/models/script/big:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": said}]}]},
        ),
    }
