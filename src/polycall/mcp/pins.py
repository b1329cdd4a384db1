"""Pins: each definition of a server as it was when somebody last looked at it.

A server may change what a tool says of itself at any time, after it was trusted: the description is
an instruction to the model.  So definitions are kept as hashes, and what differs is told.  The same
holds for prompts, for templates of resources' addresses, and for the server's instructions.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import RequestError, StoreError
from polycall.ir import JSON

What: TypeAlias = Literal["tool", "prompt", "template", "instructions"]

# `request` is of an OpenAPI document's operation: what is sent for a call of it.
_PARTS: dict[What, tuple[str, ...]] = {
    "tool": ("title", "description", "inputSchema", "outputSchema", "annotations", "request"),
    "prompt": ("title", "description", "arguments"),
    "template": ("title", "description", "uriTemplate", "mimeType", "annotations"),
    "instructions": ("text",),
}
KINDS: tuple[What, ...] = get_args(What)

# The parts of a definition, each as the beginning of its hash, and the whole of it as `hash`.
Pin: TypeAlias = dict[str, str]


class Notice(Struct, frozen=True):
    """Something about a server's tools that somebody should look at.

    `changed`: the definition is not the pinned one, and `parts` are what differs.  `new`: it was
    not there when the server was pinned.  `removed`: it is there no more.  `unusable`: no tool
    can be made of it.  `suspicious`: it was never pinned, and something in it should be looked at.
    `withheld` tools are not offered to models and cannot be called.  `what` is whether `tool` names
    one, or a prompt, a template, or the server's instructions.
    """

    server: str
    tool: str
    kind: Literal["changed", "new", "removed", "unusable", "suspicious"]
    parts: tuple[str, ...] = ()
    withheld: bool = False
    reason: str = ""
    what: What = "tool"

    def __str__(self) -> str:
        said = {
            "changed": f"its definition is not the pinned one ({', '.join(self.parts)})",
            "new": f"it was not there when the server's {plural(self.what)} were pinned",
            "removed": "it is pinned, and the server has it no more",
            "unusable": self.reason,
            "suspicious": self.reason,
        }[self.kind]
        outcome = "; it is withheld" if self.withheld else ""
        todo = "; look at it, then 'polycall mcp pin' takes it" if self.kind != "unusable" else ""
        named = self.what if self.what == "instructions" else f"{self.what} {self.tool[:200]!r}"
        return f"MCP server {self.server!r}, {named}: {said}{outcome}{todo}"


def plural(what: What) -> str:
    """The word for several of a kind."""
    return what if what.endswith("s") else f"{what}s"


def place_of(server: str, what: What) -> str:
    """Under which name a server's pins of this kind are kept; no server's name has a slash."""
    return server if what == "tool" else f"{server}/{plural(what)}"


def pin_of(definition: JSON, what: What = "tool") -> Pin:
    """The hashes of a definition as the protocol has it; its name is where the pin is kept."""
    parts = _PARTS[what]
    kept = {part: definition[part] for part in parts if definition.get(part) not in (None, {}, "")}
    hashes = {part: _hash(value)[:16] for part, value in kept.items()}
    return {"hash": f"sha256:{_hash({**kept, 'name': definition['name']})}", **hashes}


def difference(old: Pin, new: Pin) -> tuple[str, ...]:
    """The parts that are not the same; nothing where the definitions are."""
    if old.get("hash") == new["hash"]:
        return ()
    known = dict.fromkeys(part for parts in _PARTS.values() for part in parts)
    return tuple(part for part in known if old.get(part) != new.get(part)) or ("hash",)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class PinStore(Protocol):
    """A store of pins."""

    def load(self, server: str) -> dict[str, Pin] | None:
        """A server's pins by name (`place_of` says where); `None` where it was never pinned."""
        ...

    def save(self, server: str, pins: Mapping[str, Pin]) -> None:
        """Keep these, and no others, for the server."""
        ...


class MemoryPins:
    """Pins for as long as the process lives."""

    def __init__(self) -> None:
        self._servers: dict[str, dict[str, Pin]] = {}

    def load(self, server: str) -> dict[str, Pin] | None:
        return self._servers.get(server)

    def save(self, server: str, pins: Mapping[str, Pin]) -> None:
        self._servers[server] = dict(pins)


class _Lock(Struct):
    """The file as it is written."""

    servers: dict[str, dict[str, Pin]] = {}
    version: Literal[1] = 1


class PinFile:
    """Pins in a JSON file that belongs in version control, like any lock file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self, server: str) -> dict[str, Pin] | None:
        return self._read().servers.get(server)

    def save(self, server: str, pins: Mapping[str, Pin]) -> None:
        lock = self._read()
        lock.servers[server] = {name: dict(pins[name]) for name in sorted(pins)}
        lock.servers = dict(sorted(lock.servers.items()))
        text = msgspec.json.format(jsontext.encode(lock), indent=2) + "\n"
        folder = self.path.absolute().parent
        try:
            number, name = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.")
            try:
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    file.write(text)
                Path(name).chmod(0o644)
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(f"the pins cannot be written to {self.path}: {error}") from None

    def _read(self) -> _Lock:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_Lock)
        except FileNotFoundError:
            return _Lock()
        except OSError as error:
            raise StoreError(f"the pins cannot be read from {self.path}: {error}") from None
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            # Never as if there were none: that would pin anew whatever is served now.
            raise RequestError(f"{self.path} is not a file of pins: {error}") from None
