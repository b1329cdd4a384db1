"""Files and answers at a provider that a request names: another key's are not this one's.

The provider knows one account, and would give a model any file or conversation that is in it.
"""

from __future__ import annotations

from typing import Any, cast

from polycall._support import jsontext
from polycall.errors import NotFoundError, RequestTooLargeError
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.services import GatewayServices

# What a protocol's bodies name, in lower case and without `_`: a provider may read any spelling.
_FILES = frozenset({"fileid", "fileids"})
_NAMES: dict[str, frozenset[str]] = {
    "openai-chat": _FILES,
    "openai-responses": _FILES | {"previousresponseid"},
    "gemini-interactions": frozenset({"previousinteractionid"}),
}
_NAMED_MAX = 500


async def check_named(owner: str, attempt: Attempt, services: GatewayServices) -> None:
    """Raise `NotFoundError` where the body names a file or an answer that another key has made."""
    names, body = _NAMES.get(attempt.dialect.NAME), attempt.http.body
    if names is None or not _may_name(body.lower(), names):
        return
    named = await services.heavy.run(owner, len(body), _named, body, names)
    if len(named) > _NAMED_MAX:
        raise RequestTooLargeError(f"the request names {len(named)} files, over {_NAMED_MAX}")
    provider = attempt.target.provider.name
    other = await services.owned.first_of_others(owner, provider, named)
    if other is not None:
        raise NotFoundError(f"this key has made nothing that is called {other[:100]!r}")


def _may_name(lower: bytes, names: frozenset[str]) -> bool:
    """A quick look that finds no less than there is."""
    # `in` takes bytes for a number first, and makes an error of it.
    if names is not _FILES and lower.find(b"previous") >= 0:
        return True
    if names is _NAMES["gemini-interactions"] or lower.find(b"file") < 0:
        return False
    return lower.find(b"file_id") >= 0 or lower.find(b"fileid") >= 0


def _named(body: bytes, names: frozenset[str]) -> list[str]:
    """The ids, each once."""
    found: dict[str, None] = {}
    waiting: list[Any] = [jsontext.decode(body)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += cast("list[Any]", value)
        elif isinstance(value, dict):
            for name, inner in cast("dict[str, Any]", value).items():
                if name.lower().replace("_", "") in names:
                    several = cast("list[Any]", inner if isinstance(inner, list) else [inner])
                    found |= {each: None for each in several if isinstance(each, str)}
                waiting.append(inner)
    return list(found)
