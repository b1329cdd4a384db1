"""The tasks of the comparison: tools with data, and what a scripted model does in each form.

The data are made here by arithmetic, so that every run has the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import TypedDict

from polycall.program import Hints
from polycall.sim import Call
from polycall.tools import FunctionTool, tool

BOTH = ("direct", "code")
_DELAY_S = 0.01


@dataclass(frozen=True)
class Case:
    """One task.

    `calls` are those that are needed one after the other; `parallel` those of a model that asks
    for everything at once, where that can be done at all.  `code` is the program, `check` says
    whether what it printed is right.
    """

    name: str
    question: str
    tools: Sequence[FunctionTool[..., Any]]
    calls: Sequence[Call]
    parallel: Sequence[Call] | None
    code: str
    check: Callable[[str], bool]
    hints: Hints


class Row(TypedDict):
    id: str
    month: int
    product: str
    amount: float


class Health(TypedDict):
    url: str
    status: int
    latency_ms: int


class Customer(TypedDict):
    id: str
    name: str
    tier: Literal["gold", "silver"]
    account: str


class Account(TypedDict):
    id: str
    overdue: bool
    oldest_invoice: str | None
    manager: str


class Invoice(TypedDict):
    id: str
    amount: float
    contract: str


class Contract(TypedDict):
    id: str
    grace_days: int
    contact: str


class Contact(TypedDict):
    id: str
    email: str
    language: str


class Stock(TypedDict):
    warehouse: str
    item: str
    quantity: int


class Weather(TypedDict):
    city: str
    celsius: int
    sky: str


def cases(rows: int = 10_000) -> list[Case]:
    """All tasks; `rows` is the size of a region."""
    return [_regions(rows), _endpoints(), _chain(), _early_exit(), _few(), _single()]


def _noise(seed: int) -> int:
    """A number below 2**31 that looks like chance."""
    value = (seed * 2654435761 + 12345) % 2**32
    return (value ^ (value >> 13)) * 1664525 % 2**31


def region_rows(region: str, rows: int) -> list[Row]:
    """A region's sales; a few amounts are far above the others."""
    base = {"north": 1, "south": 2, "east": 3}[region] * 1_000_003
    made: list[Row] = []
    for number in range(rows):
        chance = _noise(base + number)
        amount = chance % 40_000 / 100 + 5
        amount = amount * 40 if chance % 2_003 == 0 else amount
        made.append(
            Row(
                id=f"{region[0].upper()}{number:05d}",
                month=chance // 7 % 12 + 1,
                product=f"P{chance // 11 % 25:02d}",
                amount=round(amount, 2),
            )
        )
    return made


def _regions(rows: int) -> Case:
    data = {region: region_rows(region, rows) for region in ("north", "south", "east")}

    @tool(allowed_callers=BOTH)
    async def get_sales(region: Literal["north", "south", "east"]) -> list[Row]:
        """All sales of a region this year."""
        await asyncio.sleep(_DELAY_S)
        return data[region]

    code = """\
import asyncio, statistics
from collections import Counter
parts = await asyncio.gather(*[get_sales(r) for r in ("north", "south", "east")])
rows = [row for part in parts for row in part]
amounts = [row["amount"] for row in rows]
by_month = Counter()
for row in rows:
    by_month[row["month"]] += row["amount"]
mean, deviation = statistics.fmean(amounts), statistics.pstdev(amounts)
outliers = [row["id"] for row in rows if row["amount"] > mean + 6 * deviation]
top = sorted(rows, key=lambda row: row["amount"], reverse=True)[:5]
print("total", round(sum(amounts), 2))
print("top five", [(row["id"], row["amount"]) for row in top])
print("by month", {month: round(by_month[month], 2) for month in sorted(by_month)})
print("outliers", len(outliers), outliers[:10])"""
    total = round(sum(row["amount"] for part in data.values() for row in part), 2)
    calls = [Call("get_sales", {"region": region}) for region in data]
    return Case(
        f"three regions x {rows:,} rows",
        "Total, top five, by month and outliers of the three regions.",
        [get_sales],
        calls,
        calls,
        code,
        lambda text: f"total {total}" in text and "by month {1: " in text,
        Hints(calls=3, result_tokens=rows * 25, dependent=False),
    )


def _endpoints() -> Case:
    urls = [f"https://service-{number:02d}.example/health" for number in range(50)]

    @tool(allowed_callers=BOTH)
    async def check_endpoint(url: str) -> Health:
        """Ask a service for its health."""
        await asyncio.sleep(_DELAY_S)
        number = urls.index(url)
        return Health(
            url=url,
            status=503 if number % 17 == 3 else 200,
            latency_ms=20 + _noise(number) % 200,
        )

    code = """\
import asyncio
urls = [f"https://service-{n:02d}.example/health" for n in range(50)]
checks = await asyncio.gather(*[check_endpoint(url) for url in urls])
print("down:", [c["url"] for c in checks if c["status"] != 200])
print("slowest:", max(checks, key=lambda c: c["latency_ms"])["url"])"""
    calls = [Call("check_endpoint", {"url": url}) for url in urls]
    down = [url for number, url in enumerate(urls) if number % 17 == 3]
    return Case(
        "fifty endpoint checks",
        "Which of service-00 to service-49 (https://service-NN.example/health) are down, "
        "and which is the slowest?",
        [check_endpoint],
        calls,
        calls,
        code,
        lambda text: f"down: {down}" in text,
        Hints(calls=50, result_tokens=30, dependent=False),
    )


