"""`polycall config`: the JSON Schema of polycall.toml, and a check of one file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from polycall.config import CONFIG_NAME, default_path, load_config
from polycall.errors import RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = "Print the JSON Schema of polycall.toml, or check a file."
    parser.epilog = "Example: polycall config schema > polycall.schema.json"
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    schema = actions.add_parser(
        "schema",
        help="print the JSON Schema, for editors",
        description="Print the JSON Schema of polycall.toml (draft 2020-12).",
        epilog=(
            "Example: polycall config schema > polycall.schema.json, and as the first line of "
            "polycall.toml: #:schema ./polycall.schema.json"
        ),
    )
    schema.set_defaults(run=_schema)
    check = actions.add_parser(
        "check",
        help="read a file and report every mistake with its line",
        description=(
            "Read a configuration as `polycall serve` does and report every mistake with its line. "
            "Values behind env:, file: and cmd: are read too."
        ),
        epilog="Example: polycall config check deploy/polycall.toml",
    )
    check.add_argument("file", nargs="?", type=Path, help=f"default: {CONFIG_NAME}")
    check.set_defaults(run=_check)


def _schema(options: argparse.Namespace) -> int:
    from polycall.config.schema import config_schema  # noqa: PLC0415 - `--help` needs none of it

    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
    return 0


def _check(options: argparse.Namespace) -> int:
    path: Path | None = options.file or default_path()
    if path is None:
        raise RequestError(f"there is no {CONFIG_NAME} in this folder; name a file")
    config = load_config(path)
    print(f"{path}: {len(config.named)} providers, {len(config.models)} models; no mistakes")
    return 0
