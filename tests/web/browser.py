"""A headless Chromium, driven by its own protocol (CDP) over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser() -> str | None:
    """Where one is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page of it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def evaluate(self, code: str) -> Any:
        """The value of an expression, awaited; `AssertionError` where it throws."""
        self._number += 1
        parameters = {"expression": code, "awaitPromise": True, "returnByValue": True}
        await self._socket.send_json(
            {"id": self._number, "method": "Runtime.evaluate", "params": parameters}
        )
        while True:
            answer = await self._socket.receive_json(timeout=60)
            if answer.get("id") == self._number:
                break
        assert "exceptionDetails" not in answer["result"], answer["result"]
        return answer["result"]["result"].get("value")

    async def until(self, code: str) -> None:
        """Wait until the expression is true."""
        async with asyncio.timeout(30):
            while not await self.evaluate(code):
                await asyncio.sleep(0.1)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Page]:
    """A page in a browser of its own, which ends with it."""
    program = browser()
    assert program is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        words += [f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"]
        process = await asyncio.create_subprocess_exec(
            program, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            file = Path(folder) / "DevToolsActivePort"
            async with asyncio.timeout(60):
                while not (file.exists() and file.read_text().count("\n")):
                    await asyncio.sleep(0.1)
            port = file.read_text().splitlines()[0]
            async with aiohttp.ClientSession() as http:
                async with http.put(f"http://127.0.0.1:{port}/json/new?{url}") as answer:
                    target = json.loads(await answer.text())
                address = target["webSocketDebuggerUrl"]
                async with http.ws_connect(address, max_msg_size=0) as socket:
                    page = Page(socket)
                    await page.until(f"location.href.startsWith({json.dumps(url)})")
                    await page.until("document.readyState === 'complete'")
                    yield page
        finally:
            process.kill()
            await process.wait()
