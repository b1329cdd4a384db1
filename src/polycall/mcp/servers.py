"""Which MCP servers there are: said by hand, or read from an `mcpServers` file."""

from __future__ import annotations

import codecs
import inspect
import logging
import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from polycall._support import jsontext
from polycall.errors import ConfigError, RequestError
from polycall.ir import JSON
from polycall.mcp.listing import LIST_BYTES_MAX, LIST_ITEMS_MAX, ListBounds
from polycall.tools.problems import near_miss

if TYPE_CHECKING:
    import httpx2

    from polycall.mcp.oauth import OAuth

logger = logging.getLogger("polycall.mcp")

# Which tools are marked to need a person's approval: by what the server says of them, or by name.
# Headers, or what gives them for each request: a token that is renewed, say.
Headers: TypeAlias = (
    "Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]"
)
AskFor: TypeAlias = Literal["nothing", "destructive", "writes", "everything"] | Sequence[str]

_ASK_FOR = ("nothing", "destructive", "writes", "everything")
# An underscore parts the server's name from the tool's; two servers whose tools come to the same
# name all the same are refused when their tools are put together.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class _Server:
    """The settings of every server.

    Its tools are called `name_tool`; `prefix` says something else, or nothing (`""`).  `ask_for`
    marks tools that need approval: those that do not deny that they may destroy, those that do not
    say they only read, all, or those that it names; those that `allowed_without_asking` names need
    none.  What a server says of its tools is its word,
    and no proof.
    With `handshake` the revision before the newest is spoken, with servers that want their own
    requests answered on the connection.
    `allowed_callers` and `deadline_s` hold for each of its tools; `connect_s` bounds the start.
    Where a server is not `required`, the others are used without it.
    `roots` are the folders that it is told to work in, as `file:///...`.
    Of tools, prompts, resources and templates it may list `list_items_max` each, which take
    `list_bytes_max` at most; each value of their definitions counts as 100 bytes more.
    """

    name: str
    _: KW_ONLY
    prefix: str | None = None
    ask_for: AskFor = "nothing"
    allowed_callers: Sequence[str] = ()
    deadline_s: float | None = None
    connect_s: float = 30.0
    allowed_without_asking: Sequence[str] = ()
    required: bool = True
    handshake: bool = False
    roots: Sequence[str] = ()
    list_items_max: int = LIST_ITEMS_MAX
    list_bytes_max: int = LIST_BYTES_MAX

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RequestError(
                f"{self.name!r} cannot be the name of an MCP server: up to 32 letters, digits, "
                "hyphens and underscores"
            )
        if isinstance(self.ask_for, str) and self.ask_for not in _ASK_FOR:
            raise RequestError(
                f"ask_for of {self.name!r} is {', '.join(_ASK_FOR)}, or a list of tools' names; "
                f"not {self.ask_for!r}"
            )
        for uri in self.roots:
            if not (uri.startswith("file:///") and uri.isprintable()):
                raise RequestError(f"roots of {self.name!r} are file:///..., not {uri!r}")

    @property
    def list_bounds(self) -> ListBounds:
        """The largest sizes of its lists."""
        return ListBounds(self.list_items_max, self.list_bytes_max)

    @property
    def names_start(self) -> str:
        """The beginning of its tools' names."""
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
    """A server that is there already, at an address (streamable HTTP).

    `headers` may be a function, which is asked for each request.  `oauth` signs in where the server
    wants a token (`polycall.mcp.OAuth`).
    """

    url: str = field(kw_only=True)
    headers: Headers = field(default_factory=dict[str, str], repr=False, kw_only=True)
    oauth: OAuth | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url.startswith(("http://", "https://")):
            raise RequestError(
                f"the address of {self.name!r} is a URL: https://..., not {self.url!r}"
            )


Server: TypeAlias = StdioServer | HttpServer


def headers_hook(
    headers: Headers,
) -> Callable[[httpx2.Request], Awaitable[None]]:
    """The hook that asks a function for the headers of each request."""
    assert callable(headers)

    async def hook(request: httpx2.Request) -> None:
        found = headers()
        request.headers.update(await found if inspect.isawaitable(found) else found)

    return hook


_STDIO = {"command", "args", "env", "cwd"}
_HTTP = {"url", "headers"}
_COMMON = {"type", "transport", "disabled", "timeout", "autoApprove", "alwaysAllow"}
# What programs that keep such files write, and what says nothing of how a server is reached.
_FOREIGN = {"description", "name", "icon", "gallery", "version", "trust", "note", "comment"}
_MILLISECONDS_MIN = 1000
_KINDS = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
}


