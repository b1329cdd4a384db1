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

from polycall.profiles.rows import Family, families, load

_PATHS = re.compile(
    r"^(?:.*/)?(?:publishers/[^/]+/)?models/|^(?:~?[a-z0-9_.-]+/)+|^ft:", re.IGNORECASE
)
# Bedrock: a region and a vendor in front, a version behind.
_CLOUD = re.compile(
    r"^(?:(?:us-gov|us|eu|apac|ap|au|jp|ca|sa|me|global|regional)\.)?"
    r"(?:anthropic|openai|deepseek|mistral|meta|qwen|google|moonshotai|zai|xai|amazon)\."
)
_VERSION = re.compile(r"(?:-v\d+)?(?::\d+)?$")
_VARIANT = re.compile(r":[a-z][a-z0-9:_-]*$")  # ":free", ":thinking", a fine-tuned model's own
_DATE = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|latest|default)$")
_LIKENESS = 0.6
_NEAR_MAX = 3


@functools.lru_cache(maxsize=4096)
def bare(name: str) -> str:
    """A model's name without the paths, prefixes and suffixes of those who serve it."""
    found = _PATHS.sub("", name.strip()).lower()
    found = _CLOUD.sub("", found)
    found = _VARIANT.sub("", found)
    return _VERSION.sub("", found) if found.startswith("claude") or ":" in found else found


@functools.lru_cache(maxsize=4096)
def vendor_of(name: str) -> Family | None:
    """Whose model a name means; `None` where nothing is known of it."""
    found = bare(name)
    for pattern, family in families():
        if pattern.match(found):
            return family
    return None


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
    if _is_variant(name):
        return name
    found = bare(name).replace("@", "-")
    if found in known:
        return found
    return _spellings(vendor).get(_key(found), name)


def _is_variant(name: str) -> bool:
    """Whether a name means more than the model that it begins with: fine-tuned, or a tier of it."""
    return name.startswith("ft:") or re.search(r":[A-Za-z]", name) is not None


def known_name(vendor: str, name: str) -> str | None:
    """The entry of the vendor's list that a name means, dates set aside; `None` without one."""
    listed = load(vendor)
    found = bare(name).replace("@", "-")
    for candidate in (found, undated(found)):
        if candidate in listed.known or candidate in listed.older or candidate in listed.retired:
            return candidate
        spelt = _spellings(vendor).get(_key(candidate))
        if spelt is not None:
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
    words = re.split(r"[-._ ]+", name)
    plain = [word for word in words if not word[:1].isdigit()]
    numbers = [word for word in words if word[:1].isdigit()]
    if plain and plain[0] == "claude":
        return " ".join([*plain, *numbers])
    # Elsewhere the order carries meaning (`gpt-5-mini`): only the sign between words may differ.
    return " ".join(words)
