"""`polycall doctor --security`: what of a configuration, its files and a running gateway is open.

Each finding says what an attacker could do and what closes it; `ok` lines say what was looked at.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from polycall._support.listening import is_loopback
from polycall._support.private_files import is_private
from polycall.agents.signing_key import key_path
from polycall.config import Config, default_path, load_config
from polycall.errors import ConfigError, PolycallError
from polycall.gateway.processes.binding import check_binding
from polycall.gateway.store.sqlite import path_of
from polycall.sandbox.checks import Check, State, examine

_ASK_S = 5.0
_RUNS = "POLYCALL_RUNS"
_KEY_LENGTH_MIN = 24


async def examine_security(config: Path | None, url: str) -> list[Check]:
    """All findings; `config` is a file's path where not the default, `url` a running gateway's."""
    checks = list(_process())
    path = config or default_path()
    if path is None:
        checks.append(_check("configuration", "ok", "none here; only loopback is served"))
    else:
        checks += _file(path)
    checks += _local_files()
    if url:
        checks += _running(url)
    sandbox = [each for each in await examine() if each.name == "sandbox: auto"]
    return [*checks, *sandbox]


def _check(name: str, state: State, detail: str) -> Check:
    return Check(f"security: {name}", state, detail)


def _process() -> Iterator[Check]:
    if hasattr(os, "geteuid"):
        if os.geteuid() == 0:
            yield _check("user", "warn", "this is root; serve as a user that owns nothing else")
        else:
            yield _check("user", "ok", f"user {os.geteuid()}")
    yield _check("core dumps", "ok", "`polycall serve` and jails forbid them for themselves")


def _file(path: Path) -> Iterator[Check]:
    try:
        written = tomllib.loads(path.read_text("utf-8-sig"))
        config = load_config(path)
    except (OSError, ValueError) as error:
        yield _check("configuration", "fail", f"{path} cannot be read: {error}")
        return
    except ConfigError as error:
        yield _check("configuration", "fail", f"{path}: {'; '.join(map(str, error.mistakes))}")
        return
    literal = sorted(literal_secrets(written))
    if literal and not is_private(path):
        detail = f"others may read {path}, where {', '.join(literal)} are written: chmod 600"
        yield _check("configuration", "fail", detail)
    elif literal:
        detail = f"{', '.join(literal)} are written in {path}; env: or file: keeps them elsewhere"
        yield _check("configuration", "warn", detail)
    else:
        yield _check("configuration", "ok", f"{path} holds no secret")
    if changed := who_may_change(path):
        yield _check("configuration", "fail", f"{changed}; it names the programs that are started")
    for found in open_files(written, config.folder):
        yield _check("configuration", "fail", f"others may read the secret in {found}: chmod 600")
    for place, host, has_keys in plain_addresses(written):
        state: State = "fail" if has_keys else "warn"
        what = "keys go to" if has_keys else "anybody on the way may answer for"
        yield _check("addresses", state, f"{place}: {what} {host} without TLS")
    yield from _choices(config)
    # Before the store is opened, which takes others' rights from it.
    yield from list(_store(config))
    yield from _binding(config)
    yield from _keys(config)
    yield from _upstream(config)
    yield from _admin(config)


def _binding(config: Config) -> Iterator[Check]:
    host = config.server.host
    try:
        check_binding(config, host)
    except PolycallError as error:
        yield _check("address", "fail", str(error))
        return
    if is_loopback(host):
        yield _check("address", "ok", f"{host} is reached from this machine alone")
    else:
        detail = f"{host} is reached from the network, without TLS: put a proxy with TLS before it"
        yield _check("address", "warn", detail)
    if config.server.fetch_private_addresses:
        detail = "server.fetch_private_addresses: clients may have internal addresses fetched"
        yield _check("media", "fail", detail)


def _choices(config: Config) -> Iterator[Check]:
    """Settings that give up a protection."""
    changed = [f"mcp.{name}" for name, each in config.mcp.items() if each.changed == "allow"]
    if config.hosted_tools.changed_tools == "allow":
        changed.append("hosted_tools")
    if changed:
        detail = f"{', '.join(changed)}: a server may change what its tools are, unasked"
        yield _check("tools", "warn", detail)
    if config.limits.unpriced == "allow":
        detail = "limits.unpriced = 'allow': models without a price cost no budget anything"
        yield _check("budgets", "warn", detail)
    if config.admin.content is not None and config.admin.content.role == "reader":
        detail = "admin.content.role = 'reader': every administrator may read what was said"
        yield _check("content", "warn", detail)


def _keys(config: Config) -> Iterator[Check]:
    if not config.keys:
        detail = "none in the file; `polycall keys list` has those of the store"
        yield _check("client keys", "ok", detail)
        return
    unbounded = [
        each.name or f"keys[{number}]"
        for number, each in enumerate(config.keys)
        if each.budget_usd is None and each.tokens_per_minute is None
    ]
    if unbounded:
        detail = f"without a budget or a token limit: {', '.join(unbounded)}"
        yield _check("client keys", "warn", detail)
    short = [
        each.name or f"keys[{n}]"
        for n, each in enumerate(config.keys)
        if len(each.key) < _KEY_LENGTH_MIN or is_guessable(each.key)
    ]
    if short:
        detail = f"short or simple enough to be guessed: {', '.join(short)}"
        yield _check("client keys", "fail", detail)
    others = {config.store.secret, *(key for keys in config.provider_keys.values() for key in keys)}
    if shared := [each.name for each in config.keys if each.key in others]:
        detail = f"also a provider's key or store.secret: {', '.join(shared)}"
        yield _check("client keys", "fail", detail)
    if not (unbounded or short or shared):
        yield _check("client keys", "ok", "each has a bound and is long")


def _admin(config: Config) -> Iterator[Check]:
    admin = config.admin
    if not admin.enabled or not admin.remote:
        yield _check("console", "ok", "reached from this machine alone, if at all")
    elif not admin.has_secure_cookies:
        detail = "admin.secure = false: who reads the network can take over sessions; remove it"
        yield _check("console", "fail", detail)
    else:
        detail = f"other machines reach it as {', '.join(admin.hosts)}: keep TLS before it"
        yield _check("console", "warn", detail)


def _store(config: Config) -> Iterator[Check]:
    store = config.store
    if store.when_down == "serve":
        detail = "when_down = 'serve': no budget or revocation holds while the store is unreachable"
        yield _check("store", "warn", detail)
    if not store.secret:
        detail = "no store.secret: carried state is sealed with a secret that lies next to it"
        yield _check("store", "warn", detail)
    elif is_guessable(store.secret):
        yield _check("store", "fail", "store.secret is simple enough to be guessed")
    if store.url.startswith("sqlite:"):
        database = Path(path_of(store.url, config.folder))
        if database.name != ":memory:":
            yield from _private("store", database)
            if changed := who_may_change(database):
                yield _check("store", "fail", changed)
    else:
        yield from _passwords("store", store.url)
    if store.counters:
        yield from _passwords("counters", store.counters)
    if config.cache is not None and config.cache.file:
        yield from _private("cache", config.folder / config.cache.file)
    spool = config.folder / store.spool
    for path in spool.glob("polycall-spool-*.jsonl"):
        yield from _private("spool", path)


def _passwords(what: str, url: str) -> Iterator[Check]:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    place = parts.hostname or options.get("host", "localhost")
    if place.startswith("/"):
        return  # a socket of this machine, where the server asks the system who it is
    if not (parts.password or options.get("password")):
        yield _check(what, "warn", f"no password for {place}: who reaches it changes budgets")
    if not is_loopback(place) and parts.scheme == "redis":
        yield _check(what, "warn", f"{place} is asked without TLS; rediss:// has it")
    is_postgres = parts.scheme.startswith("postgres")
    if (
        not is_loopback(place)
        and is_postgres
        and not options.get("sslmode", "").startswith("verify")
    ):
        yield _check(what, "warn", f"{place} may be anybody: add ?sslmode=verify-full")


def _upstream(config: Config) -> Iterator[Check]:
    for name, provider in config.providers.items():
        parts = urlsplit(provider.base_url)
        is_open = parts.scheme == "http" and not is_loopback(parts.hostname or "")
        if is_open and name in config.provider_keys:
            detail = f"{name} is sent its key without TLS, at {parts.hostname}"
            yield _check("providers", "fail", detail)


def _private(what: str, path: Path) -> Iterator[Check]:
    if not path.exists():
        yield _check(what, "ok", f"{path} is made with mode 0600")
    elif is_private(path):
        yield _check(what, "ok", f"{path} is its owner's alone")
    else:
        yield _check(what, "fail", f"others may read or write {path}: chmod 600")


def _local_files() -> Iterator[Check]:
    try:
        yield from _private("key of paused runs", key_path())
    except PolycallError as error:
        yield _check("key of paused runs", "warn", str(error))
    runs = os.environ.get(_RUNS, "")
    if runs.startswith("sqlite:///"):
        yield from _private("durable runs", Path(runs.removeprefix("sqlite:///")))
    elif runs:
        yield from _passwords("durable runs", runs)


def _running(url: str) -> Iterator[Check]:
    """Check the answers that a running gateway gives to a stranger."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield _check("running", "warn", f"{url} is asked without TLS: keys can be read on the way")
    for path, opened in (
        ("/v1/models", "anybody may ask models, and spend your providers' money"),
        ("/metrics", "anybody may read the metrics"),
    ):
        status = _status(url.rstrip("/") + path)
        if isinstance(status, str):
            yield _check("running", "fail", f"{url}{path}: {status}")
        elif status == 200:
            state: State = "fail" if path == "/v1/models" else "warn"
            yield _check("running", state, f"{path} answers without a key: {opened}")
        else:
            yield _check("running", "ok", f"{path} without a key: {status}")


def _status(url: str) -> int | str:
    if not url.startswith(("http://", "https://")):
        return "not an address of a gateway, such as http://127.0.0.1:8080"
    try:
        with urllib.request.urlopen(url, timeout=_ASK_S) as answer:  # noqa: S310 - checked above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        return str(error)


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
    """The host of an address that is read by anyone in between; empty where it is not."""
    if not text.lower().startswith("http://"):
        return ""
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        return ""
    return "" if is_loopback(host) else host


def who_may_change(path: Path) -> str:
    """The ways in which others may change or replace a file; empty where they may not.

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
