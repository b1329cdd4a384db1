"""Which alias a name means: its own, or the pattern that says most of it.

`[models."claude-haiku-*"]` is for all names that begin so, `[models."*"]` for every name that
nothing else is for.  A star in a route stands for what the pattern's star stood for.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from msgspec.structs import replace

from polycall.config import Alias

_STAR = "*"


def alias_for(models: Mapping[str, Alias], providers: Container[str], asked: str) -> Alias | None:
    """The alias of a name, its route written out; `None` where the name says its provider itself.

    The name itself comes first, then the pattern with the most letters.  A configured provider's
    name in front keeps all patterns away that do not name a provider too.
    """
    exact = models.get(asked)
    if exact is not None or _STAR in asked:
        return exact
    prefix, slash, _ = asked.partition("/")
    names_provider = bool(slash) and prefix in providers
    found = [
        (len(name), alias, matched)
        for name, alias in models.items()
        if _STAR in name
        and ("/" in name or not names_provider)
        and (matched := _matched(name, asked)) is not None
    ]
    if not found:
        return None
    _, alias, matched = max(found, key=lambda entry: entry[0])
    route = tuple(
        replace(target, model=target.model.replace(_STAR, matched, 1)) for target in alias.route
    )
    return Alias(asked, route)


def is_pattern(name: str) -> bool:
    """Whether an alias is for more than one name."""
    return _STAR in name


def _matched(pattern: str, name: str) -> str | None:
    """The text in place of the first star; `None` where the pattern does not match the name."""
    before, _, after = pattern.partition(_STAR)
    if len(name) < len(before) + len(after) or not name.startswith(before):
        return None
    if not name.endswith(after):
        return None
    return name[len(before) : len(name) - len(after)]
