"""What every example begins with: a model by name, real where a key is set, else simulated.

`--model provider/name` (or POLYCALL_MODEL) chooses it.  Where the provider's key is not in the
environment, the provider is simulated on this machine: real HTTP in the vendor's own protocol, and
a model that says the lines in the example's `PLAY`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from polycall import Client
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import VENDORS, Simulation, Turn

DEFAULT = "openai/gpt-5.4"


def chosen_model() -> str:
    """The model's name, from the command line or the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=os.environ.get("POLYCALL_MODEL", DEFAULT))
    return parser.parse_args().model


@asynccontextmanager
async def start(play: Sequence[Turn]) -> AsyncIterator[tuple[str, Client]]:
    """The model's name and a client for it."""
    model = chosen_model()
    vendor, _, name = model.partition("/")
    row = CATALOGUE.get(vendor, replace(CATALOGUE["arouter"], name=vendor))
    if vendor not in VENDORS or any(os.environ.get(key) for key in row.key_variables):
        async with Client() as client:
            yield model, client
        return
    with Simulation() as simulation:
        simulation.script(vendor, name, play)
        row = replace(row, base_url=simulation.base_url(vendor))
        async with Client(providers=[row], keys={vendor: "any"}) as client:
            yield model, client
