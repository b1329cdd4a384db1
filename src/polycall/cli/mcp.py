"""`polycall mcp`: tools served as an MCP server, and a look at other servers' tools."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import webbrowser
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from polycall._support import core_dumps, jsontext
from polycall._support.printable import printable_line
from polycall.cli.named import load_tools
from polycall.cli.running import mcp_library, pins_beside
from polycall.config import Config, load_config
from polycall.errors import PolycallError, RequestError

if TYPE_CHECKING:
    from polycall.gateway.store import Store
    from polycall.mcp import SeenServer
    from polycall.mcp.servers import Server
    from polycall.tools import AbstractToolset
if TYPE_CHECKING:
    from polycall.sandbox import Sandbox
    from polycall.tool_server import OpenAPITools
    from polycall.tools import AbstractToolset

_HINTS = {"readOnlyHint": "read-only", "destructiveHint": "destructive"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Serve tools to any MCP client, and look after the MCP servers whose tools are used: "
        "what they offer, and whether a definition is another than when it was pinned."
    )
    parser.epilog = "Example: polycall mcp serve weather:get_weather"
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_serve(actions)
    _add_login(actions)
    for name, about, pin in (
        ("list", "servers' definitions, each with its hash and whether it changed", False),
        ("pin", "take the definitions as they are now, and show what they were", True),
    ):
        action = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        action.add_argument(
            "servers", nargs="*", metavar="NAME=SERVER", help="a URL, or a command in quotes"
        )
        action.add_argument("--servers", dest="file", type=Path, help="a file with mcpServers")
        action.add_argument(
            "--config", type=Path, help="a gateway's configuration: its [mcp.NAME] and its pins"
        )
        action.add_argument("--pins", type=Path, help="default: mcp.lock.json, next to that file")
        action.add_argument("--json", action="store_true", help="print one JSON object")
        action.epilog = f"Example: polycall mcp {name} time='uvx mcp-server-time'"
        action.set_defaults(run=partial(_looked_after, pin=pin))


def _add_login(actions: Any) -> None:
    parser = actions.add_parser(
        "login",
        help="sign in to a server of a gateway's configuration",
        description=(
            "Sign in to a server that wants OAuth, in a browser on this machine. The gateway's "
            "store keeps the tokens, encrypted, and running gateways use them."
        ),
        epilog="Example: polycall mcp login linear --config polycall.toml",
    )
    parser.add_argument("name", help="the NAME of [mcp.NAME]")
    parser.add_argument("--config", type=Path, default=Path("polycall.toml"))
    parser.add_argument(
        "--port", type=int, default=8971, help="where the browser comes back to; default: 8971"
    )
    parser.set_defaults(run=_login)


def _login(options: argparse.Namespace) -> int:
    mcp_library()

    def show(page: str) -> None:
        print(f"open this page, and come back: {page}", flush=True)

    return login(options.config, options.name, options.port, show)


def _add_serve(actions: Any) -> None:
    parser = actions.add_parser(
        "serve",
        help="tools as an MCP server, over standard input and output or HTTP",
        description=(
            "Serve tools to one client on standard input and output, or with --http to many. "
            "Tools that need a person's approval are left out but with --with-approval: nobody "
            "can be asked from here, so the client is to ask."
        ),
        epilog="Example: polycall mcp serve weather:get_weather --http --port 8090",
    )
    parser.add_argument(
        "tools",
        nargs="*",
        metavar="MODULE:NAME",
        help="a function, a tool, a list of them or a Toolset",
    )
    parser.add_argument("--servers", dest="file", type=Path, help="also those of a mcpServers file")
    parser.add_argument("--openapi", metavar="FILE", help="also a document's operations")
    parser.add_argument("--address", metavar="URL", help="where --openapi's requests go")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VARIABLE",
        help="a header of --openapi's requests, from an environment variable",
    )
    parser.add_argument(
        "--code", action="store_true", help="two tools, search and run, in the place of all"
    )
    parser.add_argument("--http", action="store_true", help="streamable HTTP, at /mcp")
    parser.add_argument("--host", default="127.0.0.1", help="beyond loopback it needs a key")
    parser.add_argument("--port", type=int, default=8090, help="0 for any; default: 8090")
    parser.add_argument(
        "--key-variable", metavar="NAME", help="the environment variable with the clients' key"
    )
    parser.add_argument("--name", default="polycall", help="what the server calls itself")
    parser.add_argument(
        "--with-approval", action="store_true", help="also tools that need approval"
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    library = mcp_library()
    key = ""
    if options.key_variable is not None:
        key = os.environ.get(options.key_variable, "")
        if not key:
            raise RequestError(f"the variable {options.key_variable} holds no key")
    if not (options.tools or options.file or options.openapi):
        raise RequestError("nothing to serve; name MODULE:NAME, --servers FILE or --openapi FILE")
    # Standard output is the wire.
    with contextlib.redirect_stdout(sys.stderr):
        toolset = load_tools(options.tools, "serve") if options.tools else None
    if not options.http:
        # The thread that waits for standard input cannot be interrupted: Ctrl-C would wait with it.
        signal.signal(signal.SIGINT, _leave)
    else:
        core_dumps.forbid()
    asyncio.run(_served(library, options, toolset, key))
    return 0


async def _served(
    library: Any, options: argparse.Namespace, toolset: AbstractToolset | None, key: str
) -> None:
    """Serve what the options name, for as long as somebody wants it."""
    async with served_toolset(library, options, toolset) as served:
        left_out = [
            tool.name for tool in served.inner if tool.needs_approval and not options.with_approval
        ]
        if left_out:
            print(f"left out, since they need approval: {', '.join(left_out)}", file=sys.stderr)
        server = library.mcp_server(
            served.toolset, name=options.name, with_approval=options.with_approval
        )
        if not options.http:
            await library.serve_stdio(server)
            return

        def announce(url: str) -> None:
            print(f"polycall mcp on {url}", flush=True)

        await library.serve_http(
            server, host=options.host, port=options.port, key=key, announce=announce
        )


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(130)


def _looked_after(options: argparse.Namespace, *, pin: bool) -> int:
    library = mcp_library()
    if options.config is not None:
        return _shown_all(options, look_at(options.config, options.servers, pin=pin), pin=pin)
    servers: list[Server] = library.load_servers(options.file) if options.file else []
    servers += [_server(library, word) for word in options.servers]
    if not servers:
        raise RequestError("no servers; say NAME=URL or NAME='COMMAND', or --servers FILE")
    store = library.PinFile(options.pins or pins_beside(options.file))
    seen: list[SeenServer] = asyncio.run(library.look(servers, store, pin=pin))
    return _shown_all(options, seen, pin=pin)


def _shown_all(options: argparse.Namespace, seen: list[SeenServer], *, pin: bool) -> int:
    if options.json:
        print(jsontext.encode(seen))
    else:
        for server in seen:
            _show(server)
    if pin:
        return 1 if any(server.error for server in seen) else 0
    return 0 if all(server.is_as_pinned for server in seen) else 1


def _show(server: SeenServer) -> None:
    if server.error:
        print(f"{server.name}: failed: {printable_line(server.error)}")
        return
    plural = "tool" if len(server.tools) == 1 else "tools"
    print(f"{server.name}: {len(server.tools)} {plural}")
    for tool in [*server.tools, *server.others]:
        parts = f" ({', '.join(tool.parts)})" if tool.parts else ""
        hints = "".join(f"  {word}" for hint, word in _HINTS.items() if tool.annotations.get(hint))
        short = tool.hash.removeprefix("sha256:")[:12]
        kind = "" if tool.what in ("tool", tool.name) else f"{tool.what} "
        print(f"  {tool.state:<8} {short}  {kind}{printable_line(tool.name)}{parts}{hints}")


def _server(library: Any, word: str) -> Server:
    name, equals, where = word.partition("=")
    if not equals or not where:
        raise RequestError(f"a server is NAME=URL or NAME='COMMAND', not {word!r}")
    if where.startswith(("http://", "https://")):
        return library.HttpServer(name, url=where)
    try:
        command = shlex.split(where)
    except ValueError as error:
        raise RequestError(f"the command of {name!r} cannot be read: {error}") from None
    return library.StdioServer(name, command=command)


class Served(NamedTuple):
    """The tools that clients see, and the resources behind them."""

    toolset: AbstractToolset
    inner: AbstractToolset


@asynccontextmanager
async def served_toolset(
    library: Any, options: argparse.Namespace, toolset: AbstractToolset | None
) -> AsyncGenerator[Served]:
    """All that the options name as one toolset; with `--code` two tools stand for it."""
    from polycall.tools.toolset import CombinedToolset  # noqa: PLC0415 - `--help` needs none of it

    async with AsyncExitStack() as stack:
        found = [] if toolset is None else [toolset]
        spaces: dict[str, str] = {}
        api: OpenAPITools | None = None
        if options.file is not None:
            servers = library.load_servers(options.file)
            pins = pins_beside(options.file)
            tools = await stack.enter_async_context(library.connect(*servers, pins=pins))
            for name, each in tools.servers.items():
                spaces |= {f"{each.server.names_start}{own}": name for own in each.tools}
            found.append(tools)
        if options.openapi is not None:
            api = await _api(options)
            stack.push_async_callback(api.close)
            spaces |= {name: api.namespace(name) for name in api.tools}
            found.append(api)
        inner = found[0] if len(found) == 1 else CombinedToolset(found)
        if not options.code:
            yield Served(inner, inner)
            return
        from polycall.sandbox import Limits, Sandbox  # noqa: PLC0415
        from polycall.tool_server import CodeToolset  # noqa: PLC0415

        limits = Limits(wall_s=120.0, journal_bytes=16_000_000)
        sandbox = await stack.enter_async_context(Sandbox(limits=limits))

        async def opened() -> Sandbox:
            return sandbox

        open_tools = (
            inner.approved(lambda _tool, _arguments: True)
            if options.with_approval
            else inner.filtered(lambda tool: not tool.needs_approval)
        )
        code = CodeToolset(
            open_tools,
            opened,
            implicit=library.serving.connection.get,
            namespaces=spaces,
            result_schema=api.result_schema if api is not None and len(found) == 1 else _unknown,
        )
        stack.push_async_callback(code.close)
        yield Served(code, inner)


def _unknown(_name: str) -> None:
    return None


async def _api(options: argparse.Namespace) -> OpenAPITools:
    from polycall.tool_server import OpenAPITools, load_document  # noqa: PLC0415
    from polycall.transport.http1 import HTTP1Transport  # noqa: PLC0415

    if not options.address:
        raise RequestError("--address URL is missing: where the document's operations are sent")
    transport = HTTP1Transport()
    try:
        document = await load_document(options.openapi, Path(), transport)
    finally:
        await transport.close()
    return OpenAPITools(document, options.address, headers=_headers(options.header, os.environ))


def _headers(words: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, variable = word.partition("=")
        value = environment.get(variable)
        if not equals or value is None:
            raise RequestError(
                f"--header is NAME=VARIABLE, and the variable is set; not {json.dumps(word)}"
            )
        found[name] = value
    return found


T = TypeVar("T")


def look_at(path: Path, names: list[str], *, pin: bool) -> list[SeenServer]:
    """The servers' tools alongside the gateway's pins; with `pin`, they are taken as they are."""
    config = load_config(path)
    chosen = names or list(config.mcp)
    for name in chosen:
        _check_known(config, name)

    async def work(store: Store) -> list[SeenServer]:
        return [await _seen(config, store, name, pin=pin) for name in chosen]

    return _with_store(config, work)


def login(path: Path, name: str, port: int, show: Callable[[str], None]) -> int:
    """Sign in to a server; its tokens are kept in the gateway's store, encrypted."""
    config = load_config(path)
    _check_known(config, name)
    settings = config.mcp[name]
    if settings.oauth is None:
        raise RequestError(f"[mcp.{name}] has no oauth; write [mcp.{name}.oauth]")

    async def work(store: Store) -> int:
        # `--help` needs none of it
        from polycall.gateway.mcp.pins import StoreTokens, options_of  # noqa: PLC0415
        from polycall.mcp import HttpServer, OAuth, authorize_here, look  # noqa: PLC0415
        from polycall.mcp.pins import MemoryPins  # noqa: PLC0415

        assert settings.oauth is not None

        def shown(page: str) -> None:
            show(page)
            webbrowser.open(page)

        redirect_url = f"http://127.0.0.1:{port}/callback"
        oauth = OAuth(
            tokens=StoreTokens(store, name),
            authorize=authorize_here(shown, redirect_url),
            redirect_url=redirect_url,
            **options_of(settings.oauth),
        )
        server = HttpServer(
            name, url=settings.url, headers=settings.headers, oauth=oauth, connect_s=330.0
        )
        (seen,) = await look([server], MemoryPins(), pin=False)
        if seen.error:
            raise RequestError(seen.error)
        print(f"{name}: signed in; {len(seen.tools)} tools")
        return 0

    return _with_store(config, work)


