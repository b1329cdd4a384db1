"""The process of a session: locks itself in, says that it is ready, and runs what it is sent."""

from __future__ import annotations

import base64
import importlib
import os
import socket
import sys

# asyncio would load OpenSSL, which nothing without a network needs.
sys.modules["ssl"] = None  # pyright: ignore[reportArgumentType]

# asyncio itself is loaded with `program`; the rest are the modules that programs commonly use,
# loaded before they arrive.
for _name in ("collections", "dataclasses", "functools", "itertools", "json", "math", "re"):
    importlib.import_module(_name)

from . import lockdown  # noqa: E402
from .channel import Channel  # noqa: E402
from .clock import Determinism  # noqa: E402
from .program import Session  # noqa: E402

del sys.modules["ssl"]


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    channel = Channel(connection)
    setup = channel.read()
    lockdown.refuse_root()
    lockdown.clear_environment()
    lockdown.set_limits(setup["limits"])
    sys.path[:0] = setup["path"]
    determinism = Determinism()
    determinism.install()
    session = Session(channel, determinism)
    lockdown.restrict_files()
    lockdown.apply_filter(base64.b64decode(setup["filter"]))
    session.rehearse()
    channel.put({"type": "ready"})
    channel.flush()
    while True:
        frame = channel.read()
        if frame["type"] == "begin":
            determinism.begin(began=frame["began"], seed=frame["seed"])
        else:
            session.run(frame)


main()
