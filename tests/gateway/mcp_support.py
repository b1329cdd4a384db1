"""What the tests of MCP behind the gateway share: configurations and clients."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.gateway.harness import KEY, Gateway

STOCK = Path(__file__).with_name("mcp_stock.py")
# The newest revision, and the one before it.
REVISIONS = ("auto", "legacy")
TOKEN = "tok-very-secret-0001"


def stock_table(name: str, folder: Path, *more: str) -> str:
    """The stock server as a program, in a folder of its own for what it writes."""
    folder.mkdir(parents=True, exist_ok=True)
    return "\n".join(
        [
            f"[mcp.{name}]",
            f'command = ["{sys.executable}", "{STOCK}", "stdio"]',
            f'env = {{ LOG = "{folder}/log", MOOD = "{folder}/mood", TOKEN = "{TOKEN}" }}',
            *more,
            "",
        ]
    )


@asynccontextmanager
async def mcp_client(
    gateway: Gateway,
    path: str = "/mcp",
    *,
    key: str = KEY,
    mode: str = "auto",
    **options: Any,
) -> AsyncGenerator[Client]:
    """The official client at the gateway's door."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{gateway.url}{path}", http_client=http)
        async with Client(transport, mode=mode, cache=None, **options) as client:
            yield client


def text_of(result: Any) -> str:
    """The text of a result."""
    return "".join(getattr(block, "text", "") for block in result.content)
