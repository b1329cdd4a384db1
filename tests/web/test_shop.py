"""examples/shop, as its users meet it: two official clients, a browser, kill -9, five models."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from polycall.sim import Simulation

from ..servers import free_port
from .browser import browser, opened
from .conftest import play

SHOP = Path(__file__).parents[2] / "examples" / "shop"
MODELS = (
    "openai/gpt-5.4",
    "anthropic/claude-sonnet-4-6",
    "google/gemini-3.8-flash",
    "deepseek/deepseek-flash",
    "deepseek/deepseek-flash, openai/gpt-5.4",
)
VENDORS = ("openai", "anthropic", "google", "deepseek")


class Server:
    """The shop behind uvicorn, in a process that can be killed."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ,
            "POLYCALL_CONFIG": str(config),
            "SHOP_DATA": str(folder),
            "SHOP_PARCEL_S": "2",
        }
        self.start()

    def start(self) -> None:
        words = ["uvicorn", "app:app", "--port", str(self.port), "--log-level", "error"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=SHOP, env=self._environment
        )

    def end(self, how: int = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(20)

    @property
    def refunds(self) -> list[str]:
        file = self.folder / "refunds.txt"
        return file.read_text().splitlines() if file.exists() else []

    async def is_up(self) -> None:
        async with asyncio.timeout(30), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(self.url):
                        return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with Simulation() as simulation:
        lines = [
            f'[providers.{vendor}]\nbase_url = "{simulation.base_url(vendor)}"\napi_key = "any"\n'
            for vendor in VENDORS
        ]
        path = tmp_path_factory.mktemp("config") / "polycall.toml"
        path.write_text("".join(lines))
        yield path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Server]:
    pytest.importorskip("fastapi")
    server = Server(tmp_path_factory.mktemp("shop"), config)
    asyncio.run(server.is_up())
    yield server
    server.end()


@asynccontextmanager
async def asking(shop: Server, words: str, run: str, chat: str) -> AsyncIterator[Any]:
    """The events of AG-UI that a request gives."""
    body = {"threadId": chat, "runId": run, "messages": []}
    if words:
        body["messages"] = [{"id": "m", "role": "user", "content": words}]

    async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Any]:
        async for line in answer.content:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{shop.url}/ag-ui", json=body) as answer,
    ):
        yield events(answer)


