"""`polycall sim`: the simulated providers as a server, for anyone's tests."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from polycall.sim import VENDORS, base_url, serve


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "sim",
        help="serve simulated providers on this machine, for tests",
        description=(
            "Serve simulated providers on loopback: OpenAI, Anthropic, Google, DeepSeek and an "
            "OpenAI-compatible server. They speak the vendors' protocols and refuse what the "
            "vendors refuse. This is a simulation: there is no language model in it. The model "
            "'sim-1' follows simple rules (tools chosen by words, arguments from the text)."
        ),
        epilog="Example: polycall sim --port 9000, then point an SDK at the printed address.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    parser.add_argument("--port", type=int, default=9000, help="port (default: 9000)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    root = f"http://{options.host}:{options.port}"
    print("simulated providers (no language model inside); any key works; Ctrl-C ends")
    for vendor in VENDORS:
        print(f"  {vendor:<12} {base_url(root, vendor)}", flush=True)
    asyncio.run(serve(options.host, options.port))
    return 0
