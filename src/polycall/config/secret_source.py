"""Where a secret of the configuration comes from: written there, or `env:`, `file:`, `cmd:`."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

COMMAND_S = 10.0
_REREADABLE = ("file:", "cmd:")


def is_rereadable(text: str) -> bool:
    """Whether reading it again may give another secret."""
    return text.startswith(_REREADABLE)


def read_secret(text: str, environment: Mapping[str, str], folder: Path) -> str:
    """The secret; `ValueError` says why it is missing, without anything of the secret.

    A file's name is relative to `folder`.  A command is run without a shell.
    """
    kind, colon, rest = text.partition(":")
    match kind if colon else "":
        case "env":
            secret = environment.get(rest, "")
            if not secret:
                raise ValueError(f"the environment variable {rest!r} is not set")
        case "file":
            secret = _of_file(folder / rest)
        case "cmd":
            secret = _of_command(rest)
        case _:
            secret = text
            if not secret:
                raise ValueError("is empty")
    return secret


def _of_file(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}: {str(path)!r}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file is not text: {str(path)!r}") from None
    if not secret:
        raise ValueError(f"the file is empty: {str(path)!r}")
    return secret


def _of_command(command: str) -> str:
    try:
        words = shlex.split(command)
        if not words:
            raise ValueError("the command is empty")
        ended = subprocess.run(  # noqa: S603 - the operator's own command
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
    except OSError as error:
        raise ValueError(f"the command cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"the command did not end within {COMMAND_S:g} s") from None
    if ended.returncode != 0:
        # What it printed may hold the secret.
        raise ValueError(f"the command ended with status {ended.returncode}; run it by hand")
    secret = ended.stdout.decode("utf-8", "replace").strip()
    if not secret:
        raise ValueError("the command printed nothing")
    return secret
