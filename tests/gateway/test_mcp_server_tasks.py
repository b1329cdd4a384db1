"""A server's own task outlives the gateway's process: another one waits for it, and no call is
made twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.gateway.mcp_support import mcp_client, text_of
from tests.gateway.test_mcp_replicas import begun, outcome
from tests.gateway.test_mcp_tasks import Seen, ask, until, warm

HERE = Path(__file__).parent
WAYS = [("auto", ""), ("legacy", ""), ("auto", "handshake"), ("legacy", "handshake")]


class Far:
    """The server, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(HERE / "mcp_task_server.py"), str(self.port)]
        self.process = subprocess.Popen([*command, str(self.folder)])
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as there:
                if there.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not listen")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def says(self, name: str, words: str = "") -> None:
        (self.folder / name).write_text(words)

    @property
    def log(self) -> list[str]:
        file = self.folder / "log"
        return file.read_text().splitlines() if file.exists() else []

    async def logged(self, what: str) -> None:
        async with asyncio.timeout(40):
            while not any(line.startswith(what) for line in self.log):
                await asyncio.sleep(0.05)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    (tmp_path / "far").mkdir()
    server = Far(tmp_path / "far")
    yield server
    server.kill()


def config(far: Far, *more: str, store: str = "") -> str:
    words = "\n".join(more)
    return f"""
[mcp.far]
url = "http://127.0.0.1:{far.port}/mcp"
task_after_s = 0.3
{"handshake = true" if "handshake" in more else words}
{f'[store]{chr(10)}url = "{store}"' if store else ""}
[[keys]]
key = "{KEY}"
name = "first"
[[keys]]
key = "{OTHER_KEY}"
name = "b"
"""


def options(mode: str) -> dict[str, Any]:
    return {"mode": mode, "extensions": [Seen().extension]}


async def is_kept(gateway: Gateway, client: Client, name: str) -> None:
    """Wait until the gateway has heard of the server's task, and so written it down."""
    del gateway
    async with asyncio.timeout(20):
        while (await ask(client, "tasks/get", taskId=name)).get("statusMessage") != "building":
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "form"), WAYS)
async def test_a_servers_task_is_waited_for_after_the_gateway_was_killed(
    far: Far, tmp_path: Path, mode: str, form: str
) -> None:
    gateway = Gateway(tmp_path, config(far, form)).start()
    await warm(gateway)
    async with mcp_client(gateway, **options(mode)) as client:
        name = await begun(client, mode, "far_build", {"what": "house"})
        await is_kept(gateway, client, name)
        gateway.kill()
    gateway.start()
    try:
        await warm(gateway)
        async with mcp_client(gateway, key=OTHER_KEY, **options("legacy")) as other:
            assert (await ask(other, "tasks/list"))["tasks"] == []
        async with mcp_client(gateway, **options(mode)) as client:
            assert (await ask(client, "tasks/get", taskId=name))["status"] == "working"
            far.says("done", "a house")
            for _ in range(2):
                result = await outcome(client, mode, name)
                assert result["content"] == [{"type": "text", "text": "a house"}]
        rows = [row for row in gateway.ledger(1) if row["asked"] == "far_build"]
        assert [(row["outcome"], row["error"]) for row in rows] == [("ok", "")]
    finally:
        gateway.stop()
    assert far.log.count("build house") == 1
    assert sum(line.startswith("result ") for line in far.log) == 1
    assert "cancelled" not in far.log


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 8.5], ids=["at once", "when that is known"])
@pytest.mark.parametrize("form", ["", "handshake"])
async def test_a_servers_task_is_cancelled_after_the_gateway_was_killed(
    far: Far, tmp_path: Path, form: str, after_s: float
) -> None:
    gateway = Gateway(tmp_path, config(far, form)).start()
    await warm(gateway)
    async with mcp_client(gateway, **options("legacy")) as client:
        name = await begun(client, "legacy", "far_build", {"what": "house"})
        await is_kept(gateway, client, name)
        gateway.kill()
    gateway.start()
    try:
        await warm(gateway)
        async with mcp_client(gateway, **options("legacy")) as client:
            await asyncio.sleep(after_s)  # until the process before is known to be gone
            assert (await ask(client, "tasks/cancel", taskId=name))["status"] == "cancelled"
            await far.logged("cancelled")
        rows = [row for row in gateway.ledger(1) if row["asked"] == "far_build"]
        assert [(row["outcome"], row["status"]) for row in rows] == [("cancelled", 499)]
    finally:
        gateway.stop()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["forgotten", "another server"])
