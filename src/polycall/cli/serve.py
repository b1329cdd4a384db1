"""`polycall serve`: the gateway."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from msgspec.structs import replace

from polycall._support import core_dumps
from polycall.config import WORKERS_MAX, Config, default_path, environment_config, load_config
from polycall.errors import ConfigError, RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Serve OpenAI, Anthropic and Gemini clients, whatever provider is behind a model's "
        "name. Every mistake in the configuration is reported with its line before anything "
        "starts. SIGTERM and Ctrl-C finish what is in flight first."
    )
    parser.epilog = "Example: polycall serve --config polycall.toml --port 8080"
    parser.add_argument(
        "--config",
        type=Path,
        help="default: polycall.toml; without one, the providers whose keys are in the environment",
    )
    parser.add_argument("--host", help="address to bind; beyond loopback it needs keys")
    parser.add_argument("--port", type=int, help="port, 0 for any")
    parser.add_argument(
        "--workers",
        type=int,
        choices=range(1, WORKERS_MAX + 1),
        metavar="N",
        help="processes that serve, default 1",
    )
    parser.add_argument(
        "--check", action="store_true", help="check the configuration, start nothing"
    )
    parser.add_argument(
        "--console", action="store_true", help="print a link that opens the console, once"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal."""

    path: Path | None = options.config or default_path()

    def load() -> Config:
        return _overridden(environment_config() if path is None else load_config(path), options)

    try:
        config = load()
    except ConfigError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return 1
    from polycall.gateway.observability.logs import start_logging  # noqa: PLC0415 - `--help` needs none of it
    from polycall.gateway.processes import server  # noqa: PLC0415 - `--help` needs none of it
    from polycall.gateway.processes.binding import check_binding, check_extras, check_workers  # noqa: PLC0415 - `--help` needs none of it

    check_binding(config, config.server.host)
    check_workers(config)
    check_extras(config)
    if options.check:
        print(f"{path or 'the environment'}: no mistakes")
        return 0
    core_dumps.forbid()
    start_logging(config)

    secret = _console_secret(config) if options.console else ""

    def announce(port: int) -> None:
        host = config.server.host
        shown = f"[{host}]" if ":" in host else host
        told = "" if path else f" for {', '.join(config.provider_keys)} (no polycall.toml here)"
        print(f"polycall gateway on http://{shown}:{port}{told}", flush=True)
        if secret:
            from polycall.cli.console import link_of  # noqa: PLC0415 - for this option alone

            # Other addresses than loopback are not answered unless [admin] says so.
            reached = shown if config.admin.remote else "127.0.0.1"
            own = config.admin.origin or f"http://{reached}:{port}"
            print(f"console: {link_of(own, secret)}", flush=True)

    from polycall.admin import Administration  # noqa: PLC0415 - `--help` needs none of it

    server.run(config, load, announce=announce, administer=Administration)
    return 0


def _console_secret(config: Config) -> str:
    from polycall.cli.console import new_link  # noqa: PLC0415 - for one option alone
    from polycall.gateway.store import open_store  # noqa: PLC0415 - `--help` needs none of it

    store_settings = config.store
    if store_settings.url in ("sqlite:", "sqlite://", "sqlite:///"):
        raise RequestError("--console needs a store that is a file or a database")

    async def made() -> str:
        store = open_store(store_settings.url, config.folder, spool=store_settings.spool)
        try:
            return (await new_link(store))[1]
        finally:
            await store.close()

    return asyncio.run(made())


def _overridden(config: Config, options: argparse.Namespace) -> Config:
    own = config.server
    if options.host is not None:
        own = replace(own, host=options.host)
    if options.port is not None:
        own = replace(own, port=options.port)
    if options.workers is not None:
        own = replace(own, workers=options.workers)
    return replace(config, server=own)
