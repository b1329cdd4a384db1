"""Names of models: what people write, and what the vendor that is asked calls it.

People write a router's dots (`claude-sonnet-4.6`), an order of words that was once right
(`claude-4.5-sonnet`), a cloud's prefix and suffix (`us.anthropic.claude-haiku-4-5-v1:0`), a path
(`models/gemini-3.8-flash`), or leave a date out.  A name that leads to exactly one of the vendor's
own list is sent as the vendor writes it; any other is sent as it is.
"""

from __future__ import annotations

import difflib
import functools
import re
from urllib.parse import urlsplit

from polycall.profiles.rows import Family, families, load

_ARN = re.compile(r"^arn:[^/]*/")
_PATHS = re.compile(
    r"^arn:[^/]*/|^(?:.*/)?(?:publishers/[^/]+/)?models/|^(?:~?[a-z0-9_.-]+/)+|^ft:", re.IGNORECASE
)
# Bedrock: a region and a vendor in front, a version behind.
_CLOUD = re.compile(
    r"^(?:(?:us-gov|us|eu|apac|ap|au|jp|ca|sa|me|global|regional)\.)?"
    r"(?:anthropic|openai|deepseek|mistral|meta|qwen|google|moonshot|moonshotai|zai|xai|minimax|"
    r"amazon)\."
)
# Hosts that leave out a part of a name, or say the vendor in it: `deepseek.v3.2`, `zai-glm-4.7`.
_NAMELESS = re.compile(r"^(?:[a-z-]+\.)?(deepseek)\.(?=[vr]\d)|^zai-(?=glm)")
_VERSION = re.compile(r"(?:-v\d+)?(?::\d+)?$")
_CLOUD_VERSION = re.compile(r"-\d:\d$")  # `gpt-oss-120b-1:0`
# The whole run of such letters, also where it is not the end: each is looked at once.
_VARIANT = re.compile(
    r":[a-z][a-z0-9:_-]*+(?P<rest>(?!$))?"
)  # ":free", ":thinking", a fine-tuned model's own
# Variants of routers that change where or how fast a model runs, and not what it is.
_ROUTED = re.compile(r":(?:free|beta|nitro|floor|extended|exacto)$", re.IGNORECASE)
_WINDOW = re.compile(r"\[\d+[km]\]$")  # Claude Code's mark of a long context
_DATE = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|latest|default)$")
_COMPACT_DATE = re.compile(r"-(\d{4})(\d\d)(\d\d)$")
_PLACED = re.compile(r"@(?:default|latest|\d{8})$")  # Vertex's way to say which snapshot
# Fireworks writes dots as letters: `glm-5p3`, `deepseek-v4p1-flash`.
_LETTER_DOT = re.compile(r"(?<=\d)p(?=\d)")
_SEPARATORS = re.compile(r"[\s_]+")
_LIKENESS = 0.6
_NEAR_MAX = 3


@functools.lru_cache(maxsize=4096)
def bare(name: str) -> str:
    """A model's name without the paths, prefixes and suffixes of those who serve it."""
    found = _PATHS.sub("", name.strip()).lower()
    found = _CLOUD.sub("", _NAMELESS.sub(lambda hit: f"{hit[1]}-" if hit[1] else "", found))
    found = _VARIANT.sub(lambda hit: "" if hit["rest"] is None else hit[0], found)
    found = _WINDOW.sub("", found)
    if "accounts/" in name:
        found = _LETTER_DOT.sub(".", found)
    found = _CLOUD_VERSION.sub("", found)
    if found.startswith("claude") or ":" in found:
        found = _VERSION.sub("", found)
    return _SEPARATORS.sub("-", found)


@functools.lru_cache(maxsize=4096)
def vendor_of(name: str) -> Family | None:
    """The family of the model that a name means; `None` where it is unknown."""
    found = bare(name)
    for pattern, family in families():
        if pattern.match(found):
            return family
    return None


@functools.lru_cache(maxsize=256)
def vendor_at(address: str) -> str:
    """The vendor of open weights whose own server an address is; empty for any other."""
    host = f".{urlsplit(address).hostname or ''}"
    for _, family in families():
        if any(host.endswith(f".{domain}") for domain in family.domains):
            return family.name
    return ""


