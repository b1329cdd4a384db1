"""`polycall sim`: the simulated providers as a server, alone or for one command."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from polycall.config import CONFIG_NAME, CONFIG_VARIABLE
from polycall.errors import RequestError
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import VENDORS, Simulation, base_url, serve


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "sim",
        help="simulated providers on this machine: for a command, or as a server",
        description=(
            "Serve simulated providers on loopback: OpenAI, Anthropic, Google, DeepSeek and an "
            "OpenAI-compatible server. They speak the vendors' protocols and refuse what the "
            "vendors refuse. This is a simulation: there is no language model in it. The model "
            "'sim-1' follows simple rules (tools chosen by words, arguments from the text). With "
            "a command, polycall in it finds these providers instead of the real ones, needs no "
            "keys, and every model's name follows the rules of sim-1."
        ),
        epilog=(
            "Example: polycall sim python agent.py; polycall sim polycall serve; "
            "or polycall sim --port 9000, then point an SDK at the printed address."
        ),
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    parser.add_argument("--port", type=int, help="port (default: 9000, for a command any free one)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run, with its arguments")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or until the command is over."""
    port = options.port
    if port is None:
        port = 0 if options.command else 9000
    try:
        if not options.command:
            return _serve(options.host, port)
        simulation = Simulation(host=options.host, port=port, any_model=True)
    except OSError as error:
        why = error.strerror or error
        raise RequestError(f"cannot listen on {options.host}:{port}: {why}") from None
    return _run_command(options.command, simulation)


def _serve(host: str, port: int) -> int:
    def announce() -> None:
        print("simulated providers (no language model inside); any key works; Ctrl-C ends")
        for vendor in VENDORS:
            url = base_url(f"http://{host}:{port}", vendor)
            print(f"  {vendor:<12} {url}", flush=True)

    asyncio.run(serve(host, port, announce=announce))
    return 0


def _run_command(command: list[str], simulation: Simulation) -> int:
    """The command's own status."""
    with simulation, tempfile.TemporaryDirectory(prefix="polycall-sim-") as folder:
        config = Path(folder) / CONFIG_NAME
        config.write_text(_config(simulation), encoding="utf-8")
        environment = {**os.environ, CONFIG_VARIABLE: str(config)}
        try:
            process = subprocess.Popen(command, env=environment)  # noqa: S603 - the user's own
        except OSError as error:
            raise RequestError(f"cannot run {command[0]!r}: {error.strerror}") from None

        def stop(*_: object) -> None:
            process.terminate()

        signal.signal(signal.SIGTERM, stop)
        while True:
            try:
                status = process.wait()
            except KeyboardInterrupt:
                continue  # the command got it too, and ends in its own way
            return status if status >= 0 else 128 - status


def _config(simulation: Simulation) -> str:
    """Every simulated provider by its name, and the store where it is without simulation."""
    store = Path("polycall.db").resolve()
    tables = [f"[store]\nurl = {json.dumps(f'sqlite:///{store}')}\n"]
    for vendor in VENDORS:
        dialect = "" if vendor in CATALOGUE else 'dialect = "openai-chat"\n'
        url = simulation.base_url(vendor)
        tables.append(f'[providers.{vendor}]\n{dialect}base_url = "{url}"\napi_key = "simulated"\n')
    return "".join(tables)
