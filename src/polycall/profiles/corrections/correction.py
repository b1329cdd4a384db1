"""One correction, and requests with corrections applied."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

from polycall.ir import JSON, Warning
from polycall.profiles.corrections.places import value_at
from polycall.profiles.corrections.policy import kind_of, may_be_called, may_send
from polycall.translation.efforts import EFFORTS
from polycall.translation.quirks import Quirks

Act: TypeAlias = Literal[
    "drop", "rename", "at_most", "at_least", "length", "values", "header", "beta", "quirk", "pairs"
]
WORDS_MAX = 300
PAIRS = "messages"  # the path of all corrections that pair calls with results
_HASHED_MIN = 16
_MAPS = frozenset({"metadata", "labels"})


class Correction(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A change of requests to one provider and model that a refusal asked for.

    `path` is a place in the body (`*` for every item of a list), a header, or a field of `Quirks`.
    `pairs` has the history written anew, as translation does: with one result for each call.
    `value` is the new name, the bound, the values that are taken, or the header's.  `words` are the
    provider's, `read` the moment at which they came (ISO 8601, UTC).
    """

    provider: str
    address: str
    model: str
    dialect: str
    act: Act
    path: str
    value: Any = None
    words: str = ""
    read: str = ""

    @property
    def key(self) -> str:
        """The subject of the correction: a later one of the same key replaces it."""
        named = (self.provider, self.address, self.model, self.dialect, self.act, self.path)
        return hashlib.sha256("\x1f".join(named).encode()).hexdigest()[:32]

    @property
    def change(self) -> str:
        """In words: what is done to requests."""
        match self.act:
            case "drop":
                return f"{self.path} is left out"
            case "rename":
                return f"{self.path} is sent as {self.value}"
            case "at_most":
                return f"{self.path} is at most {self.value}"
            case "at_least":
                return f"{self.path} is at least {self.value}"
            case "length":
                return f"{self.path} has at most {self.value} characters or items"
            case "values":
                return f"{self.path} is one of {', '.join(map(str, self.value))}"
            case "header":
                return f"the header {self.path}: {self.value} is sent"
            case "beta":
                return f"{', '.join(self.value)} is left out of the header {self.path}"
            case "quirk":
                return f"requests are written for {_QUIRK_WORDS[self.path]}"
            case "pairs":
                return "the history is sent with one result for each call"

    @property
    def is_sane(self) -> bool:
        """Whether the policy lets it be: asked of every one that is read or loaded."""
        kind = kind_of(self.path)
        match self.act:
            case "drop":
                return kind == "hint"
            case "rename":
                return isinstance(self.value, str) and may_be_called(self.path, self.value)
            case "at_most":
                return kind != "" and _is_number(self.value) and self.value >= 0
            case "at_least":
                return kind == "hint" and _is_number(self.value)
            case "length":
                return kind == "hint" and isinstance(self.value, int) and self.value > 0
            case "values":
                return kind == "hint" and isinstance(self.value, list) and bool(self.value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            case "header":
                return isinstance(self.value, str) and may_send(self.path, self.value)
            case "beta":
                return self.path == "anthropic-beta" and isinstance(self.value, list)
            case "quirk":
                return self.path in _QUIRK_WORDS
            case "pairs":
                return self.path == PAIRS


class Refused(Struct, frozen=True):
    """The corrections of one refusal.  `lasts`: they hold for other requests of the model too."""

    corrections: tuple[Correction, ...]
    lasts: bool


def corrected(
    body: JSON, headers: Mapping[str, str], corrections: Iterable[Correction]
) -> tuple[JSON, dict[str, str], list[Warning]]:
    """Body and headers with the corrections applied, and a warning for each that changed them."""
    sent, warnings = dict(headers), list[Warning]()
    for each in corrections:
        if each.act == "quirk":
            continue
        if each.act == "pairs":
            warnings.append(_warning(each))
            continue
        if each.act in ("header", "beta"):
            changed_headers = _with_header(sent, each)
            if changed_headers is not None:
                sent = changed_headers
                warnings.append(_warning(each))
            continue
        changed = _changed(body, each.path.split("."), _act_of(each))
        if each.act == "rename" and changed is not body:
            changed = _renamed(body, each)
        if changed is not body:
            body = changed
            warnings.append(_warning(each))
    return body, sent, warnings


def has_quirks(corrections: Sequence[Correction]) -> bool:
    """Whether a body must be written anew, and not only patched."""
    return bool(corrections) and any(each.act in ("quirk", "pairs") for each in corrections)


def corrected_quirks(quirks: Quirks, corrections: Iterable[Correction]) -> Quirks:
    """The quirks of a target with what its refusals said."""
    changes: dict[str, Any] = {}
    for each in corrections:
        if each.act != "quirk":
            continue
        match each.path:
            case "response_formats" | "tool_choices" | "thinking_forms":
                known: frozenset[str] = changes.get(each.path, getattr(quirks, each.path))
                changes[each.path] = known - set(each.value)
            case "thinking_unit":
                changes["thinking_unit"] = each.value
                changes["thinking_forms"] = frozenset({each.value})
            case _:
                changes[each.path] = False
    return replace(quirks, **changes) if changes else quirks


_QUIRK_WORDS = {
    "developer_role": "a server that does not know the role developer",
    "late_system": "a model that takes system messages at the start alone",
    "response_formats": "a model without answers by JSON Schema",
    "tool_choices": "a model that cannot be forced to call a tool",
    "thinking_forms": "a model that does not take this form of thinking",
    "thinking_unit": "a model that takes the other unit of thinking",
    "budget_zero": "a model that always thinks",
    "tools_with_json": "a model that takes no tools next to an answer in JSON",
    "effort_beside_tools": "a model that takes no effort next to functions",
}


def _warning(correction: Correction) -> Warning:
    said = f"{correction.change}, since the provider refused it on {correction.read[:10]}"
    kind = "unsupported" if correction.act == "drop" else "adjusted"
    return Warning(kind, correction.path, f"{said}: {correction.words!r}")


# ---------------------------------------------------------------------------------------------
# Bodies.  What does not change is shared with the original.

_Change: TypeAlias = Callable[[JSON, str], JSON]


def _changed(value: Any, steps: list[str], change: _Change) -> Any:
    step = steps[0]
    if step == "*" and isinstance(value, list):
        items = cast("list[Any]", value)
        new = [_changed(item, steps[1:], change) for item in items]
        return new if any(a is not b for a, b in zip(new, items, strict=True)) else items
    if not isinstance(value, dict) or step not in value:
        return value  # pyright: ignore[reportUnknownVariableType]
    fields = cast("JSON", value)
    if len(steps) == 1:
        return change(fields, step)
    below = _changed(fields[step], steps[1:], change)
    if below is fields[step]:
        return fields
    if below == {} and len(steps) == 2:
        return _without(fields, step)  # nothing is left of it
    return {**fields, step: below}


def _without(fields: JSON, name: str) -> JSON:
    return {key: value for key, value in fields.items() if key != name}


def _dropped(fields: JSON, name: str) -> JSON:
    """The fields without one; an object with a budget of tokens stays, for that is a limit."""
    value = fields[name]
    if isinstance(value, dict) and any("budget" in str(key).lower() for key in cast("JSON", value)):
        return fields
    return _without(fields, name)


def _act_of(correction: Correction) -> _Change:
    match correction.act:
        case "drop":
            return _dropped
        case "rename":
            return _without
        case "at_most":
            return lambda fields, name: _bounded(fields, name, most=correction.value)
        case "at_least":
            return lambda fields, name: _bounded(fields, name, least=correction.value)
        case "length":
            return lambda fields, name: _shortened(fields, name, correction.value)
        case _:
            return lambda fields, name: _nearest(fields, name, correction.value)


def _renamed(body: JSON, correction: Correction) -> JSON:
    """The body with a field under another name: a sibling, or a path from the root."""
    steps, new = correction.path.split("."), str(correction.value).split(".")
    if len(new) == 1:

        def rename(fields: JSON, name: str) -> JSON:
            if new[-1] in fields:
                return fields
            return {(new[-1] if key == name else key): value for key, value in fields.items()}

        return _changed(body, steps, rename)
    value = value_at(body, correction.path)
    if value_at(body, str(correction.value)) is not None:
        return body
    return _placed(_changed(body, steps, _without), new, value)


def _placed(fields: JSON, steps: list[str], value: Any) -> JSON:
    if len(steps) == 1:
        return {**fields, steps[0]: value}
    below: Any = fields.get(steps[0])
    inner: JSON = cast("JSON", below) if isinstance(below, dict) else {}
    return {**fields, steps[0]: _placed(inner, steps[1:], value)}


def _bounded(
    fields: JSON, name: str, *, most: float | None = None, least: float | None = None
) -> JSON:
    value = fields[name]
    if not _is_number(value):
        return fields
    new = value
    if most is not None and value > most:
        new = most
    if least is not None and value < least:
        new = least
    return fields if new == value else {**fields, name: new}


def _shortened(fields: JSON, name: str, most: int) -> JSON:
    value = fields[name]
    if not isinstance(value, str | list | dict) or len(cast("str", value)) <= most:
        return fields
    if isinstance(value, str):
        # Two long names must not become one.
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        return {**fields, name: digest[:most] if most >= _HASHED_MIN else value[:most]}
    if isinstance(value, list):
        return {**fields, name: cast("list[Any]", value)[:most]}
    if name not in _MAPS:
        return fields
    return {**fields, name: dict(list(cast("JSON", value).items())[:most])}


def _nearest(fields: JSON, name: str, taken: list[Any]) -> JSON:
    """The field with the nearest value that is taken; without it where none is near."""
    value = fields[name]
    if value in taken or isinstance(value, dict | list):
        return fields
    words = [word for word in taken if isinstance(word, str)]
    if isinstance(value, str):
        same = next((word for word in words if word.lower() == value.lower()), None)
        near = same or _near_effort(value.lower(), words)
        if near is not None:
            return {**fields, name: near}
    return _without(fields, name)


def _near_effort(value: str, words: list[str]) -> str | None:
    """The nearest effort: below before above, and above by one step alone."""
    order: list[str] = list(EFFORTS)
    if value not in order:
        return None
    place = order.index(value)
    known = {order.index(word.lower()): word for word in words if word.lower() in order}
    below = [spot for spot in known if spot < place]
    above = [spot for spot in known if spot > place]
    if below and not (value != "none" and order[max(below)] == "none" and above):
        return known[max(below)]
    least = min(above, default=None)
    if least is not None and (least - place <= 1 or order[least] in ("minimal", "low")):
        return known[least]
    return known[max(below)] if below else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---------------------------------------------------------------------------------------------
# Headers


def _with_header(headers: dict[str, str], correction: Correction) -> dict[str, str] | None:
    """The headers with the change; `None` where there is nothing to change."""
    name = next((each for each in headers if each.lower() == correction.path), correction.path)
    before = headers.get(name, "")
    flags = [flag.strip() for flag in before.split(",") if flag.strip()]
    if correction.act == "beta":
        kept = [flag for flag in flags if flag not in correction.value]
        if kept == flags:
            return None
        rest = {key: value for key, value in headers.items() if key != name}
        return {**rest, name: ",".join(kept)} if kept else rest
    value = str(correction.value)
    if value in flags or before == value:
        return None
    if correction.path.endswith(("-beta", "-features")):
        value = ",".join([*flags, value])
    return {**headers, name: value}
