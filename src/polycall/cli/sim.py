"""`polycall sim`: the simulated providers as a server, alone or for one command."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, cast

from polycall.cli import sim_diff
from polycall.cli.sim_diff import day
from polycall.config import CONFIG_NAME, CONFIG_VARIABLE, default_path
from polycall.errors import RequestError
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import CLOUDS, LENIENT, RELATIVES, VENDORS, Simulation, base_url, serve
from polycall.sim.dated import READ_ON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Serve simulated providers on loopback: OpenAI, Anthropic, Google, DeepSeek and an "
        "OpenAI-compatible server. They speak the vendors' protocols and refuse what the "
        "vendors refuse. This is a simulation: there is no language model in it. The model "
        "'sim-1' follows simple rules (tools chosen by words, arguments from the text). With "
        "a command, polycall in it finds these providers instead of the real ones and needs "
        "no keys. The vendors' own models are known by name, each with what it refuses on "
        "that day; every provider that polycall knows is there, and so are the aliases of "
        "polycall.toml."
    )
    parser.epilog = (
        "Example: polycall sim python agent.py; polycall sim polycall serve; "
        "or polycall sim --port 9000, then point an SDK at the printed address."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    parser.add_argument("--port", type=int, help="port (default: 9000, for a command any free one)")
    parser.add_argument(
        "--as-of",
        type=day,
        metavar="DAY",
        help=f"answer as the vendors did on this day, YYYY-MM-DD (default: {READ_ON}, the last "
        "on which their rules were read)",
    )
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        help="what to run, with its arguments; `diff REQUESTS --as-of A B` compares two days",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or until the command is over."""
    if options.command[:1] == ["diff"]:
        return sim_diff.run(options.command[1:])
    port = options.port
    if port is None:
        port = 0 if options.command else 9000
    try:
        if not options.command:
            return _serve(options.host, port, options.as_of)
        simulation = Simulation(
            host=options.host, port=port, any_model=LENIENT, as_of=options.as_of
        )
    except OSError as error:
        why = error.strerror or error
        raise RequestError(f"cannot listen on {options.host}:{port}: {why}") from None
    return _run_command(options.command, simulation)


def _serve(host: str, port: int, as_of: datetime.date | None) -> int:
    def announce() -> None:
        print("simulated providers (no language model inside); any key works; Ctrl-C ends")
        for vendor in VENDORS:
            url = base_url(f"http://{host}:{port}", vendor)
            print(f"  {vendor:<12} {url}", flush=True)

    asyncio.run(serve(host, port, as_of=as_of, announce=announce))
    return 0


def _run_command(command: list[str], simulation: Simulation) -> int:
    """The command's own status."""
    with simulation, tempfile.TemporaryDirectory(prefix="polycall-sim-") as folder:
        config = Path(folder) / CONFIG_NAME
        config.write_text(_config(simulation), encoding="utf-8")
        # `python` and `polycall` are those of this installation, also where it is not activated.
        own = str(Path(sys.executable).parent)
        path = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])
        environment = {**os.environ, CONFIG_VARIABLE: str(config), "PATH": path}
        program = shutil.which(command[0], path=path) or command[0]
        try:
            process = subprocess.Popen([program, *command[1:]], env=environment)  # noqa: S603 - the user's own
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
    """Every provider by its name, the user's aliases, and the store where it is otherwise."""
    store = Path("polycall.db").resolve()
    tables = [f"[store]\nurl = {json.dumps(f'sqlite:///{store}')}\n"]
    own = _own_tables()
    named: dict[str, Any] = own.get("providers", {})
    for name in dict.fromkeys([*VENDORS, *CATALOGUE, *named]):
        dialect = _dialect(name, named.get(name))
        is_own = name in (*VENDORS, *CLOUDS, *RELATIVES)
        if not is_own and dialect not in _SPEAKING:
            continue  # no simulated vendor speaks it
        said = "" if name in CATALOGUE else f"dialect = {json.dumps(dialect)}\n"
        url = simulation.base_url(name if is_own else _SPEAKING[dialect])
        tables.append(
            f"[providers.{json.dumps(name)}]\n{said}base_url = {json.dumps(url)}\n"
            'api_key = "simulated"\n'
        )
    models: dict[str, Any] = own.get("models", {})
    if models:
        lines = (f"{json.dumps(name)} = {_toml(value)}\n" for name, value in models.items())
        tables.append("[models]\n" + "".join(lines))
    return "".join(tables)


# Which simulated vendor speaks for a provider of somebody's own.
_SPEAKING = {
    "anthropic": "anthropic",
    "gemini": "google",
    "openai-responses": "openai",
    "openai-chat": "relatives",
    "bedrock-converse": "bedrock",
    "gemini-interactions": "google-interactions",
    "ollama-chat": "ollama-native",
}


def _dialect(name: str, table: Any) -> str:
    if isinstance(table, dict) and "dialect" in table:
        return str(cast("dict[str, Any]", table)["dialect"])
    return CATALOGUE[name].dialect if name in CATALOGUE else "openai-chat"


def _own_tables() -> dict[str, Any]:
    """The user's configuration as it is written; empty where there is none."""
    path = default_path()
    if path is None or not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be read: {error}") from None


def _toml(value: Any) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in cast("list[Any]", value)) + "]"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)