@functools.lru_cache(maxsize=4096)
def own_name(vendor: str, name: str) -> str:
    """The name by which `vendor` knows what was written as `name`; unknown ones as they are."""
    family = vendor_of(name)
    if family is None or family.name != vendor:
        return name
    listed = load(vendor)
    known = listed.known | listed.older | listed.retired.keys()
    if name in known:
        return name
    written = _ROUTED.sub("", name)
    if _is_variant(written):
        return name
    found = bare(written)
    spelt = _spelling(vendor, found)
    if spelt is not None:
        return spelt
    placed = _PLACED.sub("", found)
    if placed == found and found.endswith("-latest"):
        placed = found.removesuffix("-latest")
        if (newest := _newest_of_line(vendor, placed)) is not None:
            return newest
    # A snapshot that no list has may be new: only Vertex's mark says nothing to the vendor.
    return (_spelling(vendor, placed) if placed != found else None) or name


def _spelling(vendor: str, found: str) -> str | None:
    """The entry of the vendor's list that a bare name spells."""
    listed = load(vendor)
    compact = _COMPACT_DATE.sub(r"-\1-\2-\3", found)
    for candidate in (found.replace("@", "-"), compact, f"{found}-latest"):
        if candidate in listed.known | listed.older | listed.retired.keys():
            return candidate
        if (spelt := _spellings(vendor).get(_key(candidate))) is not None:
            return spelt
    return None


def _newest_of_line(vendor: str, line: str) -> str | None:
    """The newest model of a line that is named without a number: `claude-sonnet`."""
    for newest in load(vendor).newest:
        if re.fullmatch(newest.pattern, line):
            words = [word for word in _words(newest.like) if not word[0].isdigit()]
            return newest.like if words == _words(line) else None
    return None


def _is_variant(name: str) -> bool:
    """Whether a name means more than the model that it begins with: fine-tuned, or a tier of it."""
    return name.startswith("ft:") or re.search(r":[A-Za-z]", _ARN.sub("", name)) is not None


def known_name(vendor: str, name: str) -> str | None:
    """The entry of the vendor's list that a name means, dates set aside; `None` without one."""
    found = bare(name)
    for candidate in (found, undated(found)):
        if (spelt := _spelling(vendor, candidate)) is not None:
            return spelt
    return None


def undated(name: str) -> str:
    """The name without the date of a snapshot."""
    return _DATE.sub("", name)


def near_names(vendor: str, name: str) -> list[str]:
    """Up to three living names of the vendor's list that are like a wrong one, best first."""
    listed = load(vendor)
    living = sorted(listed.known - listed.retired.keys())
    wrong = bare(name)
    replaced = listed.retired.get(wrong)
    close = difflib.get_close_matches(wrong, living, n=_NEAR_MAX, cutoff=_LIKENESS)
    if replaced is not None and replaced.instead:
        close = [replaced.instead, *(each for each in close if each != replaced.instead)]
    return close[:_NEAR_MAX]


@functools.cache
def _spellings(vendor: str) -> dict[str, str]:
    """The one name of the list for each set of words; the undated one where there are several."""
    listed = load(vendor)
    found: dict[str, str] = {}
    for name in sorted(listed.known | listed.older | listed.retired.keys(), key=len):
        found.setdefault(_key(name), name)
    return found


def _key(name: str) -> str:
    """A name's words in one order, numbers last: `claude-4.5-sonnet` is `claude-sonnet-4-5`."""
    words = [word for word in _words(name) if word != "0"]  # `gemini-4.0-neon`
    plain = [word for word in words if not word[0].isdigit()]
    numbers = [word for word in words if word[0].isdigit()]
    if plain and plain[0] in ("claude", "gemini"):
        return " ".join([*plain, *numbers])
    # Elsewhere the order carries meaning (`gpt-5-mini`): only the sign between words may differ.
    return " ".join(words)


def _words(name: str) -> list[str]:
    """Runs of letters and of digits, whatever stands between them."""
    return re.findall(r"[a-z]+|\d+", name.lower())
