"""Tools that an agent has on the telephone only: reading digits, hanging up."""

from __future__ import annotations

import asyncio
from typing import Any

from polycall.realtime.telephone.call import phone_call
from polycall.tools import FunctionTool, tool

_GOODBYE_S = 15.0
_RESULT_S = 0.1


def digits_tool(*, wait_s: float = 10.0) -> FunctionTool[..., Any]:
    """A tool that waits for what the caller types; `wait_s` is the longest pause between keys.

    While it waits, digits are no events: nobody answers each of them.
    """

    @tool(background=True, tell="when_idle")
    async def read_digits(count: int = 1, end: str = "#") -> str:
        """Read digits that the caller types on the telephone's keys.

        Say first what is to be typed.

        Args:
            count: how many digits there are at most
            end: the key that ends them before
        """
        typed = await phone_call().read_digits(max(1, min(count, 32)), end, wait_s)
        return f"the caller typed {typed}" if typed else "the caller typed nothing"

    return read_digits


def hang_up_tool() -> FunctionTool[..., Any]:
    """A tool by which the model ends the call, once its last words were played."""

    @tool(background=True, tell="silent")
    async def hang_up() -> str:
        """End the telephone call.  Say goodbye first."""
        call = phone_call()
        await asyncio.sleep(0.2)  # the end of what is being said may still come
        await call.playback_over(_GOODBYE_S)
        # After the result, so that the call of this tool is over too.
        asyncio.get_running_loop().call_later(_RESULT_S, call.hang_up)
        return "the call is over"

    return hang_up
