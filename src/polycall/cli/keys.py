"""`polycall keys`: clients' keys in the gateway's store.  A running gateway notices in seconds."""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from polycall.cli.stored import (
    add_store_options,
    budget,
    count,
    dollars,
    future,
    seconds,
    shown_time,
    table,
    with_store,
)
from polycall.cli.text import printable_line
from polycall.config import KEY_NAME_RULE, is_key_name
from polycall.errors import RequestError
from polycall.gateway.accounts.keys import new_key
from polycall.gateway.accounts.windows import budget_words, window_at
from polycall.gateway.store import KeyRecord, KeyRow, KeySecret, Store

_ONCE = "This is the only time the key is shown; the store keeps a digest of it."


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "keys",
        help="clients' keys: create, limit, rotate, revoke",
        description=(
            "Manage the keys that clients of the gateway use. They live in its store; a running "
            "gateway notices a change within seconds. Budgets are in US dollars, days, weeks "
            "and months in UTC; one in total never begins again."
        ),
        epilog="Example: polycall keys create alice --models 'fast,openai/*' --budget 20/month",
    )
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
        default=86_400.0,
        metavar="TIME",
        help="how long the old secret still works: 0s, 12h, 7d; default: 1d",
    )
    _action(actions, "revoke", "end a key at once and for good", _revoke)


def _action(
    actions: Any,
    name: str,
    help_text: str,
    work: Callable[[argparse.Namespace, Store], Awaitable[int]],
    *,
    named: bool = True,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help_text)
    if named:
        parser.add_argument("name", help="what the ledger calls the key")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_store_options(parser)

    def run(options: argparse.Namespace) -> int:
        return with_store(
            options, lambda store: work(options, store), makes=name in ("create", "list")
        )

    parser.set_defaults(run=run)
    return parser


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
    parser.add_argument(
        "--expires",
        type=lambda text: None if text == "none" else future(text),
        metavar="WHEN",
        default=argparse.SUPPRESS,
        help="a date, a time, or 90d",
    )


def _limits_of(options: argparse.Namespace) -> dict[str, object]:
    """The fields that the options set."""
    changes: dict[str, object] = {
        name: getattr(options, name)
        for name in ("requests_per_minute", "tokens_per_minute", "expires")
        if hasattr(options, name)
    }
    if options.models is not None:
        words = [word.strip() for word in options.models.split(",") if word.strip()]
        if not words:
            # An empty list means all, and an empty variable in somebody's script does not.
            raise RequestError("--models names no model; say 'all' for all")
        changes["models"] = () if words == ["all"] else tuple(words)
    if options.mcp is not None:
        changes["mcp"] = None if options.mcp == "all" else _words(options.mcp, "--mcp")
    if options.mcp_default is not None:
        changes["mcp_default"] = _words(options.mcp_default, "--mcp-default")
    if options.budget is not None:
        changes["budget_usd"], changes["budget_per"] = options.budget
    return changes


