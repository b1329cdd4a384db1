"""`polycall keys`: clients' keys in the gateway's store.  A running gateway notices in seconds."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import UNSET

from polycall._support.printable import printable_line
from polycall.admin.fields import KeyFields
from polycall.admin.keys import GRACE_S, KeyAdministration
from polycall.cli.remote import RemoteGateway, RemoteKeys, add_gateway_option
from polycall.cli.stored import (
    KEY_SHOWN_ONCE,
    add_store_action,
    budget,
    count,
    dollars,
    future,
    seconds,
    shown_time,
    table,
    with_store,
)
from polycall.config import KEY_NAME_RULE, is_key_name
from polycall.errors import RequestError
from polycall.gateway.accounts.windows import budget_words
from polycall.gateway.store import Actor
from polycall.ir import JSON

# Clients' keys: those of a store, or those of a running gateway.
Keys: TypeAlias = KeyAdministration | RemoteKeys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Manage the keys that clients of the gateway use. They live in its store; a running "
        "gateway notices a change within seconds. Budgets are in US dollars, days, weeks "
        "and months in UTC; one in total never begins again."
    )
    parser.epilog = "Example: polycall keys create build --models 'fast,openai/*' --budget 20/month"
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = _action(actions, "create", "make a key, and show it once", _create)
    _add_limits(create)
    _action(actions, "list", "all keys", _list, named=False)
    _action(actions, "show", "one key, its limits and what it has spent", _show)
    _add_limits(_action(actions, "limit", "change limits; 'none' removes one", _limit))
    rotate = _action(actions, "rotate", "give a key a new secret; its limits stay", _rotate)
    rotate.add_argument(
        "--grace",
        type=seconds,
        default=GRACE_S,
        metavar="TIME",
        help="how long the old secret still works: 0s, 12h, 7d; default: 1d",
    )
    _action(actions, "revoke", "end a key at once and for good", _revoke)


def _action(
    actions: Any,
    name: str,
    help_text: str,
    work: Callable[[argparse.Namespace, Keys], Coroutine[Any, Any, int]],
    *,
    named: bool = True,
) -> argparse.ArgumentParser:
    parser = add_store_action(
        actions, name, help_text, "what the ledger calls the key" if named else ""
    )
    add_gateway_option(parser)

    def run(options: argparse.Namespace) -> int:
        if options.gateway is not None:
            keys = RemoteKeys(RemoteGateway(options.gateway))
            return asyncio.run(work(options, keys))
        return with_store(
            options,
            lambda store: work(options, KeyAdministration(store, command_actor())),
            makes=name in ("create", "list"),
        )

    parser.set_defaults(run=run)
    return parser


def command_actor() -> Actor:
    """The actor of a command, for the audit log."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"  # a container without a name for its user
    return Actor(name, "owner", "command")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", metavar="PATTERNS", help="models allowed: 'fast,openai/*'; 'all' for all"
    )
    parser.add_argument(
        "--mcp", metavar="PATTERNS", help="MCP tools allowed: 'github_*'; 'all' or 'none'"
    )
    parser.add_argument(
        "--mcp-default", metavar="NAMES", help="MCP servers that its model requests have; 'none'"
    )
    parser.add_argument(
        "--budget", type=budget, metavar="AMOUNT", help="20/month, 1.50/day, 5/week, 100/total"
    )
    parser.add_argument("--requests-per-minute", type=count, metavar="N", default=argparse.SUPPRESS)
    parser.add_argument("--tokens-per-minute", type=count, metavar="N", default=argparse.SUPPRESS)
    parser.add_argument("--team", metavar="NAME", help="a team, made in the console; 'none'")
    parser.add_argument("--owner", metavar="PERSON", help="whom to ask about the key")
    parser.add_argument(
        "--expires",
        type=lambda text: None if text == "none" else future(text),
        metavar="WHEN",
        default=argparse.SUPPRESS,
        help="a date, a time, or 90d",
    )


