"""Random agents against the strict prefix check: `python -m bench.append --traces 10000`.

Each trace is an agent of a kind (a tree of tools, written tools, memory, handoffs, a delegate,
programs, compaction, a fallback, an edited history) with a simulated model of Claude's that refuses
or drops thinking whose beginning has changed.  Half of the traces are the library's, the others go
through the gateway, whose client is the library again, over one of its four protocols.

Printed are the blocks of thinking that the simulated vendor found not to fit (there must be none),
those that were sent back and fitted, and the share of input tokens that were read from the cache, of
those that an earlier step of the run had sent.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall import Client
from polycall.agents import Agent, Compaction, Handoff, Memory, ToolTree, WrittenTools
from polycall.config import parse_config
from polycall.gateway import serving
from polycall.ir import Message, Text
from polycall.providers.catalogue import CATALOGUE
from polycall.sandbox import Sandbox
from polycall.sim import Call, Simulation, Turn
from polycall.sim.vendors import anthropic_history, anthropic_thinking

MODEL = "claude-fable-5-2"
PROTOCOLS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
}
KINDS = (
    *("plain", "tree", "written", "memory", "handoff", "delegate"),
    *("programs", "compaction", "fallback", "edited", "instructions"),
)
_HEAD = "Answer in the tone of the house: short, exact, friendly. "