def load_servers(path: str | Path, environment: Mapping[str, str] | None = None) -> list[Server]:
    """The servers of a file with `{"mcpServers": {NAME: {...}}}`, as many programs keep it.

    `command`, `args`, `env` and `cwd` describe a program, `url` and `headers` an address.
    `timeout` bounds one call, in milliseconds as most programs write it, or in seconds below 1000.
    `autoApprove` (or `alwaysAllow`), where it names tools, leaves the approval of a person to all
    others.
    Spaces and other characters of a name become `_`.  `${NAME}` and `${NAME:-else}` stand for
    variables of the environment.  All mistakes are reported at once; a key of other programs that
    means nothing here is warned of.
    """
    file = Path(path)
    try:
        value = jsontext.decode(file.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except ValueError as error:
        raise ConfigError([f"{path}: not JSON: {error}"]) from None
    table = value.get("mcpServers") if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(table, dict):
        raise ConfigError([f'{path}: no object "mcpServers"'])
    mistakes: list[str] = []
    found: list[Server] = []
    names: dict[str, str] = {}
    known = os.environ if environment is None else environment
    for name, entry in cast("dict[str, Any]", table).items():
        if not isinstance(entry, dict):
            mistakes.append(f"{path}: mcpServers.{name}: not an object")
            continue
        made = cast("JSON", entry)
        try:
            if not made.get("disabled", False):
                server = _server(_plain_name(name), made, known)
                _check_new(server.name, name, names)
                found.append(server)
        except RequestError as error:
            mistakes.append(f"{path}: mcpServers.{name}: {error}")
    if mistakes:
        raise ConfigError(mistakes)
    return found


def _server(name: str, entry: JSON, environment: Mapping[str, str]) -> Server:
    told = entry.get("type", entry.get("transport", "stdio" if "command" in entry else "http"))
    kind = _KINDS.get(str(told).lower().replace("_", "-"))
    if kind is None:
        raise RequestError(f"the transport {told!r} is not spoken here; there are stdio and http")
    wanted = _STDIO if kind == "stdio" else _HTTP
    _check_keys(name, entry, wanted)
    common = _common(entry)

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
        return StdioServer(name, command=command, env=texts("env"), cwd=cwd, **common)
    return HttpServer(name, url=text(entry.get("url")), headers=texts("headers"), **common)


def _check_new(plain: str, name: str, names: dict[str, str]) -> None:
    other = names.setdefault(plain, name)
    if other != name:
        raise RequestError(f"it is named {plain!r} here, and so is {other!r}")


def _plain_name(name: str) -> str:
    """A name of any program's as one that can begin a tool's name."""
    return _NOT_IN_NAMES.sub("_", name.strip()).strip("_")


def _check_keys(name: str, entry: JSON, wanted: set[str]) -> None:
    """Refuse what is misspelt; warn of what other programs know and nothing here does."""
    for key in sorted(set(entry) - wanted - _COMMON):
        if key in _FOREIGN:
            logger.warning("MCP server %r: %r has no effect here", name, key)
        elif (hint := near_miss(key, wanted | _COMMON)) or key in _STDIO | _HTTP:
            known = ", ".join(sorted(wanted | _COMMON))
            raise RequestError(f"unknown {key}{hint}; there are {known}")
        else:
            logger.warning("MCP server %r: %r is unknown, and has no effect here", name, key)


def _common(entry: JSON) -> dict[str, Any]:
    """The settings on calls, for either transport."""
    common: dict[str, Any] = {}
    timeout = entry.get("timeout")
    if timeout is not None:
        is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if not is_number or not 0 < timeout < math.inf:
            raise RequestError(f"timeout is a number above 0, not {timeout!r:.80}")
        common["deadline_s"] = timeout / 1000 if timeout >= _MILLISECONDS_MIN else float(timeout)
    for key in ("autoApprove", "alwaysAllow"):
        allowed = entry.get(key)
        if allowed is None:
            continue
        words = cast("list[Any]", allowed)
        if not isinstance(allowed, list) or not all(isinstance(each, str) for each in words):
            raise RequestError(f"{key} is a list of tools' names, not {allowed!r}")
        if words:
            # Programs write the empty list by themselves, without anybody having said anything.
            common["ask_for"] = "everything"
            common["allowed_without_asking"] = tuple(cast("list[str]", allowed))
    return common


def _variable(match: re.Match[str], environment: Mapping[str, str]) -> str:
    name: str = match[1]
    otherwise: str | None = match[2]
    value = environment.get(name, otherwise)
    if value is None:
        raise RequestError(f"the variable {name} is not set")
    return value
