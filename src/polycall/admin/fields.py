"""The input of administrators: JSON bodies and queries, read strictly; errors name the field."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from polycall.config import KEY_NAME_RULE, is_key_name, moment
from polycall.config.reader import BUDGET_USD_MAX, NUMBER_MAX
from polycall.errors import InvalidRequestError
from polycall.gateway.accounts.windows import SPANS

T = TypeVar("T", bound=Struct)

MODELS_MAX = 200
_TEXT_MAX = 300


class LimitFields(Struct, forbid_unknown_fields=True):
    """Limits of a key or a team; what is not given stays, `null` takes a limit away."""

    models: list[str] | UnsetType = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    budget_usd: str | int | float | UnsetType | None = UNSET
    budget_per: str | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """The fields that were given, checked."""
        changed: dict[str, Any] = {}
        if self.models is not UNSET:
            changed["models"] = _patterns(self.models)
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not UNSET:
                if value is not None and not 0 < value <= NUMBER_MAX:
                    raise InvalidRequestError(f"{name} is from 1 to {NUMBER_MAX}, not {value}")
                changed[name] = value
        if self.budget_usd is not UNSET:
            changed["budget_usd"] = _money(self.budget_usd)
        if self.budget_per is not UNSET:
            if self.budget_per not in SPANS:
                said = self.budget_per
                raise InvalidRequestError(
                    f"budget_per is one of {', '.join(SPANS)}, not {said!r:.100}"
                )
            changed["budget_per"] = self.budget_per
        return changed


class KeyFields(LimitFields, forbid_unknown_fields=True):
    """The fields of a key that may change.

    `expires` is seconds since 1970, or a date; `team` a name.
    """

    name: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    team: str | UnsetType | None = UNSET
    expires: str | int | float | UnsetType | None = UNSET
    mcp: list[str] | UnsetType | None = UNSET  # patterns of tools; `null` for all
    mcp_default: list[str] | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """The changes, as in `LimitFields`; the caller looks up the team and the name."""
        changed = super().changes()
        if self.owner is not UNSET:
            if len(self.owner) > _TEXT_MAX or not (self.owner.isprintable()):
                raise InvalidRequestError(f"owner is at most {_TEXT_MAX} printable characters")
            changed["owner"] = self.owner
        if self.mcp is not UNSET:
            changed["mcp"] = None if self.mcp is None else _patterns(self.mcp)
        if self.mcp_default is not UNSET:
            changed["mcp_default"] = _patterns(self.mcp_default)
        if self.expires is not UNSET:
            changed["expires"] = _future(self.expires)
        return changed


def checked_name(name: str | UnsetType) -> str:
    """A name that a key, a team or an administrator may have."""
    if name is UNSET:
        raise InvalidRequestError("'name' is missing")
    if not is_key_name(name):
        raise InvalidRequestError(f"{name!r:.200} cannot be a name: {KEY_NAME_RULE}")
    return name


def read(kind: type[T], data: bytes) -> T:
    """A JSON body as `kind`; `InvalidRequestError` says which field is wrong, and why."""
    try:
        # The strict reader: no database and no log takes half of a surrogate pair.
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"the body is wrong: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None


class Query:
    """The parameters of a query; those that are not known are an error."""

    def __init__(self, values: Mapping[str, str], known: frozenset[str]) -> None:
        for name in values:
            if name not in known:
                words = ", ".join(sorted(known)) or "none"
                raise InvalidRequestError(f"{name!r:.100} is no parameter here; known: {words}")
        self._values = values

    def text(self, name: str) -> str:
        """A text, empty where it is not given."""
        value = self._values.get(name, "")
        if len(value) > _TEXT_MAX or "\0" in value:
            raise InvalidRequestError(
                f"{name} is at most {_TEXT_MAX} characters, none of them zero"
            )
        return value.encode("utf-8", "replace").decode()

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        text = self._values.get(name, "")
        try:
            value = float(text) if text else default
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InvalidRequestError(f"{name} is a number, not {text!r:.100}")
        return value

    def count(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = self.number(name, default)
        if value != int(value) or not 1 <= value <= most:
            raise InvalidRequestError(f"{name} is a whole number from 1 to {most}")
        return int(value)

    def moment(self, name: str, default: float) -> float:
        """Seconds since 1970, a date, or seconds before now where it is below zero."""
        text = self._values.get(name, "")
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            found = moment(text)
            if found is None:
                raise InvalidRequestError(
                    f"{name} is seconds, a date or a time, not {text!r:.100}"
                ) from None
            return found
        if not math.isfinite(value) or abs(value) > 1e12:
            raise InvalidRequestError(f"{name} is no moment: {text!r:.100}")
        return time.time() + value if value < 0 else value

    def flag(self, name: str) -> bool:
        """`true` or `false`, false where it is not given."""
        text = self._values.get(name, "")
        if text not in ("", "true", "false"):
            raise InvalidRequestError(f"{name} is 'true' or 'false', not {text!r:.100}")
        return text == "true"


def _patterns(patterns: list[str]) -> tuple[str, ...]:
    # What nobody sees in a list would let a key do what nobody reads in it.
    is_wrong = any(not p or len(p) > _TEXT_MAX or not p.isprintable() for p in patterns)
    if len(patterns) > MODELS_MAX or is_wrong:
        raise InvalidRequestError(
            f"a list has at most {MODELS_MAX} patterns, each of 1 to {_TEXT_MAX} printable "
            "characters"
        )
    return tuple(patterns)


def _money(value: str | float | None) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 < amount <= BUDGET_USD_MAX:
        raise InvalidRequestError(
            f"budget_usd is dollars above 0, at most {BUDGET_USD_MAX}, not {value!r:.100}"
        )
    return amount


def _future(value: str | float | None) -> float | None:
    if value is None:
        return None
    at = moment(value) if isinstance(value, str) else float(value)
    if at is None or not time.time() < at < 1e12:
        raise InvalidRequestError(f"expires is a moment to come, not {value!r:.100}")
    return at
