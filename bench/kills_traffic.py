"""The clients of `bench.kills`: requests of ten kinds by three keys, and what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from decimal import Decimal
from typing import Any, NamedTuple

import aiohttp
from tests.gateway.harness import Gateway

CLIENTS = 10
ASKED_AGAIN = 7
BUDGETS = {"tight": Decimal("4.0"), "wide": Decimal(5000), "free": None}
# Limits, and a machine under load: a store that does not answer in time is no mistake.
BUSY = (429, 503, 529)
KINDS = (
    *("plain", "stream", "messages", "program", "search", "background", "batch", "mcp"),
    *("tool", "cached"),
)
LOOKUP: Any = {
    "type": "function",
    "function": {
        "name": "lookup",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
    },
}


class Sent(NamedTuple):
    """One request whose answer came whole."""

    nonce: str
    row: str  # the row's id
    ended_at: float
    is_hit: bool = False  # of the cache: sold once, to an earlier one

    def costs(self, cost: Decimal, sales: list[Decimal]) -> bool:
        """Whether the row costs what was sold; a question that is asked again is sold each time."""
        if self.is_hit:
            return cost == 0 and sales != []
        is_asked_again = int(self.nonce.rpartition("-")[2]) < ASKED_AGAIN
        return cost in sales if is_asked_again else cost == sum(sales)


class Traffic:
    """Clients of all kinds; `run` until `is_over`."""

    def __init__(self, replicas: list[Gateway], seed: int) -> None:
        self.replicas = replicas
        self.is_over = False
        self.sent: list[Sent] = []
        self.allowed: Counter[str] = Counter()  # how often a nonce may be sold
        self.things: list[tuple[str, str]] = []  # a key, and a path that is its own
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        # Wrong, unless there was a kill between these two times.
        self.unless_killed: list[tuple[float, float, str]] = []
        self._chance = random.Random(seed)
        self._number = 0
        self._wanted, self._is_reached = 0, asyncio.Event()

    def done(self) -> int:
        """How many requests were answered."""
        return sum(n for words, n in self.outcomes.items() if not words.endswith(" cut"))

    async def reached(self, number: int) -> None:
        """Return when so many were answered."""
        self._wanted, self._is_reached = number, asyncio.Event()
        await self._is_reached.wait()

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        while not self.is_over:
            kind = self._chance.choice(KINDS)
            key = self._chance.choice(list(BUDGETS))
            self._number += 1
            # Some questions are asked again: what is kept is worth something then.
            number = self._number % ASKED_AGAIN if kind == "cached" else self._number + ASKED_AGAIN
            nonce = f"ask-{key}-{number}"
            try:
                outcome = await self.ask(kind, key, nonce)
            except (aiohttp.ClientError, TimeoutError):
                outcome = "cut"
                await asyncio.sleep(0.3)
            self.outcomes[f"{kind} {outcome}"] += 1
            if self.done() >= self._wanted:
                self._is_reached.set()

    async def request(
        self,
        method: str,
        path: str,
        key: str,
        body: Any = None,
        replica: Gateway | None = None,
        /,
        **headers: str,
    ) -> tuple[int, str, dict[str, str]]:
        """One exchange with any replica; what is read is searched for the words of others."""
        gateway = replica or self._chance.choice(self.replicas)
        headers = {"authorization": f"Bearer sk-{key}-client-000", **headers}
        data: Any = {"data" if isinstance(body, aiohttp.FormData) else "json": body}
        async with self._session.request(
            method, gateway.url + path, headers=headers, **data
        ) as answer:
            text = await answer.text()
            if any(f"mark-{other}" in text for other in BUDGETS if other != key):
                self.wrong.append(f"{key} read what belongs to another: {text[:300]}")
            return answer.status, text, {k.lower(): v for k, v in answer.headers.items()}

    async def ask(self, kind: str, key: str, nonce: str) -> str:
        """Ask once; the outcome, and in `wrong` what must not be."""
        words = f"{nonce} do-{kind} mark-{key}"
        body: Any = {"model": "up/m", "max_tokens": 40}
        messages: Any = [{"role": "user", "content": words}]
        if kind in ("plain", "stream", "cached", "tool"):
            body |= {"messages": messages, "stream": kind == "stream"}
            headers = {"polycall-cache": "on"} if kind == "cached" else {}
            headers |= {"polycall-mcp": "stock"} if kind == "tool" else {}
            return await self._generate("/v1/chat/completions", nonce, body, **headers)
        if kind == "messages":
            body |= {"messages": messages, "stream": self._chance.random() < 0.5}
            return await self._generate("/v1/messages", nonce, body)
        if kind == "search":
            body = {"model": "up/m", "input": words, "max_output_tokens": 40}
            body["tools"] = [{"type": "web_search"}]
            return await self._generate("/v1/responses", nonce, body)
        return await getattr(self, f"_{kind}")(key, nonce, words)

    async def _generate(self, path: str, nonce: str, body: Any, **headers: str) -> str:
        has_tools = "tools" in body or "polycall-mcp" in headers
        self.allowed[nonce] += 2 if has_tools else 1
        key = nonce.split("-")[1]
        status, text, told = await self.request("POST", path, key, body, **headers)
        if status != 200:
            await asyncio.sleep(0.2)
            return self._refused(nonce, status, text)
        ends = ("[DONE]", "message_stop")
        if body.get("stream") and not any(end in text for end in ends):
            return "cut"
        is_hit = told.get("polycall-cache") == "hit"
        self.sent.append(Sent(nonce, told["polycall-request-id"], time.monotonic(), is_hit))
        return "hit" if is_hit else "ok"

    def _refused(self, what: str, status: int, text: str) -> str:
        """The outcome of a request without an answer, which is wrong unless it may be so."""
        if status not in BUSY:
            self.wrong.append(f"{what}: {status} {text[:300]}")
        return str(status)

    async def _program(self, key: str, nonce: str, words: str) -> str:
        """The client's tool is called by a program, which may go on with another replica."""
        messages: Any = [{"role": "user", "content": words}]
        body: Any = {"model": "up/m", "max_tokens": 40, "messages": messages, "tools": [LOOKUP]}
        answered = 0
        for _ in range(4):
            self.allowed[nonce] += 1
            try:
                status, text, _ = await self.request(
                    "POST", "/v1/chat/completions", key, body, **{"polycall-calling": "code"}
                )
            except aiohttp.ClientError:
                await asyncio.sleep(0.5)
                continue  # asked again, by intent
            if status != 200:
                self._refused(nonce, status, text)
                await asyncio.sleep(0.2)
                continue
            answered += 1
            message = json.loads(text)["choices"][0]["message"]
            calls = message.get("tool_calls")
            if not calls:
                if "got 7" in message["content"]:
                    return "ok"
                self.wrong.append(f"{nonce}: a program without its result: {text[:300]}")
                return "without its result"
            messages.append(message)
            messages += [
                {"role": "tool", "tool_call_id": each["id"], "content": "7"} for each in calls
            ]
        if answered == 4:
            self.wrong.append(f"{nonce}: a program that asks without end")
        return "given up"

    async def _background(self, key: str, nonce: str, words: str) -> str:
        self.allowed[nonce] += 1
        asked_at = time.monotonic()
        body = {"model": "up/m", "input": words, "background": True, "max_output_tokens": 40}
        status, text, _ = await self.request("POST", "/v1/responses", key, body)
        if status != 200:
            return self._refused(nonce, status, text)
        path = f"/v1/responses/{json.loads(text)['id']}"
        self.things.append((key, path))
        for _ in range(100):
            with contextlib.suppress(aiohttp.ClientError):
                status, text, _ = await self.request("GET", path, key)
                state = json.loads(text).get("status") if status == 200 else str(status)
                if state not in ("queued", "in_progress", "503"):
                    is_spent = BUDGETS[key] is not None and '"rate_limit_exceeded"' in text
                    if state != "completed" and not is_spent:
                        told = f"{nonce}: {state} in the background: {text[:300]}"
                        self.unless_killed.append((asked_at, time.monotonic(), told))
                    return str(state)
            await asyncio.sleep(0.2)
        self.wrong.append(f"{nonce} never ended in the background")
        return "never ended"

    async def _batch(self, key: str, nonce: str, words: str) -> str:
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", f'{{"custom_id": "{nonce}", "body": "{words}"}}', filename="b.jsonl")
        provider = {"polycall-provider": "up"}
        status, text, _ = await self.request("POST", "/v1/files", key, form, **provider)
        if status != 200:
            return self._refused(nonce, status, text)
        file = json.loads(text)["id"]
        self.things.append((key, f"/v1/files/{file}/content"))
        job = {"input_file_id": file, "endpoint": "/v1/responses", "completion_window": "24h"}
        status, text, _ = await self.request("POST", "/v1/batches", key, job, **provider)
        if status == 200:
            self.things.append((key, f"/v1/batches/{json.loads(text)['id']}"))
        elif status != 403 or BUDGETS[key] is None:  # a key with limits may ask for no job
            self._refused(nonce, status, text)
        return str(status)

    async def _mcp(self, key: str, nonce: str, words: str) -> str:
        del words
        head = {"accept": "application/json, text/event-stream"}
        params: Any = {"protocolVersion": "2025-11-25", "capabilities": {}}
        params["clientInfo"] = {"name": "bench", "version": "1"}
        body: Any = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        # A session is one replica's.
        asked_at = time.monotonic()
        replica = self._chance.choice(self.replicas)
        status, text, headers = await self.request("POST", "/mcp", key, body, replica, **head)
        if status != 200:
            return self._refused(nonce, status, text)
        head["mcp-session-id"] = headers.get("mcp-session-id", "")
        number = int(nonce.rpartition("-")[2])
        call = {"name": "stock_add", "arguments": {"a": number, "b": 0}}
        body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}
        status, text, _ = await self.request("POST", "/mcp", key, body, replica, **head)
        if status == 200 and f"sum {number}" in text:
            return "ok"
        # The session was the killed one's, or its server was.
        told = f"{nonce}: mcp {status} {text[:300]}"
        self.unless_killed.append((asked_at, time.monotonic(), told))
        return str(status)
