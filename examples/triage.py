"""Customer service of a shop: triage over orders, refunds and escalation, with an approval."""

import asyncio

from start import start

from polycall import Agent, tool, triage
from polycall.agents import ApprovalRequest, HandoffEvent
from polycall.loop import CallEnd, ToolEvent
from polycall.sim import Call, Turn


async def find_order(order_id: str) -> dict[str, str | int]:
    """Look an order up."""
    return {"order": order_id, "item": "teapot", "price": 40, "state": "delivered broken"}


@tool(needs_approval=True)
async def refund(order_id: str, amount: int) -> str:
    """Pay money back; a person must agree."""
    return f"{amount} paid back for {order_id}"


PLAY = [
    Turn(calls=[Call("transfer_to_refunds", {"reason": "a teapot arrived broken"})]),
    Turn(calls=[Call("find_order", {"order_id": "A17"})]),
    Turn(calls=[Call("refund", {"order_id": "A17", "amount": 40})]),
    Turn(text="I am sorry about the teapot. The 40 are on their way back to you."),
]


async def main() -> None:
    async with start(PLAY) as (model, client):
        people = Agent(model, name="escalation", description="Angry customers and legal threats.")
        orders = Agent(model, name="orders", description="Orders and parcels.", tools=[find_order])
        refunds = Agent(
            model,
            name="refunds",
            description="Money back.",
            tools=[find_order, refund],
            handoffs=[people],
        )
        desk = triage(model, [orders, refunds, people], client=client)
        async with desk.stream("My teapot (order A17) came broken, I want my money back") as stream:
            async for event in stream:
                match event:
                    case ApprovalRequest():
                        print(f"  a person is asked: {event.tool}({event.arguments})")
                        event.allow()
                    case ToolEvent(event=HandoffEvent() as handoff):
                        print(f"  {handoff.origin} -> {handoff.target}: {handoff.reason}")
                    case CallEnd() if not event.call.name.startswith("transfer"):
                        print(f"  {event.call.name} -> {event.result.text}")
        print(stream.run.output)


asyncio.run(main())
