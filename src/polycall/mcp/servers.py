"""Which MCP servers there are: said by hand, or read from an `mcpServers` file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from polycall._support import jsontext
from polycall.errors import ConfigError, RequestError
from polycall.ir import JSON

# Which tools are marked to need a person's approval: by what the server says of them, or by name.
AskFor: TypeAlias = Literal["nothing", "destructive", "writes", "everything"] | Sequence[str]

_ASK_FOR = ("nothing", "destructive", "writes", "everything")
# An underscore parts the server's name from the tool's: there is none in the former, so that
# no two servers can come to the same name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class _Server:
    """What every server has.

    Its tools are called `name_tool`; `prefix` says something else, or nothing (`""`).  `ask_for`
    marks tools that need approval: those that do not deny that they may destroy, those that do not
    say they only read, all, or those that it names.  What a server says of its tools is its word,
    and no proof.
    `allowed_callers` and `deadline_s` hold for each of its tools; `connect_s` bounds the start.
    Where a server is not `required`, the others are used without it.
    """

    name: str
    _: KW_ONLY
    prefix: str | None = None
    ask_for: AskFor = "nothing"
    allowed_callers: Sequence[str] = ()
    deadline_s: float | None = None
    connect_s: float = 30.0
    required: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RequestError(
                f"{self.name!r} cannot be the name of an MCP server: up to 32 letters, digits "
                "and hyphens"
            )
        if isinstance(self.ask_for, str) and self.ask_for not in _ASK_FOR:
            raise RequestError(
                f"ask_for of {self.name!r} is {', '.join(_ASK_FOR)}, or a list of tools' names; "
                f"not {self.ask_for!r}"
            )

    @property
    def names_start(self) -> str:
        """What the names of its tools begin with."""
        return f"{self.name}_" if self.prefix is None else self.prefix


@dataclass(frozen=True)
class StdioServer(_Server):
    """A program that is started, and speaks on its standard input and output.

    It gets `env`, and of our own environment only what holds no secrets: PATH, HOME, the
    language, and the like.
    """

    command: Sequence[str] = field(kw_only=True)
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False, kw_only=True)
    cwd: str | Path | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.command, str) or not self.command:
            raise RequestError(f"the command of {self.name!r} is a list of words: ['uvx', 'x']")


@dataclass(frozen=True)
class HttpServer(_Server):
    """A server that is there already, at an address (streamable HTTP)."""

    url: str = field(kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url.startswith(("http://", "https://")):
            raise RequestError(
                f"the address of {self.name!r} is a URL: https://..., not {self.url!r}"
            )


Server: TypeAlias = StdioServer | HttpServer

_STDIO = {"command", "args", "env", "cwd"}
_HTTP = {"url", "headers"}


def load_servers(path: str | Path, environment: Mapping[str, str] | None = None) -> list[Server]:
    """The servers of a file with `{"mcpServers": {NAME: {...}}}`, as many programs keep it.

    `command`, `args`, `env` and `cwd` describe a program, `url` and `headers` an address.
    `${NAME}` and `${NAME:-else}` stand for variables of the environment.  All mistakes are
    reported at once.
    """
    file = Path(path)
    try:
        value = jsontext.decode(file.read_bytes())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except ValueError as error:
        raise ConfigError([f"{path}: not JSON: {error}"]) from None
    table = value.get("mcpServers") if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(table, dict):
        raise ConfigError([f'{path}: no object "mcpServers"'])
    mistakes: list[str] = []
    found: list[Server] = []
    known = os.environ if environment is None else environment
    for name, entry in cast("dict[str, Any]", table).items():
        if not isinstance(entry, dict):
            mistakes.append(f"{path}: mcpServers.{name}: not an object")
            continue
        made = cast("JSON", entry)
        try:
            if not made.get("disabled", False):
                found.append(_server(name, made, known))
        except RequestError as error:
            mistakes.append(f"{path}: mcpServers.{name}: {error}")
    if mistakes:
        raise ConfigError(mistakes)
    return found


def _server(name: str, entry: JSON, environment: Mapping[str, str]) -> Server:
    kind = entry.get("type", "stdio" if "command" in entry else "http")
    if kind not in ("stdio", "http", "streamable-http"):
        raise RequestError(f"the transport {kind!r} is not spoken here; there are stdio and http")
    wanted = _STDIO if kind == "stdio" else _HTTP
    unknown = sorted(set(entry) - wanted - {"type", "disabled"})
    if unknown:
        raise RequestError(f"unknown {', '.join(unknown)}; there are {', '.join(sorted(wanted))}")

    def text(value: Any) -> str:
        if not isinstance(value, str):
            raise RequestError(f"{value!r} is not a string")
        return _VARIABLE.sub(lambda match: _variable(match, environment), value)

    def texts(key: str) -> dict[str, str]:
        table = entry.get(key, {})
        if not isinstance(table, dict):
            raise RequestError(f"{key} is not an object")
        return {each: text(inner) for each, inner in cast("JSON", table).items()}

    if kind == "stdio":
        words = entry.get("args", [])
        if not isinstance(words, list):
            raise RequestError("args is not a list")
        command = [text(word) for word in [entry.get("command"), *cast("list[Any]", words)]]
        cwd = text(entry["cwd"]) if "cwd" in entry else None
        return StdioServer(name, command=command, env=texts("env"), cwd=cwd)
    return HttpServer(name, url=text(entry.get("url")), headers=texts("headers"))


def _variable(match: re.Match[str], environment: Mapping[str, str]) -> str:
    name: str = match[1]
    otherwise: str | None = match[2]
    value = environment.get(name, otherwise)
    if value is None:
        raise RequestError(f"the variable {name} is not set")
    return value
