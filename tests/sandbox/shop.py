"""Deterministic tools for the programs in `programs/`, and stock CPython to compare with."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import sqlite3
from collections.abc import Callable
from typing import Any

CITIES = ["Seoul", "Busan", "Daegu", "Incheon", "Gwangju"]


async def get_sales(city: str, month: int = 1) -> list[dict[str, Any]]:
    if city not in CITIES:
        raise ValueError(f"no such city: {city}")
    seed = CITIES.index(city) * 31 + month
    return [
        {
            "id": f"{city[:2].upper()}{month:02d}{n:03d}",
            "item": ["rice", "tea", "salt", "soap"][(seed + n * 7) % 4],
            "amount": round(((seed * 97 + n * 53) % 9000) / 100 + 1, 2),
            "day": f"2026-{month:02d}-{(seed + n * 3) % 28 + 1:02d}",
        }
        for n in range(20)
    ]


async def list_pages(page: int = 1, size: int = 10) -> dict[str, Any]:
    ids = list(range(1, 38))[(page - 1) * size : page * size]
    more = page * size < 37
    return {
        "items": [{"id": i, "score": i * 7 % 11} for i in ids],
        "next": page + 1 if more else None,
    }


async def probe(host: str) -> dict[str, Any]:
    await asyncio.sleep(0.001)
    number = int(host[1:])
    if number % 13 == 5:
        raise TimeoutError(f"{host} is silent")
    return {"host": host, "ms": number * 17 % 90, "up": number % 6 != 0}


async def read_text(name: str) -> str:
    texts = {
        "log": "\n".join(
            f"{n:02d}:00 {'ERROR' if n % 5 == 0 else 'INFO'} job-{n % 3} took {n * 11}ms"
            for n in range(1, 21)
        ),
        "csv": 'name,team,points\nMina,red,12\n"Lee, Jun",blue,7\nSora,red,9\nDae,blue,15\n',
        "json": json.dumps({"a": [1, {"b": [2, 3, {"c": 4}]}], "d": {"e": 5}}),
        "poem": "the sea the sky the long way home\nthe wind and the sea\n",
    }
    if name not in texts:
        raise FileNotFoundError(f"no text called {name}")
    return texts[name]


async def convert(amount: float, to: str) -> float:
    return round(amount * {"KRW": 1380.5, "EUR": 0.91, "USD": 1.0}[to], 2)


def tree(depth: int) -> dict[str, Any]:
    return {"value": depth * 3, "children": [tree(depth - 1) for _ in range(depth)]}


class Ledger:
    """Tools with state, fresh for every program."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.tries: dict[str, int] = {}

    async def book(self, account: str, amount: float) -> dict[str, Any]:
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.entries.append({"number": len(self.entries) + 1, "account": account, "amount": amount})
        return self.entries[-1]

    async def balance(self, account: str) -> float:
        return round(sum(e["amount"] for e in self.entries if e["account"] == account), 2)

    async def flaky(self, key: str) -> str:
        self.tries[key] = self.tries.get(key, 0) + 1
        if self.tries[key] < 3:
            raise ConnectionError("try again")
        return f"{key} at last"


def functions() -> dict[str, Callable[..., Any]]:
    ledger = Ledger()
    plain = (get_sales, list_pages, probe, read_text, convert, tree)
    stateful = (ledger.book, ledger.balance, ledger.flaky)
    return {function.__name__: function for function in (*plain, *stateful)}


def _awaitable(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        return json.loads(json.dumps(await value if inspect.isawaitable(value) else value))

    return call


async def on_stock_python(code: str) -> str:
    """What the program prints where nothing is between it and CPython."""
    tools = {name: _awaitable(function) for name, function in functions().items()}
    printed = io.StringIO()
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    names: dict[str, Any] = {"__name__": "__main__", **tools}
    with contextlib.redirect_stdout(printed):
        ran = eval(compile(code, "<program>", "exec", flags=flags), names)
        if inspect.iscoroutine(ran):
            await ran
    for value in names.values():
        if isinstance(value, sqlite3.Connection):
            value.close()  # elsewhere the end of the program's process does so
    return printed.getvalue()
