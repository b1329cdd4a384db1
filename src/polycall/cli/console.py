"""`polycall console`: a link that opens the gateway's console, once."""

from __future__ import annotations

import argparse
import json

from polycall.admin.people import LINK_S, make_admin, make_link
from polycall.cli.keys import command_actor
from polycall.cli.stored import add_store_options, with_store
from polycall.config import default_path, load_console_url, load_server
from polycall.errors import RequestError
from polycall.gateway.store import AdminRow, Store
from polycall.gateway.store import admin_operations as operations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Print a link to the console of a gateway that runs with the same store. It works "
        "once, within ten minutes. The first use makes an administrator 'owner'."
    )
    parser.epilog = "Example: polycall console --url http://127.0.0.1:8080"
    parser.add_argument("--name", default="", help="which administrator; default: an owner")
    parser.add_argument("--url", help="where browsers reach the gateway; default: as configured")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_store_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a link."""
    return with_store(options, lambda store: _link(options, store), makes=True)


async def _link(options: argparse.Namespace, store: Store) -> int:
    found, secret = await new_link(store, options.name)
    link = link_of(options.url or _own_url(options), secret)
    if options.json:
        print(json.dumps({"link": link, "name": found.name, "role": found.role}))
        return 0
    print(f"{link}\n\nIt works once, for {LINK_S / 60:.0f} minutes, as {found.name!r}.")
    return 0


async def new_link(store: Store, name: str = "") -> tuple[AdminRow, str]:
    """The secret of a new link, for an administrator or the first owner; makes one if need be."""
    by = command_actor()
    if name:
        found = await store.look_up(operations.find_admin(name))
    else:
        rows = await store.look_up(operations.admins())
        owners = [row for row in rows if row.role == "owner" and row.revoked is None]
        found = owners[0] if owners else await make_admin(store, "owner", "owner", by)
    if found.revoked is not None:
        raise RequestError(f"the administrator {found.name!r} is revoked")
    return found, await make_link(store, found, by)


def link_of(url: str, secret: str) -> str:
    """The address to open.  The secret is after the sign: no server, proxy or log sees it."""
    return f"{url.rstrip('/')}/console#link={secret}"


def _own_url(options: argparse.Namespace) -> str:
    path = options.config or default_path()
    return load_console_url(path) or load_server(path).local_url