def _words(text: str, option: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise RequestError(f"{option} names nothing; say 'none' for none")
    return () if words == ("none",) else words


async def _create(options: argparse.Namespace, store: Store) -> int:
    name: str = options.name
    if not is_key_name(name):
        raise RequestError(f"{name!r} cannot be a key's name: {KEY_NAME_RULE}")
    key, digest, prefix = new_key()
    now = time.time()
    fields: dict[str, Any] = _limits_of(options)
    row = KeyRow(id=f"key_{secrets.token_hex(8)}", name=name, created=now, **fields)
    secret = KeySecret(digest, row.id, prefix, now)
    await store.create_key(row, secret)
    return await _print_one(options, store, KeyRecord(row, [secret]), key)


async def _list(options: argparse.Namespace, store: Store) -> int:
    _, records = await store.keys()
    if options.json:
        print(json.dumps([_as_json(record) for record in records], ensure_ascii=False, indent=1))
        return 0
    if not records:
        print("there are no keys yet; make one: polycall keys create NAME")
        return 0
    heads = ["name", "key", "status", "models", "requests/min", "tokens/min", "budget", "expires"]
    print(table(heads, [_line(record) for record in records], right=len(heads)))
    return 0


async def _show(options: argparse.Namespace, store: Store) -> int:
    return await _print_one(options, store, await store.find_key(options.name))


async def _limit(options: argparse.Namespace, store: Store) -> int:
    changes = _limits_of(options)
    if not changes:
        raise RequestError("nothing to change; give --budget, --requests-per-minute, --models, ...")
    return await _print_one(options, store, await store.change_key(options.name, changes))


async def _rotate(options: argparse.Namespace, store: Store) -> int:
    key, digest, prefix = new_key()
    record = await store.rotate_key(options.name, digest, prefix, grace_s=options.grace)
    return await _print_one(options, store, record, key)


async def _revoke(options: argparse.Namespace, store: Store) -> int:
    return await _print_one(options, store, await store.revoke_key(options.name))


async def _print_one(
    options: argparse.Namespace, store: Store, record: KeyRecord, key: str | None = None
) -> int:
    row = record.row
    spent: Decimal | None = None
    if row.budget_usd is not None:
        spent = await store.spent_usd(row.id, window_at(row.budget_per, time.time()).starts)
    if options.json:
        shown = _as_json(record)
        if spent is not None:
            shown["spent_usd"] = f"{spent:f}"
        if key is not None:
            shown["key"] = key
        print(json.dumps(shown, ensure_ascii=False, indent=1))
        return 0
    if key is not None:
        print(f"{key}\n\n{_ONCE}\n")
    for head, value in _details(record, spent):
        print(f"{head:<14}{value}")
    return 0


def _details(record: KeyRecord, spent: Decimal | None) -> list[tuple[str, str]]:
    row = record.row
    money = _budget(row)
    if spent is not None:
        money += f", spent ${dollars(spent)}"
    lines = [
        ("name", printable_line(row.name)),
        ("id", row.id),
        ("status", _status(row)),
        ("models", printable_line(", ".join(row.models)) or "all"),
        ("mcp tools", "all" if row.mcp is None else printable_line(", ".join(row.mcp)) or "none"),
        ("mcp default", printable_line(", ".join(row.mcp_default)) or "none"),
        ("requests/min", _number(row.requests_per_minute)),
        ("tokens/min", _number(row.tokens_per_minute)),
        ("budget", money),
        ("created", shown_time(row.created)),
        ("expires", "never" if row.expires is None else shown_time(row.expires)),
    ]
    for secret in record.secrets:
        until = "" if secret.expires is None else f", until {shown_time(secret.expires)}"
        lines.append(("key", f"{secret.prefix}… since {shown_time(secret.created)}{until}"))
    return lines


def _line(record: KeyRecord) -> list[str]:
    row = record.row
    return [
        printable_line(row.name),
        f"{record.secrets[0].prefix}…",
        _status(row),
        printable_line(", ".join(row.models)) or "all",
        _number(row.requests_per_minute),
        _number(row.tokens_per_minute),
        _budget(row),
        "never" if row.expires is None else shown_time(row.expires),
    ]


def _status(row: KeyRow) -> str:
    if row.revoked is not None:
        return f"revoked {shown_time(row.revoked)}"
    return "expired" if row.expires is not None and row.expires < time.time() else "active"


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _budget(row: KeyRow) -> str:
    if row.budget_usd is None:
        return "-"
    return budget_words(f"${dollars(row.budget_usd)}", row.budget_per)


def _as_json(record: KeyRecord) -> dict[str, Any]:
    row = record.row
    return {
        "id": row.id,
        "name": row.name,
        "status": _status(row).partition(" ")[0],
        "models": list(row.models),
        "mcp": None if row.mcp is None else list(row.mcp),
        "mcp_default": list(row.mcp_default),
        "requests_per_minute": row.requests_per_minute,
        "tokens_per_minute": row.tokens_per_minute,
        "budget_usd": None if row.budget_usd is None else f"{row.budget_usd:f}",
        "budget_per": row.budget_per,
        "created": row.created,
        "expires": row.expires,
        "revoked": row.revoked,
        "secrets": [
            {"prefix": secret.prefix, "created": secret.created, "expires": secret.expires}
            for secret in record.secrets
        ],
    }
