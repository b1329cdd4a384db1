"""`polycall import`: another gateway's configuration as one of ours."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from polycall._support.private_files import write_private
from polycall.cli.importing import litellm, portkey
from polycall.cli.importing.found import toml
from polycall.config import parse_config
from polycall.errors import ConfigError, RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Write a configuration for `polycall serve` from another gateway's. Keys stay "
        "references to environment variables; those that stand in the file in clear are not "
        "copied. What has no counterpart is listed on standard error and at the end of the "
        "file written."
    )
    parser.epilog = "Example: polycall import litellm config.yaml --out polycall.toml"
    parser.add_argument("kind", choices=("litellm", "portkey"), help="whose configuration it is")
    parser.add_argument("file", type=Path, help="LiteLLM's config.yaml, or a Portkey config")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("polycall.toml"),
        help="default: polycall.toml; - prints it",
    )
    parser.add_argument(
        "--name", default="", help="the alias of a Portkey config; default: its file"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, write, and list what is not there."""
    source: Path = options.file
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{source} cannot be read: {error}") from None
    if options.kind == "litellm":
        found = litellm.read(text, source.name)
    else:
        found = portkey.read(text, source.name, options.name or source.stem)
    written = toml(found)
    _check(written)
    if str(options.out) == "-":
        print(written, end="")
    else:
        _write(options.out, written, force=options.force)
        print(
            f"{options.out}: {len(found.providers)} providers, {len(found.models)} aliases; "
            f"next: polycall serve --config {options.out} --check"
        )
    if found.notes:
        print(f"{len(found.notes)} things have no counterpart or differ:", file=sys.stderr)
        for line in found.notes:
            print(f"  {line}", file=sys.stderr)
    return 0


def _check(written: str) -> None:
    """Raise where what was made is not a configuration: then the mistake is ours or the file's."""
    try:
        parse_config(written, environment=_AnyVariable())
    except ConfigError as error:
        raise RequestError(
            "the configuration cannot be expressed: " + "; ".join(error.mistakes)
        ) from None


class _AnyVariable(dict[str, str]):
    """An environment in which every variable is set: nobody's keys are needed to check a file."""

    def get(self, key: str, default: Any = None) -> Any:
        del default
        return "postgresql://any" if key == "DATABASE_URL" else f"any-{key}"

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return str(self.get(key))


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        write_private(path, text.encode(), os.O_TRUNC if force else os.O_EXCL)
    except FileExistsError:
        raise RequestError(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error}") from None