async def test_a_servers_task_that_cannot_be_had_is_told(
    far: Far, tmp_path: Path, what: str
) -> None:
    gateway = Gateway(tmp_path, config(far)).start()
    await warm(gateway)
    async with mcp_client(gateway, **options("legacy")) as client:
        name = await begun(client, "legacy", "far_build", {"what": "house"})
        await is_kept(gateway, client, name)
        gateway.kill()
    if what == "forgotten":
        far.says("forget")
    else:
        text = gateway.path.read_text().replace('/mcp"', '/mcp?other"')
        gateway.path.write_text(text)
    gateway.start()
    try:
        await warm(gateway)
        async with mcp_client(gateway, **options("legacy")) as client:
            result = await outcome(client, "legacy", name)
    finally:
        gateway.stop()
    words = {"forgotten": "does not know the task", "another server": "is another server"}
    assert result["isError"] is True
    assert words[what] in result["content"][0]["text"]
    assert "not made again" in result["content"][0]["text"]
    assert far.log == ["build house"]


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["kill", "stop"])
async def test_a_servers_task_goes_on_at_another_replica(
    far: Far, tmp_path_factory: pytest.TempPathFactory, postgres_server: Any, ends: str
) -> None:
    store = postgres_server.database()
    places = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    one, two = (Gateway(place, config(far, store=store)).start() for place in places)
    try:
        await warm(two)
        await warm(one)
        async with mcp_client(two, **options("auto")) as there:
            async with mcp_client(one, **options("auto")) as here:
                name = await begun(here, "auto", "far_build", {"what": "house"})
                await is_kept(one, here, name)
                if ends == "kill":
                    one.kill()
            if ends == "stop":
                assert one.stop() == 0  # a deployment: the task is handed on at once
            assert (await until(there, name, "working"))["status"] == "working"
            far.says("done", "a house")
            result = await outcome(there, "auto", name)
            assert result["content"] == [{"type": "text", "text": "a house"}]
    finally:
        two.stop()
    assert far.log.count("build house") == 1
    assert "cancelled" not in far.log


@pytest.mark.slow
@pytest.mark.parametrize("who", ["the same", "a worker", "a replica"])
async def test_a_servers_task_that_nobody_asks_for_is_taken_up_after_a_kill(
    far: Far, tmp_path_factory: pytest.TempPathFactory, postgres_server: Any, who: str
) -> None:
    store = postgres_server.database() if who == "a replica" else ""
    place = tmp_path_factory.mktemp("one")
    words = "[server]\nworkers = 2\n" if who == "a worker" else ""
    gateway = Gateway(place, words + config(far, store=store)).start()
    await warm(gateway)
    async with mcp_client(gateway, **options("auto")) as client:
        name = await begun(client, "auto", "far_build", {"what": "house"})
        await is_kept(gateway, client, name)
        other = gateway
        if who == "a replica":
            other = Gateway(tmp_path_factory.mktemp("two"), config(far, store=store)).start()
        if who == "a worker":
            children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text()
            for worker in children.split():  # the main process starts others
                os.kill(int(worker), signal.SIGKILL)
        else:
            gateway.kill()
    if who == "the same":
        gateway.start()
    try:
        far.says("done", "a house")
        await far.logged("result ")  # before any request of the protocol
        async with mcp_client(other, **options("auto")) as client:
            task = await until(client, name, "completed")
        assert task["result"]["content"] == [{"type": "text", "text": "a house"}]
    finally:
        other.stop()
    assert far.log.count("build house") == 1
    # Who was killed may have asked a moment before.
    assert sum(line.startswith("result ") for line in far.log) in (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["", "handshake"])
@pytest.mark.parametrize("what", ["is started again", "loses the session"])
async def test_a_servers_task_outlives_its_connection_and_is_begun_once(
    far: Far, tmp_path: Path, form: str, what: str
) -> None:
    gateway = Gateway(tmp_path, config(far, form)).start()
    try:
        async with mcp_client(gateway, mode="legacy") as client:  # it takes no tasks: it waits
            calling = asyncio.create_task(client.call_tool("far_build", {"what": "house"}))
            await far.logged("build house")
            await asyncio.sleep(0.3)
            if what == "loses the session":
                far.says("lose")
                await asyncio.sleep(0.5)
            else:
                far.kill()
                far.start()
            far.says("done", "a house")
            assert text_of(await asyncio.wait_for(calling, 60)) == "a house"
    finally:
        gateway.stop()
    assert far.log.count("build house") == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", ["", "handshake"])
async def test_a_servers_task_is_held_to_its_schema(far: Far, tmp_path: Path, form: str) -> None:
    gateway = Gateway(tmp_path, config(far, form)).start()
    far.says("done", '{"other": 1}')
    try:
        async with mcp_client(gateway, mode="legacy") as client:
            result = await client.call_tool("far_build", {"what": "house"})
    finally:
        gateway.stop()
    assert result.is_error
    assert "invalid answer" in text_of(result)
