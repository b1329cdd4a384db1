"""The rulebook: models and rules of the vendors, by day."""

from __future__ import annotations

import datetime
import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from polycall.sim.dated import placement
from polycall.sim.dated.conditions import JSON, match

# The last day on which sources were read: what a simulation answers as, unless given a day.
READ_ON = datetime.date(2026, 11, 29)
Basis: TypeAlias = Literal["documented", "recorded", "reported"]


class Model(Struct, frozen=True):
    """One model of a vendor's list.

    `since` and `until` are the first day on which it answers and the first on which it does not.
    `thinks`: by itself (`always`, whether or not that can be switched off), if `asked`, or `never`.
    `served_as` answers in its place, under its rules, from `routed_since` on.  `binds_thinking`
    checks that nothing before a thinking block has changed; `reads` are the models whose thinking
    blocks it can use, alongside its own.  `demands_signatures` wants the signatures of calls back.
    """

    name: str
    since: datetime.date
    source: str
    until: datetime.date | None = None
    thinks: Literal["always", "asked", "never"] = "never"
    served_as: str = ""
    routed_since: datetime.date | None = None
    binds_thinking: bool = False
    reads: list[str] = []
    demands_signatures: bool = False
    output_tokens_max: int | None = None

    def lives_on(self, day: datetime.date) -> bool:
        """Whether the vendor answers for it on this day."""
        return self.since <= day and (self.until is None or day < self.until)


class Rule(Struct, frozen=True, dict=True):
    """One refusal, with the days on which it holds and where that is said.

    `models` are patterns for whole names, those of simulated models (`sim-1`) included.  `when`
    must hold, and `unless` must not; `check` names a function for what no path can say.
    """

    id: str
    models: list[str]
    message: str
    since: datetime.date
    source: str
    when: dict[str, Any] = {}
    unless: dict[str, Any] = {}
    check: str = ""
    until: datetime.date | None = None
    status: int = 400
    type: str = ""
    param: str | None = None
    code: str | None = None
    read: datetime.date = READ_ON
    basis: Basis = "documented"

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """The models' names."""
        return re.compile("|".join(f"(?:{pattern})" for pattern in self.models))

    @property
    def needs_headers(self) -> bool:
        """Whether it asks for a header."""
        return any(path.startswith("headers.") for path in (*self.when, *self.unless))


class Cache(Struct, frozen=True, forbid_unknown_fields=True):
    """The size from which a prompt of these models is cached."""

    models: list[str]
    tokens_min: int
    source: str


class Refusal(Struct, frozen=True):
    """A vendor's refusal: its status, its words, and the rule's id and source."""

    status: int
    message: str
    type: str = ""
    param: str | None = None
    code: str | None = None
    rule: str = ""
    source: str = ""


