"""`polycall models MODEL` and `--retired`: what a model takes, with sources, and which ones end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from polycall._support.printable import printable_line
from polycall.config import Config
from polycall.errors import RequestError
from polycall.profiles import FEATURES, Profile, Retirement, near_names, profile, retirements
from polycall.profiles import retirement as retirement_of
from polycall.profiles.corrections import Correction
from polycall.profiles.rows import Value
from polycall.providers.provider import Provider
from polycall.sandbox.checks import Check

SOON_DAYS = 90


def show_profile(
    name: str,
    providers: Mapping[str, Provider],
    *,
    as_json: bool,
    corrections: Sequence[Correction] = (),
) -> str:
    """The profile of one model: a line for each feature, or a JSON object.

    `corrections` are what its refusals taught; each is a line more.
    Raises `RequestError` where nothing is known of the name.
    """
    prefix, slash, rest = name.partition("/")
    provider = providers.get(prefix) if slash else None
    found = profile(name) if provider is None else provider.profile(rest)
    if found is None and corrections and not as_json:
        return "\n".join([f"{name}: in no list", *map(_learned, corrections)])
    if found is None:
        raise RequestError(f"nothing is known of a model {name!r}; it is sent what is asked")
    sent = found.name if provider is None else provider.own_name(rest)
    if as_json:
        table = _as_json(found, sent)
        if corrections:
            table["corrections"] = [msgspec.to_builtins(each) for each in corrections]
        return json.dumps(table, ensure_ascii=False, indent=1)
    lines = [f"{name}: {found.vendor}, sent as {sent!r}"]
    if found.like:
        near = ", ".join(map(repr, near_names(found.vendor, found.name)))
        note = f"in no list: the rules of {found.like!r} are followed"
        lines.append(f"{note}; near: {near}" if near else note)
    end = retirement_of(found.name)
    if end is not None:
        lines.append(_end_of(end))
    width = max(len(feature) for feature in found.rows)
    shown = {feature: _shown(row.value) for feature, row in found.rows.items()}
    value_width = min(max(map(len, shown.values())), 44)
    for feature, row in found.rows.items():
        instead = FEATURES[feature].instead
        lines.append(
            f"  {feature:<{width}}  {shown[feature]:<{value_width}}  {instead:<7}  "
            f"{row.source.read}  {row.source.url}"
        )
    return "\n".join([*lines, *map(_learned, corrections)])


def _learned(correction: Correction) -> str:
    """One correction, with its day and the provider's words."""
    words = printable_line(correction.words)
    return (
        f"  learned {correction.read[:10]}  {correction.change}  ({correction.dialect}: {words!r})"
    )


def show_retired(*, as_json: bool, day: date | None = None) -> str:
    """All announced ends: a line for each name, or a JSON array."""
    today = day or datetime.now(UTC).date()
    found = retirements()
    if as_json:
        return json.dumps([_end_as_json(each, today) for each in found], indent=1)
    width = max(len(each.name) for each in found)
    return "\n".join(
        f"{each.on}  {'ended' if each.has_ended(today) else 'ends ':<5}  {each.name:<{width}}  "
        f"{each.instead or '-':<24}  {each.source.url}"
        for each in found
    )


def configured_names(config: Config) -> list[str]:
    """The models that a configuration names: in routes, in lists of models, for keys."""
    names = [target.model for alias in config.models.values() for target in alias.route]
    for provider, models in config.provider_models.items():
        names += [f"{provider}/{model}" for model in models]
    for key in config.keys:
        names += [model for model in key.models if not set(model) & set("*?[")]
    return [name for name in dict.fromkeys(names) if name not in config.models]


def check_names(config: Config, day: date | None = None) -> list[Check]:
    """A finding for each model of a configuration that has ended, ends soon, or is in no list."""
    today = day or datetime.now(UTC).date()
    findings: list[Check] = []
    names = configured_names(config)
    for name in names:
        prefix, _, model = name.partition("/")
        provider = config.providers.get(prefix)
        found = provider.profile(model) if provider is not None else None
        if provider is None or found is None:
            continue
        end = retirement_of(found.name)
        if end is not None and (end.on - today).days <= SOON_DAYS:
            state = "fail" if end.has_ended(today) else "warn"
            findings.append(Check(f"model {name}", state, _end_of(end)))
        elif found.like and provider.vendor:
            near = ", ".join(map(repr, near_names(found.vendor, found.name)))
            detail = f"in no list of the vendor's; near: {near or 'none'}"
            findings.append(Check(f"model {name}", "warn", detail))
    if names and not findings:
        findings.append(Check("models", "ok", f"{len(names)} named, none of them ends soon"))
    return findings


def _end_of(end: Retirement) -> str:
    instead = f"; use {end.instead!r}" if end.instead else ""
    return f"{end.name!r} ends on {end.on}{instead} ({end.source.url})"


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _as_json(found: Profile, sent: str) -> dict[str, Any]:
    end = retirement_of(found.name)
    return {
        "model": found.name,
        "vendor": found.vendor,
        "sent_as": sent,
        "rules_of": found.like or found.name,
        "is_listed": not found.like,
        "ends": None if end is None else str(end.on),
        "instead": None if end is None else end.instead,
        "features": {
            feature: {
                "value": row.value,
                "instead": FEATURES[feature].instead,
                "since": None if row.since is None else str(row.since),
                "until": None if row.until is None else str(row.until),
                "source": row.source.url,
                "read": str(row.source.read),
            }
            for feature, row in found.rows.items()
        },
    }


def _end_as_json(end: Retirement, today: date) -> dict[str, Any]:
    return {
        "model": end.name,
        "vendor": end.vendor,
        "ends": str(end.on),
        "has_ended": end.has_ended(today),
        "instead": end.instead,
        "source": end.source.url,
        "read": str(end.source.read),
    }
