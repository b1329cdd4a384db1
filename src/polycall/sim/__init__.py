"""Simulated vendors: real HTTP servers on the loopback, as strict as the real ones.

This is a simulation: no language model here.  It speaks the wire formats of OpenAI (Chat and
Responses), Anthropic, Gemini and DeepSeek, and of a "compatible" server with bad habits; it
refuses what they refuse and checks that reasoning state comes back as it was given.  It reads
and writes the wire itself and shares no translation code with the rest of polycall, so that a
mistake there cannot hide here.

    async with Simulation() as sim:
        sim.script("anthropic", "my-model", [Turn(calls=[Call("get_weather", {"city": "서울"})])])
        client = AsyncAnthropic(base_url=sim.base_url("anthropic"), api_key="any")
"""

from polycall.sim.app import Recorded
from polycall.sim.script import Call, CallTool, Failure, Program, Prompt, Turn
from polycall.sim.server import CLOUDS, LENIENT, VENDORS, Simulation, base_url, serve
from polycall.sim.telephone.caller import Caller
from polycall.sim.vendors.relatives import RELATIVES

__all__ = [
    "CLOUDS",
    "LENIENT",
    "RELATIVES",
    "VENDORS",
    "Call",
    "CallTool",
    "Caller",
    "Failure",
    "Program",
    "Prompt",
    "Recorded",
    "Simulation",
    "Turn",
    "base_url",
    "serve",
]
