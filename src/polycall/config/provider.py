"""`[providers.NAME]`: a vendor's row from configuration, over the catalogue's where it has one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polycall.config.reader import Reader
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.hosting import PLACE_VALUE
from polycall.providers.provider import Auth, Capabilities, DialectName, Price, Provider
from polycall.providers.quirks import NAMED_QUIRKS
from polycall.translation.quirks import Quirks


class ProviderTable(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[providers.NAME]`; built-in names need only a key."""

    dialect: DialectName | None = None
    base_url: str | None = None
    api_key: str | list[str] | None = None
    quirks: str | dict[str, Any] | None = None
    auth: Auth | None = None
    headers: dict[str, str] = {}
    models: list[str] = []
    prices: dict[str, dict[str, Any]] = {}
    capabilities: dict[str, dict[str, Any]] = {}
    price_id: str | None = None
    serves: dict[str, str] = {}
    runs_programs: bool | None = None
    searches_tools: bool | None = None
    tools_dialect: DialectName | None = None
    like: str = ""  # the built-in row that this one is another of
    region: str = ""
    project: str = ""
    location: str = ""
    resource: str = ""
    profile: str = ""
    scope: str = ""
    native_url: str = ""  # for what stands alongside the chat, where that is elsewhere
    answer_bytes_max: int | None = None  # of a whole answer, and of one event of a stream
    embeddings: Literal["", "openai", "mistral", "ollama", "google", "vertex", "cohere"] = ""


_PLACES = ("region", "project", "location", "resource", "profile")
# A Chat server of which nothing was stated is treated with care.
_UNSTATED = NAMED_QUIRKS["compatible"]
_AUTH: dict[DialectName, Auth] = {
    "openai-chat": "bearer",
    "openai-responses": "bearer",
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
    "gemini-interactions": "x-goog-api-key",
    "bedrock-converse": "aws",
    "ollama-chat": "bearer",
}


def read_provider(reader: Reader, name: str, table: Any) -> ProviderTable | None:
    """The table, checked by itself."""
    return reader.table(ProviderTable, table, ("providers", name))


def make_provider(reader: Reader, name: str, table: ProviderTable) -> Provider | None:
    """The provider's row; `None` where it has mistakes."""
    path = ("providers", name)
    table = _with_variables(reader, table, path)
    row = CATALOGUE.get(table.like or name)
    if table.like and row is None:
        reader.unknown((*path, "like", table.like), CATALOGUE, "provider")
    place = _read_place(reader, table, path)
    dialect = table.dialect or (row.dialect if row else None)
    base_url = table.base_url or (row.base_url if row else None)
    if dialect is None and not reader.has_noted((*path, "dialect")):
        reader.note(path, f"'dialect' is missing; {', '.join(get_args(DialectName))}")
    if base_url is None and not reader.has_noted((*path, "base_url")):
        reader.note(path, "'base_url' is missing; write it as the vendor's own SDK takes it")
    elif base_url is not None and not _is_address(base_url):
        reader.note((*path, "base_url"), f"{base_url!r} is not an http or https address")
    is_stated = row is not None and row.dialect == dialect
    unstated = _UNSTATED if dialect == "openai-chat" else Quirks()
    quirks = _read_quirks(reader, table, row.quirks if row and is_stated else unstated, path)
    prices = _read_prices(reader, table, path)
    own = _read_capabilities(reader, table, path)
    if dialect is None or base_url is None:
        return None
    if row is None or not is_stated:
        # Another format than the catalogue's: nothing else of that row holds.
        row = Provider(
            name=name,
            dialect=dialect,
            base_url=base_url,
            auth=_AUTH[dialect],
            headers=CATALOGUE["anthropic"].headers if dialect == "anthropic" else {},
            quirks=unstated,
            needs_key=False,
        )
    is_at_home = table.base_url in (None, row.base_url)
    return replace(
        row,
        name=name,
        place={**row.place, **place},
        scope=table.scope or row.scope,
        native_url=table.native_url or row.native_url,
        answer_bytes_max=_read_bytes_max(reader, table, path),
        embeddings=table.embeddings or row.embeddings,
        base_url=base_url,
        auth=table.auth or row.auth,
        headers={**row.headers, **{key.lower(): value for key, value in table.headers.items()}},
        quirks=row.quirks if quirks is None else quirks,
        stated=_stated(table),
        serves={**row.serves, **table.serves},
        tools_dialect=table.tools_dialect or row.tools_dialect,
        runs_programs=_has(table.runs_programs, row.runs_programs, is_at_home=is_at_home),
        searches_tools=_has(table.searches_tools, row.searches_tools, is_at_home=is_at_home),
        price_id=row.price_id if table.price_id is None else table.price_id,
        # By the names that are sent, however they are written here.
        prices={**row.prices, **{row.own_name(model): each for model, each in prices.items()}},
        capabilities={**row.capabilities, **{row.own_name(m): each for m, each in own.items()}},
    )


