"""The contents of another gateway's file, in our own terms."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from polycall.errors import RequestError
from polycall.ir import JSON
from polycall.providers.catalogue import CATALOGUE

# What others call our built-in providers.
PREFIXES = {
    "gemini": "google",
    "google-ai": "google",
    "mistral-ai": "mistral",
    "together_ai": "together",
    "together-ai": "together",
    "fireworks_ai": "fireworks",
    "fireworks-ai": "fireworks",
    "x-ai": "xai",
    "hosted_vllm": "vllm",
    "ollama_chat": "ollama",
    "lm_studio": "lmstudio",
    # Clouds need more than a name.
    **{name: name for name, row in CATALOGUE.items() if not row.places},
}
_NOT_IN_A_NAME = re.compile(r"[^0-9a-zA-Z_-]+")


@dataclass
class ProviderRow:
    """One provider's table.  `keys` are references (`env:NAME`), never keys themselves."""

    name: str
    kind: str  # the built-in row that it begins with
    base_url: str = ""
    keys: list[str] = field(default_factory=list[str])
    prices: dict[str, JSON] = field(default_factory=dict[str, JSON])
    place: dict[str, str] = field(default_factory=dict[str, str])  # at a cloud: region, ...
    serves: dict[str, str] = field(default_factory=dict[str, str])  # deployments' models
    auth: str = ""  # where it is not the kind's own


@dataclass
class Found:
    """Everything, in the order of the file."""

    source: str
    providers: dict[str, ProviderRow] = field(default_factory=dict[str, ProviderRow])
    models: dict[str, list[JSON]] = field(default_factory=dict[str, list[JSON]])
    server: JSON = field(default_factory=dict[str, Any])
    tables: dict[str, JSON] = field(default_factory=dict[str, JSON])
    keys: list[JSON] = field(default_factory=list[JSON])
    notes: list[str] = field(default_factory=list[str])
    secrets: dict[str, str] = field(default_factory=dict[str, str])  # by value: the variable
    taken: set[str] = field(default_factory=set[str])  # variables that the file speaks of

    def note(self, place: str, words: str) -> None:
        """Something that has no counterpart, or is not the same here."""
        self.notes.append(f"{place}: {words}")

    def provider(
        self,
        kind: str,
        base_url: str,
        key: str,
        place: dict[str, str] | None = None,
        auth: str = "",
    ) -> ProviderRow:
        """The row for an address and key: one with the vendor's own name first."""
        place = place or {}
        base_url = base_url.rstrip("/")
        known = CATALOGUE.get(kind)
        if known is not None and base_url == known.base_url:
            base_url = ""
        for row in self.providers.values():
            own = (row.kind, row.base_url, row.place, row.auth)
            if own == (kind, base_url, place, auth) and key in ("", *row.keys):
                return row
        is_named = not base_url or base_url.startswith("env:")
        base = name = kind if is_named else name_of(base_url)
        number = 2
        while name in self.providers:
            name, number = f"{base}-{number}", number + 1
        row = ProviderRow(name, kind, base_url, [key] if key else [], place=place, auth=auth)
        self.providers[name] = row
        return row

    def secret(self, value: str, variable: str, place: str) -> str:
        """A reference to a key that stands in the file in clear; it is not copied."""
        if value in self.secrets:
            return f"env:{self.secrets[value]}"
        name, number = variable, 2
        while name in self.taken:
            name, number = f"{variable}_{number}", number + 1
        self.taken.add(name)
        self.secrets[value] = name
        self.note(place, f"the key stands in the file; put it into the variable {name}")
        return f"env:{name}"


def name_of(url: str) -> str:
    """A provider's name for an address: its host without what all hosts have."""
    try:
        host = urlsplit(url).hostname or "upstream"
    except ValueError as error:
        raise RequestError(f"{url!r} is not an address: {error}") from None
    return _NOT_IN_A_NAME.sub("-", host.removeprefix("api.")).strip("-") or "upstream"


def variable_of(text: str) -> str:
    """The name of an environment variable for something."""
    return re.sub(r"[^0-9A-Z]+", "_", text.upper()).strip("_")


def expect(value: Any, kind: type, place: str) -> Any:
    """The value, if it is of this kind; `RequestError` with its place otherwise."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = {dict: "a table", list: "a list", str: "text", int: "a number"}
        shown = names.get(kind, kind.__name__)
        raise RequestError(f"{place}: expected {shown}, got {type(value).__name__}")
    return value


def number(value: Any, place: str) -> float:
    """The number, also one that is written as text; `RequestError` with its place otherwise."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise RequestError(f"{place}: expected a number, got {value!r}")
    return found


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(found: Found) -> str:
    """The whole file."""
    lines = [f"# Made by `polycall import` from {found.source}."]
    if found.server:
        lines += ["", "[server]", *_fields(found.server)]
    for name, table in found.tables.items():
        lines += ["", f"[{name}]", *_fields(table)]
    for row in found.providers.values():
        lines += ["", *_provider(row)]
    for name, route in found.models.items():
        lines += ["", f"[models.{_key(name)}]"]
        if len(route) == 1:
            lines.append(f"route = [{_target(route[0])}]")
        else:
            lines += ["route = [", *(f"    {_target(each)}," for each in route), "]"]
    for key in found.keys:
        lines += ["", "[[keys]]", *_fields(key)]
    if found.notes:
        lines += ["", "# Without a counterpart, or not the same here:"]
        lines += [f"#   {line}" for line in found.notes]
    return "\n".join(lines) + "\n"


def _provider(row: ProviderRow) -> list[str]:
    table: JSON = {}
    known = CATALOGUE.get(row.kind)
    if known is not None and known.places:
        # A cloud's row has more to it than a dialect and an address.
        if row.name != row.kind:
            table["like"] = row.kind
        if row.base_url:
            table["base_url"] = row.base_url
        table.update(row.place)
    elif row.name != row.kind or row.base_url:
        table["dialect"] = known.dialect if known else "openai-chat"
        table["base_url"] = row.base_url or (known.base_url if known else "")
        if known is not None and known.tools_dialect is not None and not row.base_url:
            table["tools_dialect"] = known.tools_dialect
        if known is not None and known.dialect == "openai-chat":
            table["quirks"] = row.kind
    if row.auth:
        table["auth"] = row.auth
    if row.keys:
        table["api_key"] = row.keys[0] if len(row.keys) == 1 else row.keys
    lines = [f"[providers.{_key(row.name)}]", *_fields(table)]
    if row.serves:
        lines += [f"[providers.{_key(row.name)}.serves]", *_fields({**row.serves})]
    if row.prices:
        lines.append(f"[providers.{_key(row.name)}.prices]")
        lines += [f"{_key(model)} = {_inline(price)}" for model, price in row.prices.items()]
    return lines


def _target(target: JSON) -> str:
    return _text(target["model"]) if len(target) == 1 else _inline(target)


def _fields(table: JSON) -> list[str]:
    return [f"{_key(name)} = {_value(value)}" for name, value in table.items()]


def _inline(table: JSON) -> str:
    return "{ " + ", ".join(_fields(table)) + " }"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list():
            return "[" + ", ".join(_value(each) for each in value) + "]"  # pyright: ignore[reportUnknownVariableType]
        case _:
            return _text(str(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # JSON's escapes are TOML's too; what a terminal could not show stays readable text.
    return json.dumps(text, ensure_ascii=False)