def _with_store(config: Config, work: Callable[[Store], Awaitable[T]]) -> T:
    from polycall.cli.stored import run_with_store  # noqa: PLC0415 - `--help` needs none of it

    return run_with_store(config.store, config.folder, work, secret=config.store.secret)


async def _seen(config: Config, store: Store, name: str, *, pin: bool) -> SeenServer:
    from polycall.gateway.mcp.hub import Hub  # noqa: PLC0415 - `--help` needs none of it
    from polycall.mcp import SeenServer  # noqa: PLC0415
    from polycall.mcp.looking import known_pins, pins_of, seen_of  # noqa: PLC0415
    from polycall.transport.http1 import HTTP1Transport  # noqa: PLC0415

    transport = HTTP1Transport()
    hub = Hub(store, config.folder, transport)
    try:
        await hub.pins.fetch(name)
        known = known_pins(hub.pins, name)
        found = await hub.definitions(name, config.mcp[name])
        if pin:
            for what, pins in pins_of(found).items():
                await hub.pins.take(name, what, pins)
        return seen_of(name, known, found)
    except PolycallError as error:
        return SeenServer(name, error=str(error))
    finally:
        await transport.close()


def _check_known(config: Config, name: str) -> None:
    if name not in config.mcp:
        known = ", ".join(config.mcp) or "none"
        raise RequestError(f"the configuration has no [mcp.{name}]; there are: {known}")
