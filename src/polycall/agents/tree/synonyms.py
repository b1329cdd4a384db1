"""Other words for what tools do: a question says "make", and the tool is called "create".

`synonyms.txt` has groups of words that people use for one thing, for interfaces of programs.  The
first of a group is the word that names of tools have; a Korean stem stands for its group where it
begins or stands in a word of the question.

Korean writes a loanword as it sounds: a question says 브랜치, and the tool is called branch.  Both
are compared by their consonants: those that Korean does not tell apart are one, vowels and the r
that is not heard are left out.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.resources import files

from polycall.agents.text_search import stem

_KOREAN_FROM = "\uac00"


@functools.cache
def _tables() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]], frozenset[str]]:
    """Stems of words, and Korean stems, to the stems of their groups; the first of each group."""
    english: dict[str, frozenset[str]] = {}
    korean: dict[str, frozenset[str]] = {}
    heads: list[str] = []
    source = files("polycall.agents.tree") / "synonyms.txt"
    for line in source.read_text(encoding="utf-8").splitlines():
        words, _, others = line.partition("|")
        group = frozenset(stem(word) for word in words.split())
        heads.append(stem(words.split()[0]))
        for word in group:
            english[word] = english.get(word, frozenset()) | group
        for word in others.split():
            korean[word] = korean.get(word, frozenset()) | group
    return english, korean, frozenset(heads)


def is_korean(word: str) -> bool:
    """Whether a word has a stem of the groups."""
    return any(len(each) > 1 and each in word for each in _tables()[1])


def synonyms_of(term: str, question: str) -> set[str]:
    """Terms that mean what a term of the question means, but for the term itself.

    A Korean term is a pair of letters: it stands for the groups whose stem the question has and
    that it is part of.
    """
    english, korean, _ = _tables()
    found = set(english.get(term, frozenset()))
    if term >= _KOREAN_FROM:
        for word, group in korean.items():
            if word in question and (term in word or word in term or term[0] in word):
                found |= group
    return found - {term}


def is_head(term: str) -> bool:
    """Whether a term is the one of its group that names of tools usually have."""
    return term in _tables()[2]


_FIRST = 0xAC00
_INITIALS = "kknttrmppss_sssktph"
_FINALS = "_kkknnntrkmprtprmppttnssktpt"
_PLAIN_VOWELS = frozenset({0, 1, 4, 5, 8, 13, 18, 19, 20})  # that begin with no y or w
_OPEN = "-"  # before a word that begins with a vowel
_ENGLISH: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"ck|q|x", "k"),
        (r"tion|sion", "sn"),
        (r"sch|sh|tch|ch|dg", "s"),
        (r"ph", "p"),
        (r"th", "t"),
        (r"c(?=[eiy])", "s"),
        (r"gh(?=t|$)", ""),
        (r"r(?=[^aeiouy]|$)", ""),  # not heard, and not written
        (r"[cgk]", "k"),
        (r"[bfpv]", "p"),
        (r"[dt]", "t"),
        (r"[jsz]", "s"),
        (r"[lr]", "r"),
        (r"ng|n", "n"),
        (r"[aeiouwy]", ""),
    )
)
_REPEATED = re.compile(r"(.)\1+")
_RUN = re.compile(r"[\uac00-\ud7a3]{2,}")
_ENDINGS_MAX = 3  # syllables that Korean adds to a word
_SOUNDS_MIN, _TERMS_MAX = 2, 4


def english_sounds(stem: str) -> set[str]:
    """The consonants of an English stem, in each way that it may be read."""
    consonants = stem
    for pattern, sound in _ENGLISH:
        consonants = pattern.sub(sound, consonants)
    consonants = _REPEATED.sub(r"\1", consonants)
    forms = {_OPEN + consonants if stem[0] in "aeio" else consonants}
    if stem[0] == "u":  # user, and update
        forms.add(_OPEN + consonants)
    if stem[-1] in "cg":  # service has lost its e, public had none
        forms |= {_REPEATED.sub(r"\1", each[:-1] + "s") for each in forms}
    return forms


def korean_sounds(word: str) -> str:
    """The consonants of a Korean word."""
    sounds: list[str] = []
    for letter in word:
        initial, rest = divmod(ord(letter) - _FIRST, 588)
        sounds += [_INITIALS[initial], _FINALS[rest % 28]]
    initial, rest = divmod(ord(word[0]) - _FIRST, 588)
    is_open = _INITIALS[initial] == "_" and rest // 28 in _PLAIN_VOWELS
    consonants = _REPEATED.sub(r"\1", "".join(sounds).replace("_", ""))
    return _OPEN + consonants if is_open else consonants


class Loanwords:
    """The English terms of tools by how they sound."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._terms: Mapping[str, set[str]] = defaultdict(set)
        for term in vocabulary:
            if term.isascii() and term.isalpha():
                for sounds in english_sounds(term):
                    self._terms[sounds].add(term)

    def spelt(self, question: str) -> dict[str, set[str]]:
        """English terms that words of the question sound like, by the word."""
        found: dict[str, set[str]] = {}
        for word in _RUN.findall(question):
            if is_korean(word):
                continue
            for end in range(len(word), max(1, len(word) - _ENDINGS_MAX - 1), -1):
                sounds = korean_sounds(word[:end])
                terms = self._terms.get(sounds, set())
                if len(sounds) >= _SOUNDS_MIN and 0 < len(terms) <= _TERMS_MAX:
                    found[word[:end]] = set(terms)
                    break
        return found
