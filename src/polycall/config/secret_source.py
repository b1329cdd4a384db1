"""The source of a secret in the configuration: the text itself, or `env:`, `file:`, `cmd:`."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from threading import Thread

COMMAND_S = 10.0
SECRET_BYTES_MAX = 64 * 1024
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
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
        secret = data.decode("utf-8").strip()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}: {str(path)!r}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file is not text: {str(path)!r}") from None
    if len(data) > SECRET_BYTES_MAX:
        raise ValueError(f"the file has more than {SECRET_BYTES_MAX} bytes: {str(path)!r}")
    if not secret:
        raise ValueError(f"the file is empty: {str(path)!r}")
    return secret


def _of_command(command: str) -> str:
    try:
        words = shlex.split(command)
        if not words:
            raise ValueError("the command is empty")
        status, data = _printed(words)
    except OSError as error:
        raise ValueError(f"the command cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"the command did not end within {COMMAND_S:g} s") from None
    if len(data) > SECRET_BYTES_MAX:
        raise ValueError(f"the command printed more than {SECRET_BYTES_MAX} bytes")
    if status != 0:
        # What it printed may hold the secret.
        raise ValueError(f"the command ended with status {status}; run it by hand")
    secret = data.decode("utf-8", "replace").strip()
    if not secret:
        raise ValueError("the command printed nothing")
    return secret


def _printed(words: list[str]) -> tuple[int, bytes]:
    """A command's status, and what it printed: one byte over the bound where it was more."""
    process = subprocess.Popen(  # noqa: S603 - the operator's own command
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pipe = process.stdout
    assert pipe is not None
    found = bytearray()

    def read() -> None:
        with pipe:  # closed, a command that continues printing ends
            while len(found) <= SECRET_BYTES_MAX:
                piece = os.read(pipe.fileno(), SECRET_BYTES_MAX + 1 - len(found))
                if not piece:
                    return
                found.extend(piece)

    reader = Thread(target=read, daemon=True)
    reader.start()
    try:
        status = process.wait(COMMAND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    reader.join(1.0)  # a process that the command left behind may hold the pipe
    return status, bytes(found)
