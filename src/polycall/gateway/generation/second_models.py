"""Models that a request names alongside the one that answers it: advisors, and others in its tools.

They are the key's business as well: it has to be allowed to use them, and its budget pays for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from msgspec import Struct

from polycall.errors import MalformedRequestError, PermissionDeniedError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.limits import with_team
from polycall.gateway.passthrough.control_fields import OTHER_MODELS
from polycall.gateway.passthrough.request import Fields
from polycall.ir import JSON

_FIELDS = ("tools", "plugins", "context_management", "compaction")
_DEPTH_MAX = 8  # of tools within tools
_ADVISOR = "advisor"
# A panel answers, of models that the request may leave to its vendor (OpenRouter's).
_is_panel = re.compile(r"(?:.*:)?fusion(?![a-z])", re.IGNORECASE | re.DOTALL).match
# Google's own choice of another model, in the settings of a generation.
_GENERATION = ("generationConfig", "generation_config")
_ROUTERS = frozenset({"routingconfig", "modelconfig", "modelselectionconfig"})
# What narrows a vendor's choice adds no model to it.
_NARROWS = ("allowed", "excluded")


class SecondModel(Struct, frozen=True):
    """One of them.  `uses` and `output_tokens` are its bounds, 0 where there are none."""

    name: str
    path: str
    is_advisor: bool
    uses: int
    output_tokens: int


def second_models(owner: Owner, model: str, fields: Fields) -> list[SecondModel]:
    """The models that a request of `owner` for `model` names; raises for what it may not name."""
    is_bound = owner.models or (owner.team is not None and owner.team.models)
    if not (is_bound or owner.is_metered):
        return []
    owners = with_team(owner)
    for path in _several(fields):
        raise MalformedRequestError("this key may ask one model at a time; leave it out", path=path)
    found = [each for field in _FIELDS for each in _named(fields, field)]
    for each in found:
        # Its vendor's name, or that of the same provider here.
        here = f"{model.partition('/')[0]}/{each.name}"
        if not (owner.may_use(each.name) or ("/" in model and owner.may_use(here))):
            raise PermissionDeniedError(
                f"{owner.label} may not use {each.name!r}, which {each.path} names; "
                f"it may use: {', '.join(next(each.models for each in owners if each.models))}"
            )
        has_budget = any(each.budget_usd is not None for each in owners)
        if each.is_advisor and not each.uses and has_budget:
            raise MalformedRequestError(
                f"{owner.label} has a budget, so say how often {each.name!r} may be asked: "
                "'max_uses'",
                path=each.path,
            )
    return found


def _several(fields: Fields) -> Iterator[str]:
    """The fields by which the request has more models answer, or another one than it names."""
    yield from (name for name in OTHER_MODELS if fields.value(name))
    for name in _GENERATION:
        settings: Any = fields.value(name) if name in fields else None
        if isinstance(settings, dict):
            for key, value in cast(JSON, settings).items():
                if value and _folded(key) in _ROUTERS:
                    yield f"{name}.{key}"
    for field in _FIELDS:
        for path, entry in _entries(fields, field):
            kinds = (str(entry.get("id", "")), str(entry.get("type", "")))
            if any(map(_is_panel, kinds)) and entry.get("enabled") is not False:
                yield path
            for holder in (entry, *(value for name, value in entry.items() if name != "headers")):
                for key, value in holder.items() if isinstance(holder, dict) else ():  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                    folded = _folded(str(key))  # pyright: ignore[reportUnknownArgumentType]
                    if value and folded.endswith("models") and not folded.startswith(_NARROWS):
                        yield f"{path}.{key}"


def _folded(name: str) -> str:
    return name.casefold().replace("_", "")


def _entries(fields: Fields, field: str) -> Iterator[tuple[str, JSON]]:
    """The objects of a field that is one or has a list of them, each with its place."""
    value: Any = fields.value(field) if field in fields else None
    yield from _objects(value, field)
    raw = fields.raw("input") if field == "tools" else None
    if raw is not None and b'"tools"' in bytes(raw):  # those that came later, or were found
        for path, item in _objects(fields.value("input"), "input"):
            yield from _objects(item.get("tools"), f"{path}.tools")


def _objects(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, JSON]]:
    """The objects that a value is or has, and the tools within each."""
    if depth > _DEPTH_MAX:
        raise MalformedRequestError("tools are nested too deeply", path=path[:100])
    items = cast("list[Any]", value if isinstance(value, list) else [value])
    for number, item in enumerate(items):
        if isinstance(item, dict):
            place = f"{path}[{number}]" if isinstance(value, list) else path
            entry = cast(JSON, item)
            yield place, entry
            if isinstance(entry.get("tools"), list) and path != "input":
                yield from _objects(entry["tools"], f"{place}.tools", depth + 1)


def advisor_usages(models: list[SecondModel], input_tokens: int, output_tokens: int) -> list[JSON]:
    """The highest possible usage of advisors, in the form in which Anthropic reports it."""
    return [
        {
            "type": "advisor_message",
            "model": each.name,
            "input_tokens": each.uses * input_tokens,
            "output_tokens": each.uses * (each.output_tokens or output_tokens),
        }
        for each in models
        if each.is_advisor and each.uses
    ]


def _named(fields: Fields, field: str) -> list[SecondModel]:
    found: list[SecondModel] = []
    for path, entry in _entries(fields, field):
        for inner in (entry, *entry.values()):
            name: Any = inner.get("model") if isinstance(inner, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if isinstance(name, str) and name:
                is_advisor = str(entry.get("type", "")).startswith(_ADVISOR)
                bounds = (_count(entry.get("max_uses")), _count(entry.get("max_tokens")))
                found.append(SecondModel(name, f"{path}.model", is_advisor, *bounds))
    return found


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
