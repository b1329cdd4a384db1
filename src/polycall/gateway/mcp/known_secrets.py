"""The secrets of a server's configuration that no result may hold, in each form of texts.

A value of `env` or of an address's query is a secret by its name, or where it looks like nothing
that a person would write; others, such as `production`, are words that any text may have.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from polycall._support import jsontext
from polycall.config import McpServer
from polycall.mcp.inspection import without_tags

_SHORTEST = 8  # what is shorter stands in texts by accident
_LONG = 16
_LEARNED_MAX = 12
_NAME = re.compile(
    r"KEYS?(?![A-Z])|TOKENS?(?![A-Z])|SECRET|PASS|PWD|(?<![A-Z])PAT(?![A-Z])|AUTH(?!ORS?(?![A-Z]))"
    r"|CREDENTIAL|SIG(?![A-Z])|SIGNATURE|COOKIE|PRIVATE|(?<![A-Z])PEM(?![A-Z])"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LINE_END = re.compile(r"\r|\n|\\n")
_ESCAPED = re.compile(r"%[0-9A-F]{2}")


def secrets_of(settings: McpServer) -> list[str]:
    """The secrets, the longest first."""
    words = [*_named(settings.env)]
    for value in settings.headers.values():
        scheme, _, key = value.rpartition(" ")
        words += [value, key]  # of `Bearer KEY` the key alone
        if scheme.lower() == "basic":
            words.append(_decoded(key).partition(":")[2])
    if settings.oauth is not None:
        words += _pair(settings.oauth.client_id, settings.oauth.client_secret)
    for address in (settings.url, settings.address, settings.openapi):
        words += _of_address(address)
    return sorted({form for word in words for form in _forms(word)}, key=len, reverse=True)


class KnownSecrets(Collection[str]):
    """The secrets, the longest first: those of the configuration, and the tokens of a sign-in.

    Of tokens the last few are known: each renewal brings others, for as long as the process lives.
    `hide` hears of each in all its forms.  Threads may read them meanwhile: each sees a whole.
    """

    def __init__(self, settings: McpServer, hide: Callable[[Iterable[str]], None]) -> None:
        self._own = self._all = tuple(secrets_of(settings))
        self._learned: deque[str] = deque(maxlen=_LEARNED_MAX)
        self._hide = hide

    def learn(self, words: Iterable[str]) -> None:
        """Take these out of texts too."""
        fresh = [word for word in words if word not in self._learned]
        if fresh:
            self._learned.extend(fresh)
            forms = {form for word in self._learned for form in _forms(word)}
            self._all = tuple(sorted({*self._own, *forms}, key=len, reverse=True))
            self._hide(sorted({form for word in fresh for form in _forms(word)}))

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, word: object) -> bool:
        return word in self._all


def _named(table: Mapping[str, str]) -> Iterator[str]:
    for name, value in table.items():
        if "://" in value:
            yield from _of_address(value)
        if _is_secret(name, value):
            yield from (value, value.rpartition(" ")[2])
            yield from (line for each in _LINE_END.split(value) if _is_long(line := each.strip()))


def _is_secret(name: str, value: str) -> bool:
    if _NAME.search(_CAMEL.sub("_", name).upper()) or "-----BEGIN " in value:
        return True
    is_place = "://" in value or value.startswith(("/", "~", ".")) or value[1:3] == ":\\"
    return not is_place and _looks_random(value)


def _is_long(word: str) -> bool:
    return len(word) >= _LONG and " " not in word


def _looks_random(word: str) -> bool:
    has_both = any(map(str.isalpha, word)) and any(map(str.isdigit, word))
    return has_both and _is_long(word)


def _of_address(address: str) -> Iterator[str]:
    """The password, the secrets of its query, and parts of its path that look like such."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    yield from _pair(unquote(parts.username or ""), unquote(parts.password or ""))
    yield parts.password or ""
    yield from (each for each in parts.path.split("/") if _looks_random(each))
    for pair in parts.query.split("&"):
        name, _, written = pair.partition("=")
        for _, value in parse_qsl(pair):
            if _is_secret(name, value):
                yield from (value, written)


def _pair(user: str, password: str) -> Iterator[str]:
    """A password, and what a header of Basic has of it."""
    if password:
        yield password
        yield base64.b64encode(f"{user}:{password}".encode("utf-8", "replace")).decode()


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _forms(word: str) -> Iterator[str]:
    """The secret as it is, in addresses and in JSON, and without invisible characters."""
    if len(word) < _SHORTEST:
        return
    quoted = {quote(word, safe=""), quote(word), quote_plus(word)}
    quoted |= {_ESCAPED.sub(lambda found: found[0].lower(), each) for each in quoted}
    for form in {word, *quoted, jsontext.encode(word)[1:-1], json.dumps(word)[1:-1]}:
        yield without_tags(form)
