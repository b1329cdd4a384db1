"""`polycall admins` and `polycall console`: who may look at a gateway and change it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from polycall._support.printable import printable_line
from polycall.admin.fields import checked_name
from polycall.admin.people import ROLES, checked_role, make_admin, new_admin_key
from polycall.admin.routes import admin_json
from polycall.cli.keys import command_actor
from polycall.cli.stored import KEY_SHOWN_ONCE, add_store_action, shown_time, table, with_store
from polycall.errors import InvalidRequestError, RequestError
from polycall.gateway.store import AdminRow, Store
from polycall.gateway.store import admin_operations as operations
from polycall.gateway.store.audit_operations import check, entries

_ACTS = 30

Work = Callable[[argparse.Namespace, Store], Awaitable[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Register `admins`."""
    parser.description = (
        "Manage who may look at the gateway (reader), change keys and runs (operator), and "
        "make administrators (owner). The first one turns the console and /admin/v1 on."
    )
    parser.epilog = "Example: polycall admins create ops --role operator --key"
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = _action(actions, "create", "make an administrator", _create)
    create.add_argument("--role", choices=ROLES, default="reader")
    create.add_argument("--key", action="store_true", help="with a key for programs, shown once")
    _action(actions, "key", "give a new key, which ends the old one", _key)
    _action(actions, "list", "all administrators", _list, named=False)
    _action(actions, "revoke", "end an administrator, with key and sessions", _revoke)
    about = "what administrators did, and whether the log is whole"
    audit = _action(actions, "audit", about, _acts, named=False)
    audit.add_argument("--limit", type=int, default=_ACTS, help="so many acts at most")


def _action(
    actions: Any, name: str, help_text: str, work: Work, *, named: bool = True
) -> argparse.ArgumentParser:
    parser = add_store_action(actions, name, help_text, "the administrator's name" if named else "")

    def run(options: argparse.Namespace) -> int:
        return with_store(
            options, lambda store: work(options, store), makes=name in ("create", "list")
        )

    parser.set_defaults(run=run)
    return parser


def _say(options: argparse.Namespace, row: AdminRow, **more: str) -> int:
    if options.json:
        print(json.dumps({**admin_json(row), **more}, ensure_ascii=False, indent=1))
        return 0
    if "key" in more:
        print(f"{more['key']}\n\n{KEY_SHOWN_ONCE}\n")
    print(f"name          {printable_line(row.name)}\nrole          {row.role}")
    if row.revoked is not None:
        print(f"revoked       {shown_time(row.revoked)}")
    return 0


async def _create(options: argparse.Namespace, store: Store) -> int:
    try:
        name = checked_name(options.name)
    except InvalidRequestError as error:
        raise RequestError(str(error)) from None
    row = await make_admin(store, name, checked_role(options.role), command_actor())
    return await _with_key(options, store, row) if options.key else _say(options, row)


async def _with_key(options: argparse.Namespace, store: Store, row: AdminRow) -> int:
    key, digest, prefix = new_admin_key()
    operation = operations.set_admin_key(row.id, digest, prefix)
    detail = {"prefix": prefix}
    row = await store.act(operation, command_actor(), "admin.key", row.name, detail)
    return _say(options, row, key=key)


async def _key(options: argparse.Namespace, store: Store) -> int:
    row = await store.look_up(operations.find_admin(options.name))
    return await _with_key(options, store, row)


async def _revoke(options: argparse.Namespace, store: Store) -> int:
    operation = operations.revoke_admin(options.name, time.time())
    row = await store.act(operation, command_actor(), "admin.revoke", options.name, {})
    return _say(options, row)


async def _list(options: argparse.Namespace, store: Store) -> int:
    rows = await store.look_up(operations.admins())
    if options.json:
        print(json.dumps([admin_json(row) for row in rows], ensure_ascii=False, indent=1))
    elif not rows:
        print("there is no administrator yet; make one: polycall console")
    else:
        lines = [
            [
                printable_line(row.name),
                row.role,
                f"{row.prefix}…" if row.prefix else "-",
                "active" if row.revoked is None else f"revoked {shown_time(row.revoked)}",
            ]
            for row in rows
        ]
        print(table(["name", "role", "key", "status"], lines, right=4))
    return 0


async def _acts(options: argparse.Namespace, store: Store) -> int:
    problem = await store.look_up_aside(check())
    rows = await store.look_up(entries(None, max(1, min(options.limit, 10_000))))
    if options.json:
        acts = [row._asdict() for row in rows]
        shown = {"whole": not problem, "problem": problem, "acts": acts}
        print(json.dumps(shown, ensure_ascii=False, indent=1))
    else:
        for row in reversed(rows):
            words = f"{row.action} {row.target} {row.detail if row.detail != '{}' else ''}"
            who = f"{row.actor} ({row.role or '-'}, {row.via})"
            print(printable_line(f"{row.number}  {shown_time(row.at)}  {who}  {words}"))
        print(f"the log was changed: {problem}" if problem else "the log is whole")
    return 1 if problem else 0
