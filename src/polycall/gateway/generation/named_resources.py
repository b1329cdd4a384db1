"""Resources at a provider that a request names: another key's are refused.

The provider knows one account, and would give a model any file or conversation that is in it.
What was noted for another key when it was made is refused: files, jobs, answers and their items,
containers, spoken answers.  Of what was made elsewhere nothing is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from msgspec.structs import replace

from polycall._support.memo import Memo
from polycall.errors import MalformedRequestError, NotFoundError, RequestTooLargeError
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.passthrough.made_resources import ID_CHARS_MIN
from polycall.gateway.processes.heavy_work import LONG_BYTES
from polycall.gateway.services import GatewayServices
from polycall.providers.dialects import DIALECTS

_NAMED_MAX = 5000
_SHORT_BYTES = 8 * 1024  # of a longer body much was looked through for an earlier request
_PIECE_BYTES = 256 * 1024
_NAME_BYTES_MAX = 64  # of a name with its quotes
# A letter of a name, or a sign of an id, may be one.
_has_escape = re.compile(rb"\\u(?:00[4-7]|017[fF])").search
_has_escaped_sign = re.compile(rb"\\u(?:00[2-7]|017[fF])").search
_SPACE = rb"[ \t\r\n]"
_ids_in = re.compile(
    rb'"[iI][dD]"%b*:%b*"([\w.:-]{%d,200})"' % (_SPACE, _SPACE, ID_CHARS_MIN), re.ASCII
).findall


class _Names:
    """The fields of a protocol's bodies that name something, in any spelling.

    Readers may match names in any case, without their `_`, and take a long s for an s.
    """

    def __init__(self, *names: str, has_ids: bool = False) -> None:
        """`has_ids`: what has an id may stand for what has the same one."""
        self.has_ids = has_ids
        text = "|".join(names).replace("_", "_?")
        self.is_one = re.compile(text).fullmatch
        loose = text.replace("s", "(?:s|\u017f)").encode()
        letters = "".join({name[0] for name in names})
        first = (letters + letters.upper()).encode()
        self._has_one = re.compile(rb'"(?=[%b])(?i:%b)"' % (first, loose)).search
        self._has_escape = _has_escaped_sign if has_ids else _has_escape

    def may_stand_in(self, body: bytes) -> bool:
        """A quick look that finds no less than there is."""
        # In pieces, so that a thread which looks through a long body lets others run.
        for place in range(0, len(body), _PIECE_BYTES):
            end = place + _PIECE_BYTES + _NAME_BYTES_MAX
            if self._has_one(body, place, end) or self._has_escape(body, place, end):
                return True
        return False

    def found_in(self, body: bytes) -> tuple[str, ...]:
        """The ids that a body names, each once."""
        if self.may_stand_in(body):
            return tuple(named_in(body, self))
        # Without escapes an id stands as it is, and no text of a body looks like one.
        return tuple({each.decode(): None for each in _ids_in(body)}) if self.has_ids else ()


def _names_of(dialect: str) -> _Names | None:
    facts = DIALECTS[dialect].FACTS
    return _Names(*facts.naming_fields, has_ids=facts.names_items) if facts.naming_fields else None


_NAMES: Memo[str, _Names | None] = Memo(_names_of)


def may_name(attempt: Attempt) -> bool:
    """Whether the body may name something: `check_named` looks closer."""
    names, fields = _NAMES[attempt.dialect.NAME], attempt.passed
    body = attempt.http.body
    if names is None or not body:
        return False
    if fields is None:
        return len(body) > _SHORT_BYTES or names.has_ids or names.may_stand_in(body)
    return fields.size >= LONG_BYTES or bool(fields.found_by(names.found_in))


async def check_named(owner: str, attempt: Attempt, services: GatewayServices) -> Attempt:
    """Raise `NotFoundError` where the body names what another key has made; note what it names."""
    names = _NAMES[attempt.dialect.NAME]
    fields, body = attempt.passed, attempt.http.body
    if names is None or not body:
        return attempt
    if fields is None and len(body) < LONG_BYTES:
        # What is written for one key in one protocol has its own texts.
        key = f"{owner}\n{attempt.dialect.NAME}"
        named = services.texts.found_in(key, body, names.found_in)
    elif fields is None:
        named = await services.heavy.run(owner, len(body), names.found_in, body)
    elif fields.size < LONG_BYTES:
        named = fields.found_by(names.found_in)
    else:
        named = await services.heavy.run(owner, fields.size, fields.found_by, names.found_in)
    if not named:
        return attempt
    await _check(owner, attempt.target.provider.name, named, services)
    return replace(attempt, named=frozenset(named))


async def check_body(
    owner: str, provider: str, dialect: str, body: bytes, services: GatewayServices
) -> None:
    """The same of a body that is no generation."""
    names = _NAMES[dialect]
    if names is not None and body:
        named = await services.heavy.run(owner, len(body), names.found_in, body)
        await _check(owner, provider, named, services)


async def _check(
    owner: str, provider: str, named: Sequence[str], services: GatewayServices
) -> None:
    if len(named) > _NAMED_MAX:
        raise RequestTooLargeError(f"the request names {len(named)} things, over {_NAMED_MAX}")
    other = await services.owned.first_of_others(owner, provider, named)
    if other is not None:
        raise NotFoundError(f"this key has made nothing that is called {other[:100]!r}")


class _Object:
    """The ids that an object gives to itself; the rest of it is not kept."""

    __slots__ = ("ids",)

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids


def named_in(body: bytes, names: _Names) -> list[str]:
    """The ids that a body names, each once; of a name that is said twice, all that it says."""
    is_one = names.is_one
    found: dict[str, None] = {}

    def note(pairs: list[tuple[str, Any]]) -> _Object:
        ids: list[str] = []
        for name, value in pairs:
            folded = name.casefold()
            if folded == "id" and isinstance(value, str):
                ids.append(value)
                if names.has_ids and len(value) >= ID_CHARS_MIN:
                    found[value] = None
            elif is_one(folded):
                several = cast("list[Any]", value if isinstance(value, list) else [value])
                for each in several:
                    if isinstance(each, str):
                        found[each] = None
                    elif isinstance(each, _Object):
                        found.update(dict.fromkeys(each.ids))
        return _Object(ids)

    try:
        # No number names anything, and a long one is not to be read.
        json.loads(body, object_pairs_hook=note, parse_int=str, parse_float=str)
    except RecursionError:
        raise MalformedRequestError("the body is nested too deeply") from None
    except ValueError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from None
    return list(found)
