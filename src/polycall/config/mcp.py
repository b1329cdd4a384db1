"""`[mcp.NAME]`: servers whose tools the gateway offers, and OpenAPI documents as such servers."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from polycall.config.reader import Reader

MEBIBYTE = 1024 * 1024
# An underscore parts the server's name from the tool's.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749
_ASK_FOR = ("nothing", "destructive", "writes", "everything")

AskFor: TypeAlias = Literal["nothing", "destructive", "writes", "everything"] | list[str]


class OAuthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[mcp.NAME.oauth]`: authorization by OAuth 2.1; `polycall mcp login NAME` signs in.

    Without `client_id` the gateway registers itself where the server lets it.  `issuer` is the
    authorization server that knows the client: its secret goes to no other.
    """

    scopes: list[str] = []
    client_id: str = ""
    client_secret: str = ""
    client_metadata_url: str = ""
    grant: Literal["authorization_code", "client_credentials"] = "authorization_code"
    issuer: str = ""


class McpServer(Struct, frozen=True, forbid_unknown_fields=True):
    """One of `command`, `url` and `openapi`.

    `tools` are patterns of its tools that are offered; `ask_for` says which need a person's
    approval; `changed` what becomes of definitions that are not the pinned ones.  `address` is
    where an OpenAPI document's operations are sent: what the document says of servers is not
    followed.  `sampling` is the model that answers when the server asks for one, for at most
    `sampling_requests` in one call.
    """

    command: list[str] = []
    env: dict[str, str] = {}
    cwd: str = ""
    url: str = ""
    headers: dict[str, str] = {}
    oauth: OAuthSettings | None = None
    openapi: str = ""
    address: str = ""
    about: str = ""
    handshake: bool = False  # speak the revision before the newest
    roots: tuple[str, ...] = ()  # folders that the server is informed to work in: file:///...
    tools: tuple[str, ...] = ("*",)
    ask_for: AskFor = "nothing"
    changed: Literal["refuse", "allow"] = "refuse"
    sampling: str = ""
    sampling_requests: int = 5
    sampling_tokens: int = 4096
    elicitation: bool = True
    deadline_s: float = 300.0
    connect_s: float = 30.0
    result_bytes_max: int = 4 * MEBIBYTE
    list_items_max: int = 2_000  # of tools, prompts, resources, templates, and parts of one
    list_bytes_max: int = 8 * MEBIBYTE  # of each such list, a value counting as 100
    calls_at_once: int = 32
    task_after_s: float = 5.0  # so long a call takes before it becomes a task


def read_mcp(reader: Reader, tables: Any, *, allows_processes: bool) -> dict[str, McpServer]:
    """The servers by name, each mistake noted."""
    found: dict[str, McpServer] = {}
    for name, value in reader.tables(tables, ("mcp",)).items():
        path = ("mcp", name)
        if not _NAME.fullmatch(name):
            reader.note(path, f"{name!r} cannot be a server's name: up to 32 of A-Z a-z 0-9 _ -")
            continue
        table = reader.table(McpServer, value, path)
        if table is None:
            continue
        found[name] = _with_secrets(reader, table, path)
        _check(reader, table, path, allows_processes=allows_processes)
    for other in found:
        for place in (place for place, letter in enumerate(other) if letter == "_"):
            if (name := other[:place]) in found:
                # Else `a_b_c` could be the tool `b_c` of `a` or the tool `c` of `a_b`.
                reader.note(
                    ("mcp", other), f"{other!r} begins with the name of {name!r} and an underscore"
                )
    return found


def _check(
    reader: Reader, table: McpServer, path: tuple[str, ...], *, allows_processes: bool
) -> None:
    kinds = [bool(table.command), bool(table.url), bool(table.openapi)]
    if sum(kinds) != 1:
        reader.note(path, "needs one of 'command', 'url' and 'openapi'")
    if table.command and not allows_processes:
        reader.note(
            (*path, "command"),
            "starts a program, which is not allowed here; write mcp_processes = true in [server]",
        )
    for key in ("url", "address"):
        text = getattr(table, key)
        if text and not text.startswith(("http://", "https://")):
            reader.note((*path, key), f"{text!r} is not an http or https address")
    if table.openapi and not table.address:
        reader.note(path, "'address' is missing: where the document's operations are sent")
    if table.address and not table.openapi:
        reader.note((*path, "address"), "is for 'openapi' alone; an MCP server's is 'url'")
    if table.oauth is not None and not table.url:
        reader.note((*path, "oauth"), "is for servers at a 'url'")
    _check_oauth(reader, table.oauth or OAuthSettings(), (*path, "oauth"))
    if table.roots and table.openapi:
        reader.note((*path, "roots"), "are for MCP servers")
    for uri in table.roots:
        if not (uri.startswith("file:///") and uri.isprintable()):
            reader.note((*path, "roots"), f"{uri!r} is not the address of a folder: file:///...")
    if table.command and table.headers:
        reader.note((*path, "headers"), "are for servers at an address; a program has 'env'")
    if isinstance(table.ask_for, str) and table.ask_for not in _ASK_FOR:
        reader.note((*path, "ask_for"), f"must be {', '.join(_ASK_FOR)}, or a list of tools")
    for name in table.headers:
        if not _HEADER.fullmatch(name):
            reader.note((*path, "headers"), f"{name!r} cannot be the name of a header")
    reader.check_numbers(table, path)


def _check_oauth(reader: Reader, oauth: OAuthSettings, path: tuple[str, ...]) -> None:
    if oauth.grant == "client_credentials" and not (oauth.client_id and oauth.client_secret):
        reader.note((*path, "grant"), "'client_credentials' needs client_id and client_secret")
    if oauth.issuer and not oauth.issuer.startswith(("http://", "https://")):
        reader.note((*path, "issuer"), f"{oauth.issuer!r} is not an http or https address")
    metadata = urlsplit(oauth.client_metadata_url)
    if oauth.client_metadata_url and (metadata.scheme != "https" or metadata.path in ("", "/")):
        reader.note((*path, "client_metadata_url"), "is an https address with a path")
    for scope in oauth.scopes:
        if not _SCOPE.fullmatch(scope):
            reader.note((*path, "scopes"), f"{scope!r} cannot be a scope: no spaces or quotes")


def _with_secrets(reader: Reader, table: McpServer, path: tuple[str, ...]) -> McpServer:
    """The table with what its `env:`, `file:` and `cmd:` values lead to."""
    env = {name: reader.value(text, (*path, "env")) for name, text in table.env.items()}
    # `Bearer env:NAME` is what people write: the scheme is no part of the secret.
    headers = {
        name: _header(reader, text, (*path, "headers")) for name, text in table.headers.items()
    }
    oauth = table.oauth
    if oauth is not None and oauth.client_secret:
        place = (*path, "oauth", "client_secret")
        oauth = replace(oauth, client_secret=reader.value(oauth.client_secret, place))
    return replace(table, env=env, headers=headers, oauth=oauth)


def _header(reader: Reader, text: str, path: tuple[str, ...]) -> str:
    scheme, space, rest = text.partition(" ")
    if space and rest.startswith(("env:", "file:", "cmd:")):
        return f"{scheme} {reader.secret(rest, path)}"
    found = reader.value(text, path)
    if any(not " " <= character <= "~" for character in found):
        reader.note(path, "holds a line break or a character that no header has")
    return found