async def got(shop: Server, method: str, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.request(method, shop.url + path) as answer:
        return await answer.json()


def test_it_is_short() -> None:
    assert len((SHOP / "app.py").read_text("utf-8").splitlines()) < 150


@pytest.mark.parametrize("approve", [True, False])
@pytest.mark.parametrize("client", ["ag-ui", "vercel"])
async def test_the_official_clients_approve_a_durable_refund(
    node: Path, shop: Server, client: str, approve: bool
) -> None:
    before = len(shop.refunds)
    chat = f"{client}-{approve}"
    more = {"words": "Refund 40 for order A17", "chat": chat, "run": f"{chat}-"}
    heard = await play(node, client, f"{shop.url}/{client}", approve=approve, **more)
    assert len(shop.refunds) - before == approve
    if client == "ag-ui":
        assert [each["metadata"]["tool"] for each in heard["interrupts"]] == ["refund"]
        calls = {
            call["id"]: call["function"]["name"]
            for message in heard["messages"]
            for call in message.get("toolCalls", [])
        }
        results = {each["toolCallId"]: each for each in heard["messages"] if each["role"] == "tool"}
        # The result after the approval is of the call before it.
        assert "refund" in [calls[each] for each in results]
    else:
        assert (heard["asked"], heard["errors"]) == (1, [])
        paid = next(part for part in heard["answer"]["parts"] if part.get("toolName") == "refund")
        assert paid["state"] == ("output-available" if approve else "output-error")


async def test_a_conversation_goes_on_after_kill_9_and_is_kept_once(shop: Server) -> None:
    async with asking(shop, "Track the parcel P9", "k1", "killed") as events:
        async for event in events:
            if event["type"] == "ACTIVITY_SNAPSHOT" and event["content"].get("progress", 0) >= 0.2:
                break
        shop.end(signal.SIGKILL)
    shop.start()
    await shop.is_up()
    async with asking(shop, "", "k1", "killed") as events:
        types = [event["type"] async for event in events]
    assert (types[0], types[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    # What was said before it was killed comes again, and then the rest.
    assert types.count("TOOL_CALL_START") == 1
    async with asking(shop, "Add to memory: 'allergic to nuts'.", "k2", "killed") as events:
        results = [each async for each in events if each["type"] == "TOOL_CALL_RESULT"]
    assert "allergic to nuts" in results[0]["content"]
    summary = await got(shop, "GET", "/summary/killed")
    assert set(summary) == {"wish", "order_id", "is_settled"}


async def test_a_run_is_stopped_and_one_that_waits_is_joined(shop: Server) -> None:
    async with asking(shop, "Track the parcel P9", "s1", "stopped") as events:
        async for event in events:
            if event["type"] == "ACTIVITY_SNAPSHOT":
                assert await got(shop, "POST", "/stop/stopped") == 1
                break
        types = [event["type"] async for event in events]
    assert types[-1] == "RUN_ERROR"
    assert await got(shop, "POST", "/stop/stopped") == 0
    async with asking(shop, "Refund 40 for order A17", "j1", "joined") as events:
        assert [each async for each in events][-1]["outcome"]["type"] == "interrupt"
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{shop.url}/vercel/joined/stream") as answer:
            assert "tool-approval-request" in await answer.text()
        async with http.get(f"{shop.url}/vercel/nobody/stream") as answer:
            assert answer.status == 204
        async with http.post(f"{shop.url}/ag-ui", json={"threadId": 1}) as answer:
            assert answer.status == 400
    assert await got(shop, "POST", "/stop/joined") == 1


@pytest.mark.parametrize("model", MODELS)
async def test_its_agents_work_with_each_model(
    model: str, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    monkeypatch.setenv("SHOP_MODEL", model)
    monkeypatch.setenv("SHOP_DATA", str(tmp_path))
    monkeypatch.setenv("SHOP_PARCEL_S", "0.1")
    monkeypatch.setenv("POLYCALL_CONFIG", str(config))
    spec = importlib.util.spec_from_file_location("shop_app", SHOP / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop_app", module)
    spec.loader.exec_module(module)
    try:
        run = await module.desk.run("Track the parcel P9", user="mina")
        assert "arrives tomorrow" in str(run.messages)
        assert run.cost is not None
        asked: list[str] = []
        run = await module.desk.run(
            "Refund 40 for order A17", user="mina", approve=lambda each: asked.append(each.tool)
        )
        assert asked == ["refund"]
        assert isinstance((await module.bookkeeper.run("Summarize: tea")).output, module.Summary)
    finally:
        module.sessions.close()
        module.help_pages.close()
        module.desk.memory.close()


@pytest.mark.slow
async def test_a_real_browser_asks_allows_stops_and_runs_the_official_clients(
    node: Path, shop: Server, tmp_path: Path
) -> None:
    if browser() is None:
        pytest.skip("no Chromium is installed")
    before = len(shop.refunds)
    send = "document.getElementById('words').value = {}; form.requestSubmit()"
    ends = "document.querySelectorAll('.end').length === {}"
    tasks = "[...document.querySelectorAll('.task')].filter(e => {}.test(e.innerText)).length"
    async with opened(f"{shop.url}/") as page:
        await page.evaluate(send.format("'Track the parcel P9'"))
        await page.until(tasks.format("/ 100%/"))
        await page.until(ends.format(1))
        await page.evaluate(send.format("'Track the parcel P10'"))
        await page.until(f"{tasks.format('/ [1-9]0%/')} === 1")
        await page.evaluate("document.getElementById('stop').click()")
        await page.until("document.querySelector('.error') !== null")
        await page.evaluate(send.format("'Refund 40 for order A17'"))
        await page.until("document.querySelector('.approval button') !== null")
        assert "amount" in await page.evaluate("document.querySelector('.approval').innerText")
        await page.evaluate("document.querySelector('.approval button').click()")
        await page.until(ends.format(3))
        assert len(shop.refunds) == before + 1
        bundle = tmp_path / "bundle.js"
        words = ["node_modules/.bin/esbuild", "clients.mjs", "--bundle", f"--outfile={bundle}"]
        subprocess.run([*words, "--log-level=error"], cwd=node, check=True)
        await page.evaluate(bundle.read_text("utf-8"))
        for name, path, chat in (("agUi", "/ag-ui", "b1"), ("vercel", "/vercel", "b2")):
            options: dict[str, Any] = {"approve": True, "words": "Refund 40 for order A17"}
            options |= {"chat": chat, "run": chat}
            url = json.dumps(f"{shop.url}{path}")
            await page.evaluate(f"clients.{name}({url}, {json.dumps(options)}).then(() => 1)")
    assert len(shop.refunds) == before + 3
