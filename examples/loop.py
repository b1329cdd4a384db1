"""An agent without a framework: a loop over function calls."""

import asyncio

from start import start

from polycall.ir import Message, Text
from polycall.sim import Call, Turn
from polycall.tools import Executor

STOCK = {"tea": 12, "coffee": 0}


def in_stock(item: str) -> int:
    """How many of an item are in stock."""
    return STOCK[item]


def order(item: str, amount: int) -> str:
    """Order more of an item."""
    STOCK[item] += amount
    return f"{amount} of {item} ordered"


PLAY = [
    Turn(calls=[Call("in_stock", {"item": "tea"}), Call("in_stock", {"item": "coffee"})]),
    Turn(calls=[Call("order", {"item": "coffee", "amount": 20})]),
    Turn(text="There was no coffee left, so I ordered 20. Of tea there are 12."),
]


async def main() -> None:
    async with start(PLAY) as (model, client):
        execute = Executor.of([in_stock, order])
        messages = [Message("user", [Text("Check tea and coffee; order what is out of stock.")])]
        while True:
            response = await client.generate(model, messages, tools=[in_stock, order])
            messages.append(response.message)
            if not response.tool_calls:
                break
            results = await asyncio.gather(*map(execute, response.tool_calls))
            for call, result in zip(response.tool_calls, results, strict=True):
                print(f"{call.name}({call.arguments}) -> {result.text}")
            messages.append(Message("tool", [*results]))
        print(response.text)


asyncio.run(main())