class Rulebook:
    """The rules of every vendor on one day."""

    def __init__(self, as_of: datetime.date | None = None) -> None:
        self.as_of = as_of or READ_ON
        self._data = load()

    def model(self, vendor: str, name: str) -> Model | None:
        """A model of the vendor's list that lives on this day; `None` if absent."""
        model = self._data.models.get(vendor, {}).get(name)
        return model if model is not None and model.lives_on(self.as_of) else None

    def known(self, vendor: str, name: str) -> Model | None:
        """A model of the vendor's list, whether or not it lives on this day."""
        return self._data.models.get(vendor, {}).get(name)

    def was_retired(self, vendor: str, name: str) -> bool:
        """Whether the vendor had a model of this name and does not answer for it any more."""
        model = self._data.models.get(vendor, {}).get(name)
        return model is not None and model.until is not None and self.as_of >= model.until

    def models(self, vendor: str) -> list[Model]:
        """The vendor's models on this day, the newest first."""
        living = [m for m in self._data.models.get(vendor, {}).values() if m.lives_on(self.as_of)]
        return sorted(living, key=lambda model: model.since, reverse=True)

    def ruled_as(self, vendor: str, name: str) -> str:
        """The model under whose rules requests for this name come."""
        model = self._data.models.get(vendor, {}).get(name)
        if model is None or not model.served_as:
            return name
        routed = model.routed_since is None or self.as_of >= model.routed_since
        return model.served_as if routed else name

    def rules(self, wire: str) -> Iterator[Rule]:
        """The rules of a wire that hold on this day."""
        for rule in self._data.rules.get(wire, []):
            if rule.since <= self.as_of and (rule.until is None or self.as_of < rule.until):
                yield rule

    def cache_tokens_min(self, name: str) -> int | None:
        """The least prompt that a model's cache takes; `None` where no page says it."""
        for row in self._data.caches:
            if any(re.fullmatch(pattern, name) for pattern in row.models):
                return row.tokens_min
        return None

    def refusal(
        self, vendor: str, wire: str, name: str, body: JSON, headers: Mapping[str, str] | None
    ) -> Refusal | None:
        """The first refusal of a checked body, or `None`.

        `body` has the wire's own field names; conditions see headers under `headers`, those of
        betas as a list.  Rules about headers are left out where `headers` is `None`: unknown.
        """
        ruled = self.ruled_as(vendor, name)
        known = self._data.models.get(vendor, {}).get(ruled)
        limits = {"output_tokens_max": known.output_tokens_max} if known is not None else {}
        document = {**body, "headers": _headers(headers or {}), "limits": limits}
        for rule in self.rules(wire):
            if not rule.pattern.fullmatch(ruled) or (headers is None and rule.needs_headers):
                continue
            found = match(document, rule.when)
            if found is None or (rule.unless and match(document, rule.unless) is not None):
                continue
            if rule.check:
                seen = placement.CHECKS[rule.check](body)
                if seen is None:
                    continue
                found.update(seen)
            found["limit"] = limits.get("output_tokens_max")
            message = rule.message.format(model=name, **found)
            param = rule.param.format(model=name, **found) if rule.param else None
            return Refusal(rule.status, message, rule.type, param, rule.code, rule.id, rule.source)
        return None


def _headers(headers: Mapping[str, str]) -> JSON:
    lower: JSON = {name.lower(): value for name, value in headers.items()}
    betas = str(lower.get("anthropic-beta", ""))
    lower["anthropic-beta"] = [beta.strip() for beta in betas.split(",") if beta.strip()]
    return lower


class _Data(Struct):
    """Everything in the data files."""

    models: dict[str, dict[str, Model]]
    rules: dict[str, list[Rule]]
    caches: list[Cache]


@functools.cache
def load() -> _Data:
    """The data files, read once.  Raises ValueError where one says what no rule can mean."""
    models: dict[str, dict[str, Model]] = {}
    rules: dict[str, list[Rule]] = {}
    caches: list[Cache] = []
    folder = files("polycall.sim.dated") / "data"
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        table = tomllib.loads(entry.read_text(encoding="utf-8"))
        try:
            for vendor, rows in table.get("models", {}).items():
                known = msgspec.convert(_spread(rows), list[Model], strict=False)
                models.setdefault(vendor, {}).update({model.name: model for model in known})
            for wire, rows in table.get("rules", {}).items():
                each = [case for row in rows for case in _cases(row)]
                rules.setdefault(wire, []).extend(msgspec.convert(each, list[Rule], strict=False))
            caches += msgspec.convert(table.get("caches", []), list[Cache])
        except msgspec.ValidationError as error:
            raise ValueError(f"{entry.name}: {error}") from None
    return _Data(models, rules, caches)


def _cases(row: JSON) -> list[JSON]:
    """One rule for each case of a row: cases share its words and conditions, and may replace them.

    Each case is a rule of its own, with its own models, days and source.
    """
    cases = row.get("cases")
    if cases is None:
        return [row]
    shared = {field: value for field, value in row.items() if field != "cases"}
    return [
        {**shared, **case, "id": f"{row['id']}-{case.get('id', number)}"}
        for number, case in enumerate(cases, 1)
    ]


def _spread(rows: list[JSON]) -> list[JSON]:
    """One row for each name: a row may hold `names`, which share everything else."""
    spread: list[JSON] = []
    for row in rows:
        shared = {field: value for field, value in row.items() if field != "names"}
        spread += [{**shared, "name": name} for name in row.get("names", [row.get("name")])]
    return spread
