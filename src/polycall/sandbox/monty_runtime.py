"""The tier `monty` (being written)."""

from .errors import RuntimeUnavailable
from .limits import Limits


class MontyRuntime:
    name = "monty"
    notes = ""

    def __init__(self, *, pool=2): ...
    async def start(self, limits: Limits):
        raise RuntimeUnavailable("not yet")

    async def open(self, *, began, seed):
        raise RuntimeUnavailable("x")

    async def close(self): ...
