"""`[[keys]]`: clients' keys in the configuration, and what may be the name of one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from polycall.config.reader import Reader

_KEY_NAME_LENGTH_MAX = 100
KEY_NAME_RULE = f"1 to {_KEY_NAME_LENGTH_MAX} printable characters, without a space at its ends"


class ClientKey(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[keys]]`: a key that clients may use.  `models` are patterns such as `openai/*`."""

    key: str
    name: str = ""
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd: Decimal | None = None
    budget_per: Literal["day", "week", "month", "total"] = "month"  # in UTC
    mcp: tuple[str, ...] | None = None  # patterns of MCP tools, `github_*`; without, all
    mcp_default: tuple[str, ...] = ()  # servers whose tools its model requests have
    expires: Any = None  # as written: a date or a time; then seconds


def is_key_name(name: str) -> bool:
    """Whether a key may be called so."""
    # What joins two emoji to one is no letter that can be printed by itself.
    bare = name.replace("\u200d", "")
    is_text = bare.isprintable() and bare != "" and name == name.strip()
    return is_text and len(name) <= _KEY_NAME_LENGTH_MAX


def moment(value: Any) -> float | None:
    """The seconds since 1970 of a date or time, which is in UTC where it does not say."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, datetime.min.time())
    except ValueError:
        return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def read_client_keys(reader: Reader, tables: Any) -> tuple[ClientKey, ...]:
    """The keys of the file, each mistake noted."""
    if not isinstance(tables, list):
        reader.note(("keys",), "must be written [[keys]], once for each key")
        return ()
    found: list[ClientKey] = []
    known: set[str] = set()
    for index, value in enumerate(tables):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        path = ("keys", index)
        table = reader.table(ClientKey, value, path)
        if table is None:
            continue
        key = reader.secret(table.key, (*path, "key"))
        if key and key in known:
            reader.note((*path, "key"), "is the same key as an earlier one")
        known.add(key)
        reader.check_numbers(table, path)
        name = table.name or f"key-{index + 1}"
        if not is_key_name(name):
            reader.note((*path, "name"), f"{name!r} cannot be a key's name: {KEY_NAME_RULE}")
        expires = None if table.expires is None else moment(table.expires)
        if table.expires is not None and expires is None:
            reader.note(
                (*path, "expires"), "is not a date; write 2027-01-31 or 2027-01-31T12:00:00Z"
            )
        found.append(replace(table, key=key, name=name, expires=expires))
    return tuple(found)
