"""What is open in a configuration as it is written: secrets, their files, addresses without TLS."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from polycall._support.listening import is_loopback
from polycall._support.private_files import is_private

_ELSEWHERE = re.compile(r"(?:env|cmd):|file:(?P<path>.*)", re.DOTALL)
_SCHEME = re.compile(r"^[A-Za-z]+ ")  # of a header, before what is read from elsewhere: `Bearer`
_FIELDS = ("key", "api_key", "api_keys", "secret", "client_secret")
# Of headers and variables of a server, options of its command and fields of its address.
_NAMED = re.compile(
    r"auth(?!or(?!iz))|cookie|credential|key|token|secret|passw|(?:^|[_-])(?:pass|pat|pwd|pw|pin)$",
    re.IGNORECASE,
)
_MAPS = ("headers", "web_search_headers", "env")
_WITH_KEYS = (*_FIELDS, "oauth", *_MAPS)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# A secret of fewer different characters is a word or a pattern.
_DISTINCT_MIN = 8

Table = dict[str, Any]


def literal_secrets(node: Any, where: str = "", parent: str = "") -> Iterator[str]:
    """The places of secrets that are written out."""
    if isinstance(node, list):
        for number, value in enumerate(cast("list[Any]", node)):
            yield from literal_secrets(value, f"{where}[{number}]", parent)
    if not isinstance(node, dict):
        return
    for name, value in cast("Table", node).items():
        place = f"{where}.{name}" if where else name
        values = cast("list[Any]", value if isinstance(value, list) else [value])
        words = [each for each in values if isinstance(each, str)]
        is_secret = name in _FIELDS or (parent in _MAPS and _NAMED.search(name) is not None)
        is_written = is_secret and any(not _is_from_elsewhere(each, parent) for each in words)
        is_written |= name == "command" and _has_option(words)
        if is_written or any(_has_password(each) for each in words):
            yield place
        else:
            yield from literal_secrets(value, place, name)


def _is_from_elsewhere(text: str, parent: str = "") -> bool:
    if parent.endswith("headers"):
        text = _SCHEME.sub("", text)
    return not text or _ELSEWHERE.match(text) is not None


def _has_password(text: str) -> bool:
    """Whether a secret stands in an address: before its host, or as a field of its query."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    fields = parse_qsl(parts.query)
    return "://" in text and bool(parts.password or any(_NAMED.search(name) for name, _ in fields))


def _has_option(words: list[str]) -> bool:
    """Whether a secret is an argument of a command: `--token X`, `--token=X` or `TOKEN=X`."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, is_given, value = word.partition("=")
        if not is_given and name.startswith("-") and not following.startswith("-"):
            value = following
        if value and _NAMED.search(name) and not _is_from_elsewhere(value):
            return True
    return False


def open_files(node: Any, folder: Path) -> Iterator[Path]:
    """Files named by `file:` that others may read or write."""
    if isinstance(node, dict | list):
        values = cast("Table", node).values() if isinstance(node, dict) else cast("list[Any]", node)
        for value in values:
            yield from open_files(value, folder)
    elif isinstance(node, str):
        found = _ELSEWHERE.match(_SCHEME.sub("", node))
        if found is not None and found["path"]:
            path = folder / found["path"]
            if path.is_file() and not is_private(path):
                yield path


def plain_addresses(node: Any, where: str = "") -> Iterator[tuple[str, str, bool]]:
    """Places of addresses without TLS on other machines, their hosts, and whether keys go there."""
    if isinstance(node, list):
        for number, value in enumerate(cast("list[Any]", node)):
            yield from plain_addresses(value, f"{where}[{number}]")
    if not isinstance(node, dict):
        return
    table = cast("Table", node)
    has_keys = any(table.get(name) for name in _WITH_KEYS)
    for name, value in table.items():
        place = f"{where}.{name}" if where else name
        for each in cast("list[Any]", value if isinstance(value, list) else [value]):
            host = _plain_host(each) if isinstance(each, str) else ""
            if host and name != "base_url":
                yield place, host, has_keys or _has_password(each)
        yield from plain_addresses(value, place)


def _plain_host(text: str) -> str:
    """The host of an address that is read by whoever is in between; empty where it is not."""
    if not text.lower().startswith("http://"):
        return ""
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        return ""
    return "" if is_loopback(host) else host


def who_may_change(path: Path) -> str:
    """How others may change or replace a file; empty where they may not.

    A link can be replaced where it stands, and the file where it is; one that is not there yet can
    be made in the folder, or the folder itself.
    """
    if path.exists() and path.stat().st_mode & _OTHERS_WRITE:
        return f"others may write {path}: chmod go-w"
    for place in dict.fromkeys((path.absolute(), path.resolve())):
        folder = next(each for each in place.parents if each.exists())
        mode = folder.stat().st_mode
        if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
            who = "anybody" if mode & stat.S_IWOTH else "its group"
            return f"others may replace {path}: {who} writes in {folder}: chmod go-w"
    return ""


def is_guessable(secret: str) -> bool:
    """Whether it repeats too few characters to be a secret."""
    return len(set(secret)) < _DISTINCT_MIN
