"""Requests of one session under one id, at each of the gateway's doors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_support import stock_table
from tests.mcp.test_request_ids import HELLO, REFUSED, of_events, request


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    place = tmp_path_factory.mktemp("ids")
    table = stock_table("stock", place / "stock")
    config = f'[server]\nmcp_processes = true\n{table}\n[[keys]]\nkey = "{KEY}"\nname = "first"\n'
    gateway = Gateway(place, config).start()
    yield gateway
    assert gateway.stop() == 0


def calling(number: Any, door: str, seconds: float) -> dict[str, Any]:
    if "code" in door:
        code = f"await stock_nap(seconds={seconds})"
        return request(number, "tools/call", name="run", arguments={"code": code})
    return request(number, "tools/call", name="stock_nap", arguments={"seconds": seconds})


@pytest.mark.parametrize("door", ["/mcp", "/mcp/stock", "/mcp?mode=code"])
async def test_three_requests_of_one_id_at_once_have_three_answers(
    served: Gateway, door: str
) -> None:
    head = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {KEY}"}
    async with asyncio.timeout(60), httpx2.AsyncClient(headers=head, timeout=60) as http:
        url = f"{served.url}{door}"
        opened = await http.post(url, json=request(0, "initialize", **HELLO))
        http.headers["mcp-session-id"] = opened.headers["mcp-session-id"]
        await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        answers = await asyncio.gather(
            *(http.post(url, json=calling(number, door, 2.0)) for number in (7, 7, "7"))
        )
        said = [of_events(answer.text) for answer in answers]
        refused = [each for each in said if "error" in each]
        assert [each["error"] for each in refused] == [REFUSED, REFUSED]
        (result,) = [each["result"] for each in said if "result" in each]
        assert "slept" in result["content"][0]["text"]
        again = of_events((await http.post(url, json=calling(7, door, 0.0))).text)
        assert "slept" in again["result"]["content"][0]["text"]