def _limits_of(options: argparse.Namespace, name: str | None = None) -> KeyFields:
    """The fields that the options set."""
    fields = KeyFields(name=UNSET if name is None else name)
    for each in ("requests_per_minute", "tokens_per_minute", "expires"):
        if hasattr(options, each):
            setattr(fields, each, getattr(options, each))
    if options.models is not None:
        words = [word.strip() for word in options.models.split(",") if word.strip()]
        if not words:
            # An empty list means all, and an empty variable in somebody's script does not.
            raise RequestError("--models names no model; say 'all' for all")
        fields.models = [] if words == ["all"] else words
    if options.mcp is not None:
        fields.mcp = None if options.mcp == "all" else _words(options.mcp, "--mcp")
    if options.mcp_default is not None:
        fields.mcp_default = _words(options.mcp_default, "--mcp-default")
    if options.budget is not None:
        amount, fields.budget_per = options.budget
        fields.budget_usd = None if amount is None else f"{amount:f}"
    if options.team is not None:
        fields.team = None if options.team == "none" else options.team
    if options.owner is not None:
        fields.owner = options.owner
    return fields


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise RequestError(f"{option} names nothing; say 'none' for none")
    return [] if words == ["none"] else words


async def _create(options: argparse.Namespace, keys: Keys) -> int:
    name: str = options.name
    if not is_key_name(name):
        raise RequestError(f"{name!r} cannot be a key's name: {KEY_NAME_RULE}")
    return _print_one(options, await keys.create(_limits_of(options, name)))


async def _list(options: argparse.Namespace, keys: Keys) -> int:
    found = await keys.list()
    if options.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return 0
    if not found:
        print("there are no keys yet; make one: polycall keys create NAME")
        return 0
    heads = ["name", "key", "status", "models", "requests/min", "tokens/min", "budget", "expires"]
    print(table(heads, [_line(key) for key in found], right=len(heads)))
    return 0


async def _show(options: argparse.Namespace, keys: Keys) -> int:
    return _print_one(options, await keys.show(options.name))


async def _limit(options: argparse.Namespace, keys: Keys) -> int:
    fields = _limits_of(options)
    if fields == KeyFields():
        raise RequestError("nothing to change; give --budget, --requests-per-minute, --models, ...")
    return _print_one(options, await keys.limit(options.name, fields))


async def _rotate(options: argparse.Namespace, keys: Keys) -> int:
    return _print_one(options, await keys.rotate(options.name, options.grace))


async def _revoke(options: argparse.Namespace, keys: Keys) -> int:
    return _print_one(options, await keys.revoke(options.name))


def _print_one(options: argparse.Namespace, key: JSON) -> int:
    if options.json:
        print(json.dumps(key, ensure_ascii=False, indent=1))
        return 0
    if "key" in key:
        print(f"{key['key']}\n\n{KEY_SHOWN_ONCE}\n")
    for head, value in _details(key):
        print(f"{head:<14}{value}")
    return 0


def _details(key: JSON) -> list[tuple[str, str]]:
    money = _budget(key)
    if "spent_usd" in key:
        money += f", spent ${dollars(Decimal(key['spent_usd']))}"
    lines = [
        ("name", printable_line(key["name"])),
        ("id", key["id"]),
        ("status", _status(key)),
        *((head, printable_line(key[head])) for head in ("team", "owner") if key.get(head)),
        ("models", printable_line(", ".join(key["models"])) or "all"),
        ("mcp tools", "all" if key["mcp"] is None else _listed(key["mcp"])),
        ("mcp default", _listed(key["mcp_default"])),
        ("requests/min", _number(key["requests_per_minute"])),
        ("tokens/min", _number(key["tokens_per_minute"])),
        ("budget", money),
        ("created", shown_time(key["created"])),
        ("expires", _expiry(key)),
    ]
    for secret in key["secrets"]:
        until = "" if secret["expires"] is None else f", until {shown_time(secret['expires'])}"
        since = shown_time(secret["created"])
        lines.append(("key", f"{secret['prefix']}… since {since}{until}"))
    return lines


def _line(key: JSON) -> list[str]:
    return [
        printable_line(key["name"]),
        f"{key['secrets'][0]['prefix']}…",
        _status(key),
        printable_line(", ".join(key["models"])) or "all",
        _number(key["requests_per_minute"]),
        _number(key["tokens_per_minute"]),
        _budget(key),
        _expiry(key),
    ]


def _status(key: JSON) -> str:
    revoked = key["revoked"]
    return key["status"] if revoked is None else f"revoked {shown_time(revoked)}"


def _expiry(key: JSON) -> str:
    return "never" if key["expires"] is None else shown_time(key["expires"])


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _budget(key: JSON) -> str:
    amount = key["budget_usd"]
    if amount is None:
        return "-"
    return budget_words(f"${dollars(Decimal(amount))}", key["budget_per"])


def _listed(names: list[str]) -> str:
    return printable_line(", ".join(names)) or "none"
