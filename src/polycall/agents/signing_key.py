"""The key that signs paused runs where nobody gives one: a file of this user's."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from polycall._support.private_files import is_private, open_private
from polycall.errors import RequestError

VARIABLE = "POLYCALL_SIGNING_KEY_FILE"
_BYTES = 32
_WAIT_S = 5.0


def key_path() -> Path:
    """The path of the key: `POLYCALL_SIGNING_KEY_FILE`, or in the user's folder for state."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    try:
        folder = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError as error:  # a user without a home
        raise RequestError(_advice(str(error))) from None
    return folder / "polycall" / "signing.key"


def signing_key() -> bytes:
    """The key, made on first use; `RequestError` where it cannot be made or read."""
    path = key_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = open_private(path, os.O_WRONLY | os.O_EXCL)
        except FileExistsError:
            return _read(path)
        with os.fdopen(descriptor, "wb") as file:
            key = secrets.token_bytes(_BYTES)
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RequestError(_advice(f"{str(path)!r}: {error.strerror}")) from None
    return key


def _read(path: Path) -> bytes:
    if not is_private(path):
        raise RequestError(
            f"others may read the signing key {str(path)!r}; make it private (chmod 600), or "
            "delete it: a new one is made, and what the old one signed is refused"
        )
    ends_at = time.monotonic() + _WAIT_S
    while True:
        key = path.read_bytes()
        if len(key) == _BYTES:
            return key
        # Another process has made the file and not written it yet.
        if time.monotonic() > ends_at:
            raise RequestError(
                f"{str(path)!r} is not a signing key: {len(key)} bytes instead of {_BYTES}; "
                "delete it, or give a secret"
            )
        time.sleep(0.01)


def _advice(what: str) -> str:
    return f"there is no key to sign paused runs with: {what}; give a secret, or set {VARIABLE}"
