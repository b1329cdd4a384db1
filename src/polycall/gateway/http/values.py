"""The number of values that a body may have, whatever its size, and the width of its texts."""

from __future__ import annotations

import asyncio

from polycall._support.json_weight import HeavyJSONError, JSONWeight
from polycall.errors import RequestTooLargeError


class ValueCounter:
    """Counts over all that belongs to one request; others have their turn meanwhile."""

    def __init__(self, weight: JSONWeight | None = None) -> None:
        """`weight` counts where other bounds hold than for every body."""
        self._weight = JSONWeight() if weight is None else weight

    async def add(self, data: bytes) -> None:
        """Count what is in it; `RequestTooLargeError` where that is too much."""
        try:
            for _ in self._weight.steps(data):
                await asyncio.sleep(0)
        except HeavyJSONError as error:
            raise RequestTooLargeError(
                f"the request is too heavy: {error}; send less, or larger and shorter texts",
                status=413,
            ) from None
