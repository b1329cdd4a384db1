"""Two replicas on one store: a task begun at one is seen, answered, cancelled and awaited at the
other, and the call itself is made once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mcp_types as types
import pytest
from mcp import Client

from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.gateway.mcp_support import mcp_client, stock_table
from tests.gateway.test_mcp_tasks import Seen, ask, begin, stream_of, until, warm

pytestmark = pytest.mark.slow


class Replicas(NamedTuple):
    """Both, and what ran at either."""

    one: Gateway
    two: Gateway
    places: list[Path]

    def ran(self) -> list[str]:
        logs = [place / "stock" / "log" for place in self.places]
        return [line for log in logs if log.exists() for line in log.read_text().splitlines()]


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, postgres_server: Any) -> Iterator[Replicas]:
    places = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    url = postgres_server.database()
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n[[keys]]\nkey = "{OTHER_KEY}"\nname = "b"\n'
    started = [
        Gateway(
            place,
            f'[store]\nurl = "{url}"\n[server]\nmcp_processes = true\n'
            + stock_table("stock", place / "stock", 'ask_for = ["remove"]', "task_after_s = 0.2")
            + keys,
        ).start()
        for place in places
    ]
    for gateway in started:
        asyncio.run(warm(gateway))
    yield Replicas(started[0], started[1], places)
    for gateway in started:
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log


def options(mode: str, answer: types.ElicitResult | None = None) -> dict[str, Any]:
    async def elicited(context: Any, params: Any) -> types.ElicitResult:
        del context, params
        return answer or types.ElicitResult(action="decline")

    return {"mode": mode, "elicitation_callback": elicited, "extensions": [Seen().extension]}


async def begun(client: Client, mode: str, name: str, arguments: dict[str, Any]) -> str:
    if mode == "legacy":
        return await begin(client, name, arguments)
    handle = await client.session.call_tool(name, arguments, allow_claimed=True)
    return handle.model_dump(by_alias=True)["taskId"]


async def outcome(client: Client, mode: str, name: str) -> dict[str, Any]:
    if mode == "legacy":
        return await ask(client, "tasks/result", taskId=name)
    return (await until(client, name, "completed"))["result"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_task_is_seen_and_awaited_at_the_other_replica(
    replicas: Replicas, mode: str
) -> None:
    seconds = 2.25 if mode == "auto" else 2.5
    async with (
        mcp_client(replicas.one, **options(mode)) as here,
        mcp_client(replicas.two, **options(mode)) as there,
    ):
        name = await begun(here, mode, "stock_nap", {"seconds": seconds})
        task = await ask(there, "tasks/get", taskId=name)
        assert task["status"] == "working"
        for client in (there, here):
            assert (await outcome(client, mode, name))["content"][0]["text"] == "slept"
        if mode == "legacy":
            listed = (await ask(there, "tasks/list"))["tasks"]
            assert name in [each["taskId"] for each in listed]
    assert replicas.ran().count(f"nap {seconds}") == 1


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_task_is_cancelled_at_the_other_replica(replicas: Replicas, mode: str) -> None:
    before = replicas.ran().count("nap cancelled")
    async with (
        mcp_client(replicas.one, **options(mode)) as here,
        mcp_client(replicas.two, **options(mode)) as there,
    ):
        name = await begun(here, mode, "stock_nap", {"seconds": 60})
        await ask(there, "tasks/cancel", taskId=name)
        for client in (there, here):
            assert (await until(client, name, "cancelled"))["status"] == "cancelled"
        async with asyncio.timeout(20):
            while replicas.ran().count("nap cancelled") == before:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_tasks_question_is_answered_at_the_other_replica(
    replicas: Replicas, mode: str
) -> None:
    path = f"/at-the-other/{mode}"
    yes = types.ElicitResult(action="accept", content={"approve": True})
    async with (
        mcp_client(replicas.one, **options("legacy")) as here,
        mcp_client(replicas.two, **options(mode, yes)) as there,
    ):
        name = await begin(here, "stock_remove", {"path": path})
        asked = await until(there, name, "input_required")
        if mode == "auto":
            (question,) = asked["inputRequests"]
            given = {question: {"action": "accept", "content": {"approve": True}}}
            await ask(there, "tasks/update", taskId=name, inputResponses=given)
        result = await outcome(there, mode, name)
    assert result["content"][0]["text"] == f"removed {path}"
    assert replicas.ran().count(f"remove {path}") == 1


async def test_a_stream_at_the_other_replica_tells_of_a_task(replicas: Replicas) -> None:
    async with mcp_client(replicas.one, **options("legacy")) as here:
        name = await begin(here, "stock_nap", {"seconds": 1.75})
        statuses: list[str] = []
        async with asyncio.timeout(30):
            async for message in stream_of(replicas.two, [name]):
                statuses.append(message["params"].get("status", "acknowledged"))
                if statuses[-1] == "completed":
                    break
    assert statuses[:2] == ["acknowledged", "working"]
    async for message in stream_of(replicas.two, [name], key=OTHER_KEY):
        assert "taskIds" not in message["params"]["notifications"]
        break


async def test_a_replica_that_is_killed_leaves_its_tasks_to_the_other(replicas: Replicas) -> None:
    async with mcp_client(replicas.two, **options("legacy")) as there:
        async with mcp_client(replicas.one, **options("legacy")) as here:
            name = await begin(here, "stock_nap", {"seconds": 61})
            await until(there, name, "working")
            replicas.one.kill()
        try:
            result = await asyncio.wait_for(ask(there, "tasks/result", taskId=name), 40)
        finally:
            replicas.one.start()
    assert result["isError"] is True
    assert "not made again" in result["content"][0]["text"]
    assert replicas.ran().count("nap 61.0") == 1
