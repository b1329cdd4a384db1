"""A call's arguments, checked before anything runs.

Valid arguments pass untouched.  Others are mended where there is no doubt, checked again, and
refused with words that the model can act on.  Truncated or ambiguous arguments are never guessed.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs
from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import ArgumentsError, ToolDefinitionError
from polycall.ir import JSON
from polycall.schema.walk import as_object, infinities, nesting
from polycall.schema.ways import ways_of
from polycall.tools.mending import Mending
from polycall.tools.problems import Checker, Problem, explain, truncated
from polycall.tools.relaxed import CutOffError, read_relaxed

_UNBOUNDED = (
    "cannot be checked: the schema leads to what is in it by more ways than can be followed; nest "
    "it less deeply, or make it shorter"
)
_TOO_LARGE = "the number is too large to be read; give a smaller one, or text where text is allowed"
_EMPTY_SPELLINGS = ("", "null", '""', "''", "None")


class Checked(Struct, frozen=True):
    """Arguments that fit.  `mends` says what had to be done for that, by kind."""

    arguments: JSON
    mends: tuple[str, ...] = ()


class SchemaChecker:
    """Arguments checked by somebody else's JSON Schema."""

    keeps_digits = False

    def __init__(self, schema: JSON, *, label: str) -> None:
        self._schema = schema
        self._ways = ways_of(schema)
        try:
            self._validator = jsonschema_rs.validator_for(schema, offline=True)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise ToolDefinitionError(f"the schema of {label!r} is not valid: {reason}") from None
        if not self.is_bounded(None):
            raise ToolDefinitionError(
                f"the schema of {label!r} cannot be used: its references lead to a value by more "
                "ways than can be followed"
            )

    def __reduce__(self) -> Any:
        return _schema_checker, (self._schema,)

    def problems(self, arguments: JSON) -> list[Problem]:
        """The problems of the arguments, or that they could not be checked.

        Empty where they fit.
        """
        if not self.is_bounded(arguments):
            return [Problem((), _UNBOUNDED, has_value=False)]
        found: list[Problem] = []
        for error in self._validator.iter_errors(arguments):
            path = tuple(error.instance_path)
            kind = error.kind
            if isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
                found.extend(
                    Problem((*path, name), "unexpected", "unexpected", has_value=False)
                    for name in kind.unexpected
                )
            else:
                # The message repeats the value, whatever its size.
                found.append(Problem(path, truncated(error.message), has_value=False))
        return found

    def first_problem(self, value: Any) -> str:
        """One thing that is wrong, if anything is: of each there would be a copy of the value."""
        if not self.is_bounded(value):
            return _UNBOUNDED
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return truncated(error.message)
        return ""

    def is_bounded(self, value: Any) -> bool:
        """Whether this value can be checked in bounded time."""
        return self._ways is None or self._ways.are_few(value)

    def load(self, arguments: JSON) -> dict[str, Any]:
        """The arguments as they are."""
        return arguments


class LightChecker(SchemaChecker):
    """One that keeps its schema alone, for tools of which there are thousands and few are called.

    A schema of 64 KiB is read in a few milliseconds, and takes many times its room then.
    """

    def __init__(self, schema: JSON, *, label: str) -> None:
        SchemaChecker(schema, label=label)
        self._schema, self._label = schema, label

    def problems(self, arguments: JSON) -> list[Problem]:
        return self._whole().problems(arguments)

    def is_bounded(self, value: Any) -> bool:
        return self._whole().is_bounded(value)

    def _whole(self) -> SchemaChecker:
        return SchemaChecker(self._schema, label=self._label)


def _schema_checker(schema: JSON) -> SchemaChecker:
    return SchemaChecker(schema, label="a tool")


def check_arguments(
    text: str, *, name: str, parameters: JSON, checker: Checker, mending: Mending
) -> Checked:
    """The arguments in `text`, fit for the tool; `ArgumentsError` tells the model why not."""
    arguments, mends = read_arguments(text, name, keeps_digits=checker.keeps_digits)
    unread = [Problem(path, _TOO_LARGE, has_value=False) for path in infinities(arguments)]
    if unread:
        # JSON has no form for them; written again, they would be null.
        raise ArgumentsError(explain(name, unread, arguments, parameters))
    problems = checker.problems(arguments)
    if not problems:
        return Checked(arguments, tuple(mends))
    mended, kinds = mending.mend(arguments)
    if kinds and not checker.problems(mended):
        return Checked(mended, tuple(dict.fromkeys([*mends, *kinds])))
    raise ArgumentsError(explain(name, problems, arguments, parameters))


def read_arguments(text: str, name: str, *, keeps_digits: bool = False) -> tuple[JSON, list[str]]:
    """The JSON object that the text is or can only mean, and what had to be mended for that."""
    stripped = text.strip()
    if stripped in _EMPTY_SPELLINGS:
        return {}, ["empty"]
    mends: list[str] = []
    try:
        value = jsontext.decode_exactly(stripped) if keeps_digits else jsontext.decode(stripped)
    except ValueError as error:
        value = _relaxed(stripped, name, str(error))
        mends.append("relaxed_json")
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = jsontext.decode(value)
        except ValueError:
            raise _unreadable(name, "a string, and not a JSON object") from None
        mends.append("encoded_twice")
    arguments = as_object(value)
    if arguments is None:
        raise _unreadable(name, f"a JSON {_kind(value)}, and not an object")
    if nesting(arguments) > _NESTING_MAX:
        raise _unreadable(name, "nested too deeply")
    return arguments, mends


# Deeper than any schema can ask for, and within what every encoder takes.
_NESTING_MAX = 150


def _relaxed(text: str, name: str, reason: str) -> Any:
    try:
        return read_relaxed(text)
    except CutOffError:
        raise ArgumentsError(
            f"the arguments of {name!r} are cut off, so nothing was run: they end with "
            f"{text[-40:]!r}; call again with all of them, or with less in each call"
        ) from None
    except ValueError:
        raise _unreadable(name, f"not valid JSON ({reason})") from None


def _unreadable(name: str, what: str) -> ArgumentsError:
    return ArgumentsError(
        f"the arguments of {name!r} are {what}, so nothing was run; call again with one JSON object"
    )


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "value"