def _with_variables(reader: Reader, table: ProviderTable, path: tuple[str, ...]) -> ProviderTable:
    """The table with addresses and places that stand in the environment."""
    given = {field: getattr(table, field) for field in ("base_url", "native_url", *_PLACES)}
    found = {
        field: reader.variable(value, (*path, field))
        for field, value in given.items()
        if isinstance(value, str) and value.startswith("env:")
    }
    return replace(table, **found) if found else table


def _read_bytes_max(reader: Reader, table: ProviderTable, path: tuple[str, ...]) -> int | None:
    most, least, greatest = table.answer_bytes_max, 2**20, 256 * 2**20
    if most is not None and not least <= most <= greatest:
        reader.note((*path, "answer_bytes_max"), f"must be from {least} to {greatest}, not {most}")
    return most


def _stated(table: ProviderTable) -> frozenset[str]:
    """The quirks that the table sets by themselves: no model's profile changes them."""
    return frozenset(table.quirks or ()) if isinstance(table.quirks, dict) else frozenset()


def _has(said: bool | None, known: bool, *, is_at_home: bool) -> bool:
    """Whether the table says so; behind an address of its own, a vendor's name promises nothing."""
    return known and is_at_home if said is None else said


def _read_place(reader: Reader, table: ProviderTable, path: tuple[str, ...]) -> dict[str, str]:
    """Read the values in the address; they must not lead to another host."""
    place: dict[str, str] = {}
    for name in _PLACES:
        value: str = getattr(table, name)
        if value and PLACE_VALUE.fullmatch(value) is None:
            reader.note((*path, name), f"{value!r} is not a {name}: letters, digits, '-', '_', '.'")
        elif value:
            place[name] = value
    return place


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(re.sub(r"\{\w+\}", "x", text))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _read_quirks(
    reader: Reader, table: ProviderTable, stated: Quirks, path: tuple[str, ...]
) -> Quirks | None:
    """The provider's quirks; a table changes single fields of `base`, or of what it has anyhow."""
    place = (*path, "quirks")
    if table.quirks is None:
        return None
    if isinstance(table.quirks, str):
        named = NAMED_QUIRKS.get(table.quirks)
        if named is None:
            reader.unknown((*place, table.quirks), NAMED_QUIRKS, "set of quirks")
        return named
    own = dict(table.quirks)
    base_name = own.pop("base", None)
    base = stated if base_name is None else NAMED_QUIRKS.get(str(base_name))
    if base is None:
        reader.unknown((*place, str(base_name)), NAMED_QUIRKS, "set of quirks")
        return None
    if not _are_known(reader, own, Quirks.__struct_fields__, place, "quirk"):
        return None
    read = reader.table(Quirks, own, place)
    return None if read is None else replace(base, **{key: getattr(read, key) for key in own})


def _read_capabilities(
    reader: Reader, table: ProviderTable, path: tuple[str, ...]
) -> dict[str, Capabilities]:
    found: dict[str, Capabilities] = {}
    for model, stated in table.capabilities.items():
        place = (*path, "capabilities", model)
        if _are_known(reader, stated, Capabilities.__struct_fields__, place, "capability"):
            read = reader.table(Capabilities, stated, place)
            if read is not None:
                reader.check_numbers(read, place)
                found[model] = read
    return found


def _are_known(
    reader: Reader, own: dict[str, Any], fields: Iterable[str], place: tuple[str, ...], what: str
) -> bool:
    strange = [key for key in own if key not in fields]
    for key in strange:
        reader.unknown((*place, key), fields, what)
    return not strange


def _read_prices(reader: Reader, table: ProviderTable, path: tuple[str, ...]) -> dict[str, Price]:
    prices: dict[str, Price] = {}
    for model, price in table.prices.items():
        amounts = {
            key: Decimal(str(value)) if type(value) in (int, float) else value
            for key, value in price.items()
        }
        place = (*path, "prices", model)
        if not _are_known(reader, amounts, Price.__struct_fields__, place, "price"):
            continue
        try:
            prices[model] = msgspec.convert(amounts, Price)
        except msgspec.ValidationError as error:
            reader.misfit(place, amounts, Price, error)
        else:
            reader.check_numbers(prices[model], place, may_be_zero=True)
    return prices
