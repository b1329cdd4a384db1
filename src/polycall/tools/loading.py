"""Reads JSON into a type of Python's, as the schema says that was sent.

Pydantic's strict mode keeps JSON's types from being bent into each other, and refuses what fits: a
validator that runs before hands it Python's values, from which strict mode makes no date and no
set.  So what strict mode refuses is taken where it fits the schema, and pydantic reads it without.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, cast

import jsonschema_rs
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator, core_schema, to_jsonable_python

from polycall._support import jsontext
from polycall.ir import JSON
from polycall.schema.walk import as_array, as_object

# Beyond this a double is not an exact integer, and what was meant is lost.
_INTEGER_ERRORS = ("int_type", "int_from_float")


class MisfitError(ValueError):
    """The text does not fit; `details` are pydantic's, those alone that say what is wrong."""

    def __init__(self, details: list[ErrorDetails]) -> None:
        super().__init__("the value does not fit its schema")
        self.details = details


class Loader:
    """Reads JSON text of one type; `schema` is the one that the model was sent."""

    def __init__(self, adapter: TypeAdapter[Any], schema: JSON) -> None:
        self._validator = _validator(adapter)
        self._schema = schema
        core = cast("Any", adapter.core_schema)
        self.keeps_digits = _mentions(core, lambda node: node.get("type") == "decimal")

    def load(self, text: str | bytes) -> Any:
        """The value; `MisfitError` if absent."""
        exact = _with_digits(text) if self.keeps_digits else text
        if exact != text:
            try:
                return self._load(exact)
            except MisfitError:
                # Not all of them are decimals.
                pass
        return self._load(text)

    def _load(self, text: str | bytes) -> Any:
        try:
            return self._validator.validate_json(text, strict=True)
        except ValidationError as error:
            strict = error.errors(include_url=False, include_context=False)
        try:
            given = jsontext.decode(text)
        except ValueError:
            raise MisfitError(strict) from None
        misfits = self._misfits(given)
        inexact = [each for each in strict if _is_inexact(each)]
        try:
            value = self._validator.validate_json(text, strict=False)
        except ValidationError as error:
            lax = error.errors(include_url=False, include_context=False)
        else:
            if misfits is None or misfits or inexact:
                raise MisfitError(_true(strict, misfits, inexact, given) or strict)
            return value
        if misfits is None:
            raise MisfitError(strict)
        found = _true(strict, misfits, [*lax, *inexact], given)
        raise MisfitError(found or lax)

    def _misfits(self, given: Any) -> list[tuple[str | int, ...]] | None:
        """The places where the value does not fit the schema.

        `None` where the schema is unusable.
        """
        check = self._check
        return None if check is None else [tuple(each.instance_path) for each in check(given)]

    @functools.cached_property
    def _check(self) -> Callable[[Any], Any] | None:
        try:
            return jsonschema_rs.validator_for(self._schema, offline=True).iter_errors
        except ValueError:
            # Such as a pattern that only Python reads.
            return None


def _with_digits(text: str | bytes) -> str | bytes:
    """The text, with numbers that no float holds as strings, of which pydantic keeps all digits."""
    try:
        exact = jsontext.encode_bytes(jsontext.decode_exactly(text))
        return text if exact == jsontext.encode_bytes(jsontext.decode(text)) else exact
    except ValueError:
        return text


def _true(
    strict: list[ErrorDetails],
    misfits: list[tuple[str | int, ...]] | None,
    others: list[ErrorDetails],
    given: Any,
) -> list[ErrorDetails]:
    """Those of strict mode's complaints that somebody else shares, in its words."""
    known = {tuple(each["loc"]) for each in others}
    places = [*(misfits or ()), *(_into(given, each["loc"]) for each in others)]
    return [
        each
        for each in strict
        if tuple(each["loc"]) in known
        or any(_is_related(_into(given, each["loc"]), place) for place in places)
    ]


def _is_related(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _into(given: Any, path: Sequence[str | int]) -> tuple[str | int, ...]:
    """The steps of pydantic's path that lead into the value; it names branches of unions too."""
    kept: list[str | int] = []
    for step in path:
        mapping, items = as_object(given), as_array(given)
        if mapping is not None and step in mapping:
            given = mapping[str(step)]
        elif items is not None and isinstance(step, int) and step < len(items):
            given = items[step]
        else:
            continue
        kept.append(step)
    return tuple(kept)


def _is_inexact(detail: ErrorDetails) -> bool:
    """A number with a fraction's spelling where an integer is asked for: it is mended, or not."""
    return detail["type"] in _INTEGER_ERRORS and isinstance(detail["input"], float)


# ---------------------------------------------------------------------------------------------
# Enumerations


def _validator(adapter: TypeAdapter[Any]) -> Any:
    """The adapter's validator; where the schema asks for values that it does not take, one that
    takes them: of `Literal[Kind.CAR]`, and of an `Enum` of tuples, dates or decimals.
    """
    schema = cast("Any", adapter.core_schema)
    if not _mentions(schema, _members):
        return adapter.validator
    # Models inside would bring their own validators along, which know of no values.
    return SchemaValidator(_taking_values(schema), None, _use_prebuilt=False)


def _members(node: dict[str, Any]) -> list[Enum]:
    """The members that pydantic does not find by the JSON of their values."""
    if node.get("type") == "literal":
        expected = cast("list[Any]", node.get("expected", ()))
        return [each for each in expected if isinstance(each, Enum) and each != each.value]
    members = cast("list[Enum]", node.get("members", ())) if node.get("type") == "enum" else []
    return [each for each in members if type(each.value) not in _PLAIN]


_PLAIN = (str, int, float, bool, type(None))


def _mentions(node: Any, wanted: Callable[[dict[str, Any]], Any]) -> bool:
    """Whether a schema of pydantic's core has such a node."""
    if isinstance(node, dict):
        mapping = cast("dict[str, Any]", node)
        return bool(wanted(mapping)) or any(_mentions(each, wanted) for each in mapping.values())
    if isinstance(node, list | tuple):
        return any(_mentions(each, wanted) for each in cast("Sequence[Any]", node))
    return False


def _taking_values(node: Any) -> Any:
    if isinstance(node, dict):
        mapping = cast("dict[str, Any]", node)
        members = _members(mapping)
        if members:
            take = functools.partial(_member, members)
            return core_schema.no_info_before_validator_function(take, cast("Any", mapping))
        return {name: _taking_values(inner) for name, inner in mapping.items()}
    if isinstance(node, list):
        return [_taking_values(inner) for inner in cast("list[Any]", node)]
    if isinstance(node, tuple):
        return tuple(_taking_values(inner) for inner in cast("tuple[Any, ...]", node))
    return node


def _member(members: list[Enum], value: Any) -> Any:
    for each in members:
        known = to_jsonable_python(each.value)
        if type(known) is type(value) and known == value:
            return each
    return value
