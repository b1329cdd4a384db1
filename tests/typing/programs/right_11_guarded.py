from typing import Any

from polycall import Agent, Guarded
from polycall.agents import Run
from polycall.ir import Message


def no_cards(messages: list[Message]) -> str | None:
    return "a card's number" if "4242" in messages[-1].text else None


async def is_kind(run: Run[Any]) -> str | None:
    return None if "please" in run.text else "unkind"


guarded = Guarded(Agent("a/m", output=int), inputs=[no_cards], outputs=[is_kind])
number: int = guarded.run_sync("x").output
stopped = guarded.run_sync("x").stopped
reason: str = stopped.reason if stopped is not None else ""