def _chain() -> Case:
    """Six calls, each with what the one before gave, and a question in between."""

    @tool(allowed_callers=BOTH)
    async def find_customer(name: str) -> Customer:
        """A customer by name."""
        return Customer(id="C-17", name=name, tier="gold", account="A-99")

    @tool(allowed_callers=BOTH)
    async def get_account(account: str) -> Account:
        """An account by its id."""
        return Account(id=account, overdue=True, oldest_invoice="I-3", manager="M-1")

    @tool(allowed_callers=BOTH)
    async def get_invoice(invoice: str) -> Invoice:
        """An invoice by its id."""
        return Invoice(id=invoice, amount=1250.0, contract="K-5")

    @tool(allowed_callers=BOTH)
    async def get_contract(contract: str) -> Contract:
        """A contract by its id."""
        return Contract(id=contract, grace_days=14, contact="P-8")

    @tool(allowed_callers=BOTH)
    async def get_contact(contact: str) -> Contact:
        """A person by id."""
        return Contact(id=contact, email="p8@customer.example", language="ko")

    @tool(allowed_callers=BOTH)
    async def send_reminder(email: str, amount: float, language: str = "en") -> str:
        """Send a reminder of payment."""
        return f"sent to {email}"

    code = """\
customer = await find_customer("Hanbit")
account = await get_account(customer["account"])
if account["overdue"] and account["oldest_invoice"]:
    invoice = await get_invoice(account["oldest_invoice"])
    contract = await get_contract(invoice["contract"])
    person = await get_contact(contract["contact"])
    print(await send_reminder(person["email"], invoice["amount"], person["language"]))
else:
    print("nothing is overdue")"""
    calls = [
        Call("find_customer", {"name": "Hanbit"}),
        Call("get_account", {"account": "A-99"}),
        Call("get_invoice", {"invoice": "I-3"}),
        Call("get_contract", {"contract": "K-5"}),
        Call("get_contact", {"contact": "P-8"}),
        Call("send_reminder", {"email": "p8@customer.example", "amount": 1250.0, "language": "ko"}),
    ]
    return Case(
        "conditional chain of six",
        "If Hanbit's account is overdue, remind the contact of the oldest invoice's contract.",
        [find_customer, get_account, get_invoice, get_contract, get_contact, send_reminder],
        calls,
        None,
        code,
        lambda text: text == "sent to p8@customer.example",
        Hints(calls=6, result_tokens=25, dependent=True),
    )


def _early_exit() -> Case:
    @tool(allowed_callers=BOTH)
    async def get_stock(warehouse: int, item: str) -> Stock:
        """The stock of an item in one of the warehouses 1 to 30."""
        await asyncio.sleep(_DELAY_S)
        quantity = 12 if warehouse == 11 else warehouse % 3
        return Stock(warehouse=f"W-{warehouse}", item=item, quantity=quantity)

    code = """\
for n in range(1, 31):
    stock = await get_stock(n, "bolt")
    if stock["quantity"] >= 10:
        print("first:", stock)
        break"""
    everything = [Call("get_stock", {"warehouse": n, "item": "bolt"}) for n in range(1, 31)]
    return Case(
        "early exit after eleven of thirty",
        "The first of the warehouses 1 to 30 with ten bolts or more?",
        [get_stock],
        everything[:11],
        everything,
        code,
        lambda text: "'warehouse': 'W-11'" in text,
        Hints(calls=11, result_tokens=20, dependent=True),
    )


def _few() -> Case:
    made = _weather()
    code = """\
import asyncio
cities = await asyncio.gather(*[get_weather(c) for c in ("Seoul", "Busan", "Jeju")])
print([(c["city"], c["celsius"]) for c in cities])"""
    calls = [Call("get_weather", {"city": city}) for city in ("Seoul", "Busan", "Jeju")]
    return Case(
        "three small calls",
        "How warm is it in Seoul, Busan and Jeju?",
        [made],
        calls,
        calls,
        code,
        lambda text: "('Seoul', " in text,
        Hints(calls=3, result_tokens=15, dependent=False),
    )


def _single() -> Case:
    calls = [Call("get_weather", {"city": "Seoul"})]
    return Case(
        "a single small call",
        "How warm is it in Seoul?",
        [_weather()],
        calls,
        calls,
        "await get_weather('Seoul')",
        lambda text: '"city":"Seoul"' in text,
        Hints(calls=1, result_tokens=15, dependent=False),
    )


def _weather() -> FunctionTool[..., Any]:
    @tool(allowed_callers=BOTH)
    async def get_weather(city: str) -> Weather:
        """The weather in a city now."""
        return Weather(city=city, celsius=10 + len(city), sky="clear")

    return get_weather
