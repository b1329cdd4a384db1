"""Which processes that share a store are gone, as far as another one can see.

Who works on something writes a new beat, the time, into its record every `BEAT_S`.  That a beat is
old proves nothing: clocks differ, and with the store unreachable nobody writes.  A process is gone
when its beat stood still while another one looked several times, and found the store there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from polycall.errors import StoreError

BEAT_S = 2.0
LEFT = 0.0  # the beat of what its process gave up in order: nobody waits for another
SUSPECT_S = 4.0
LOOKS = 5


def is_suspect(beat: float) -> bool:
    """Whether it is worth looking if a beat stands still."""
    return abs(time.time() - beat) >= SUSPECT_S


async def stood_still(look: Callable[[], Awaitable[float | None]]) -> float | None:
    """The beat that stood still, or `None` where that moved, or `look` says that work is over."""
    first: float | None = None
    number = 0
    while True:
        try:
            beat = await look()
        except StoreError:
            number = 0  # who works has to find the store first, too
        else:
            if beat is None or beat == LEFT:
                return beat
            if first is not None and beat != first:
                return None
            first, number = beat, number + 1
            if number == LOOKS:
                return first
        await asyncio.sleep(BEAT_S)
