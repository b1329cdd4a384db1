"""Signing in for a gateway: a person once, then the gateway by itself, with encrypted tokens."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_support import mcp_client, text_of
from tests.mcp.support import until_it_answers
from tests.servers import free_port

STOCK = Path(__file__).parents[1] / "mcp" / "oauth_stock.py"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    port, mood = free_port(), tmp_path / "mood"
    process = subprocess.Popen(
        [sys.executable, str(STOCK), str(port)],
        env={**os.environ, "MOOD": str(mood), "TTL": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/mcp"
    asyncio.run(until_it_answers(url))
    yield url, mood
    process.kill()
    process.wait()


def sign_in(config: Path) -> subprocess.Popen[str]:
    words = ["mcp", "login", "guarded", "--config", str(config), "--port", str(free_port())]
    process = subprocess.Popen(
        [sys.executable, "-m", "polycall", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": "true"},
    )
    assert process.stdout is not None
    page = re.search(r"http\S+", process.stdout.readline())
    assert page is not None
    urllib.request.urlopen(page[0], timeout=20).close()  # says yes, and comes back
    return process


async def test_a_person_signs_in_once(tmp_path: Path, guarded: tuple[str, Path]) -> None:
    url, mood = guarded
    text = f"""
[mcp.guarded]
url = "{url}"
[mcp.guarded.oauth]
scopes = ["tools"]
[store]
secret = "a-secret-of-sixteen-letters"
[[keys]]
key = "{KEY}"
name = "first"
"""
    gateway = Gateway(tmp_path, text)
    gateway.start()
    try:
        async with mcp_client(gateway) as client:
            assert (await client.list_tools()).tools == []
    finally:
        gateway.stop()
    assert "'polycall mcp login' does it" in gateway.log
    process = await asyncio.to_thread(sign_in, gateway.path)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "guarded: signed in; 2 tools" in out
    database = sqlite3.connect(tmp_path / "polycall.db")
    names = {row[0] for row in database.execute("SELECT name FROM kept")}
    database.close()
    assert {"tokens:guarded", "client:guarded"} <= names
    for path in tmp_path.glob("polycall.db*"):
        assert b"access_token" not in path.read_bytes()
    gateway.start()
    try:
        async with mcp_client(gateway) as client:
            results: list[Any] = []
            for _ in range(2):
                await asyncio.sleep(1.3)  # tokens are good for two seconds
                results.append(await client.call_tool("guarded_refreshed", {}))
            assert [result.is_error for result in results] == [False, False]
            assert int(text_of(results[-1])) >= 1
            told = await client.call_tool("guarded_token", {})
            assert text_of(told) == "authorization: [redacted]"
        mood.write_text("revoked")
        async with mcp_client(gateway) as client:
            await asyncio.sleep(2.1)
            refused = await client.call_tool("guarded_refreshed", {})
            assert refused.is_error is True
    finally:
        gateway.stop()
