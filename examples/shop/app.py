"""A shop's assistant behind a web page; its conversations survive kill -9 in mid-sentence.

From this folder: `polycall sim uvicorn app:app`, or with a key, and without `polycall sim`.
SHOP_MODEL names another model, or several: "deepseek/deepseek-flash, openai/gpt-5.4".
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from polycall import Agent, Durable, Knowledge, Limits, Memory, Sessions, ToolContext, tool, web
from polycall.errors import RequestError

MODEL = os.environ.get("SHOP_MODEL", "openai/gpt-5.4")
HERE = Path(__file__).parent
DATA = Path(os.environ.get("SHOP_DATA", HERE))
PARCEL_S = float(os.environ.get("SHOP_PARCEL_S", "5"))  # what the carrier takes to answer
ORDERS = {"A17": {"item": "teapot", "price": 40, "parcel": "P9"}, "B20": {"item": "bowl"}}


@tool
async def find_order(order_id: str) -> dict[str, Any]:
    """Find an order by its id (주문)."""
    return ORDERS.get(order_id) or {"error": f"there is no order {order_id!r}"}


@tool
async def check_stock(item: str) -> int:
    """Check how many of an item are in stock (재고)."""
    return {"teapot": 3, "bowl": 0}.get(item, 0)


@tool
async def reserve(item: str, context: ToolContext[Any]) -> str:
    """Put an item aside (reserve) for the customer."""
    return f"{item} is put aside as {context.idempotency_key[-6:]}"


@tool(background=True, concurrency=5)
async def track_parcel(parcel_id: str, context: ToolContext[Any]) -> str:
    """Track a parcel: ask its carrier where it is; takes a while (배송)."""
    for percent in range(0, 100, 10):
        await context.report(percent / 100, "asking the carrier")
        await asyncio.sleep(PARCEL_S / 10)
    return f"parcel {parcel_id} arrives tomorrow"


@tool(needs_approval=True)
async def refund(order_id: str, amount: int, context: ToolContext[Any]) -> str:
    """Refund an order's money (환불); a person of the shop must agree."""
    with (DATA / "refunds.txt").open("a") as file:
        file.write(f"{context.idempotency_key} {order_id} {amount}\n")  # a key never pays twice
    return f"{amount} refunded for {order_id}"


class Summary(BaseModel):
    wish: str
    order_id: str | None
    is_settled: bool


budget = Limits(steps=12, cost_usd=Decimal("0.50"))
help_pages = Knowledge.from_paths(HERE / "help")
refunds = Agent(MODEL, name="refunds", description="Pays money back.", tools=[find_order, refund])
desk = Agent(
    MODEL,
    name="desk",
    instructions="You help the customers of a shop for tea. Be brief.",
    tools=[find_order, check_stock, reserve, track_parcel, help_pages.tool()],
    handoffs=[refunds],
    memory=Memory(DATA / "memory.db"),
    limits=budget,
)
bookkeeper = Agent(MODEL, name="bookkeeper", output=Summary, limits=budget)
sessions = Sessions(f"sqlite:///{DATA / 'chats.db'}")
durable = Durable(f"sqlite:///{DATA / 'runs.db'}", agents=[desk], sessions=sessions)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with durable:  # goes on with the runs of a process that died
        yield


def refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 400)


app = FastAPI(lifespan=lifespan, exception_handlers={RequestError: refused})


async def run_of(chat: str, run_id: str, asked: Any, user: str) -> tuple[str, Any]:
    """The run that waits for these answers; else a new one, or that of the id, to reconnect."""
    if asked.verdicts:
        return await web.answer_durable(durable, asked.verdicts)
    return run_id, durable.stream(desk, [asked.prompt], run_id=run_id, session=chat, user=user)


@app.post("/ag-ui")
async def ag_ui(request: Request, user: str = "guest") -> StreamingResponse:
    asked = web.read_ag_ui(await request.json())
    run_id, stream = await run_of(asked.thread_id, asked.run_id, asked, user)
    chunks = web.ag_ui(stream, asked, run_id=run_id, on_approval="interrupt")
    return StreamingResponse(chunks, headers=web.SSE_HEADERS)


def vercel_answer(stream: Any, run_id: str, **more: str) -> StreamingResponse:
    chunks = web.vercel(stream, run_id=run_id, on_approval="interrupt", **more)
    return StreamingResponse(chunks, headers=web.VERCEL_HEADERS)


@app.post("/vercel")
async def vercel(request: Request, user: str = "guest") -> StreamingResponse:
    asked = web.read_vercel(await request.json())
    run_id, stream = await run_of(asked.chat_id, asked.prompt_id, asked, user)
    return vercel_answer(stream, run_id, message_id=asked.message_id)


@app.get("/vercel/{chat}/stream")
async def vercel_again(chat: str) -> Response:
    for each in await durable.unfinished(chat):
        return vercel_answer(durable.handle(each.id).stream(), each.id)
    return Response(status_code=204)


@app.post("/stop/{chat}")
async def stop(chat: str) -> int:
    for each in (found := await durable.unfinished(chat)):
        await durable.cancel(each.id)
    return len(found)


@app.get("/summary/{chat}")
async def summary(chat: str) -> Summary:
    said = [f"{each.role}: {each.text}" for each in await sessions.open(chat).messages()]
    return (await bookkeeper.run("\n".join(["Summarize:", *said]))).output


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(HERE / "page.html")
