"""The act that a question asks for: to look at something, or to change it.

A tool that lists invitations has the words of "invite somebody", and does not do it.  Verbs of
several words ("get rid of it", "turn it on") are read as the verb that tools have.  `acts.toml` has
the words.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Literal, TypeAlias, cast

from polycall.agents.text_search import stem, terms

Act: TypeAlias = Literal["look", "make", "undo", "change", ""]

_WORDS: dict[str, dict[str, Any]] = tomllib.loads(
    (files("polycall.agents.tree") / "acts.toml").read_text(encoding="utf-8")
)
_ASKED = re.compile(
    r"\s*(?:who|whom|whose|what|which|where|when|why|whether|how|is|are|was|were|has|have|did|does|do)\b",
    re.I,
)
_APART_MAX, _WORDS_MAX = 4, 64
_WORD = re.compile(r"[^\W_]+")


def _by_stem(acts: dict[str, str]) -> dict[str, Act]:
    return {stem(word): cast("Act", act) for act, words in acts.items() for word in words.split()}


# Verbs of two words, which may have others between them, as the verb that tools have.
_PHRASES: dict[str, list[tuple[str, str]]] = {}
for _phrase, _meaning in _WORDS["phrases"].items():
    _head, _second = _phrase.split()
    _PHRASES.setdefault(stem(_head), []).append((_second, stem(_meaning)))
_ACTS = _by_stem(_WORDS["acts"])
_SAID_ACTS = _by_stem(_WORDS["said"]) | _ACTS
_KOREAN: list[tuple[re.Pattern[str], Act]] = [
    (re.compile("|".join(stems)), cast("Act", act)) for act, stems in _WORDS["korean"].items()
]


def differs(asked: Act, done: Act) -> bool:
    """Whether a tool does something else than the question wants; not where one is unclear."""
    if not asked or not done:
        return False
    return (asked == "look") != (done == "look") or {asked, done} == {"make", "undo"}


def act_of_tool(name: Iterable[str], about: Iterable[str]) -> Act:
    """The act of a tool, by the first verb of its name, or of its description."""
    for term in (*name, *about):
        act = _ACTS.get(term)
        if act:
            return act
    return ""


def act_of_question(question: str) -> Act:
    """The act that a question asks for; empty where that is not clear."""
    for words, act in _KOREAN:
        if words.search(question):
            return act
    if _ASKED.match(question):
        return "look"
    first = next(iter(terms(question)), "")
    return _SAID_ACTS.get(phrases_of(question).get(first, first), "")


def phrases_of(question: str) -> dict[str, str]:
    """Terms of the question that begin a verb of two words, each with the term of its meaning."""
    words = [word.lower() for word in _WORD.findall(question)[:_WORDS_MAX]]
    found: dict[str, str] = {}
    for place, word in enumerate(map(stem, words)):
        for second, meaning in _PHRASES.get(word, ()):
            if second in words[place + 1 : place + 1 + _APART_MAX]:
                found[word] = meaning
    return found
