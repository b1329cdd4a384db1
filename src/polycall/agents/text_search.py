"""Text as searchable terms, and a ranking of texts by them, in English, Korean and their like."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

# Scripts that write words without spaces, or with endings that grow onto them.
_JOINED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_JOINED}]+|[^\W_{_JOINED}]+")
_IS_JOINED = re.compile(rf"[{_JOINED}]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_STOP_WORDS = """
a an and are as at be by can could do does for from has have how i if in is it its me my of on or
our please that the their them there these they this those to was we were what when where which who
will with would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def terms(text: str) -> list[str]:
    """The terms of a text: stems of words, and pairs of letters where words grow together."""
    found: list[str] = []
    for word in _WORD.findall(_CAMEL.sub(" ", text)):
        if _IS_JOINED.match(word):
            found += [word] if len(word) == 1 else [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            found.append(stem(word.lower()))
    return found


def query_terms(text: str) -> list[str]:
    """The terms of a question, each once, without the words that every question has."""
    spoken = [word for word in _CAMEL.sub(" ", text).split() if word.lower() not in STOP_WORDS]
    return list(dict.fromkeys(terms(" ".join(spoken) or text)))


def stem(word: str) -> str:
    """An English word without its common endings; equal for the forms of one word."""
    if not word.isascii() or len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


class TermIndex(Generic[KeyT]):
    """Texts by their terms, ranked by BM25."""

    _K1, _B = 1.2, 0.75
    _COMMON_MIN = 1_000

    def __init__(self) -> None:
        self._postings: dict[str, dict[KeyT, int]] = {}
        self._terms: dict[KeyT, Counter[str]] = {}
        self._length = 0

    def __len__(self) -> int:
        return len(self._terms)

    @property
    def vocabulary(self) -> Collection[str]:
        """All terms of all texts."""
        return self._postings

    def add(self, key: KeyT, found: Iterable[str]) -> None:
        """Put a text in, in place of what the key had before."""
        self.remove(key)
        counts = Counter(found)
        self._terms[key] = counts
        self._length += counts.total()
        for term, count in counts.items():
            self._postings.setdefault(term, {})[key] = count

    def remove(self, key: KeyT) -> None:
        """Take a text out, where there is one."""
        counts = self._terms.pop(key, None)
        if counts is None:
            return
        self._length -= counts.total()
        for term in counts:
            posting = self._postings[term]
            del posting[key]
            if not posting:
                del self._postings[term]

    def scores(self, wanted: Iterable[str]) -> dict[KeyT, float]:
        """A score for each text that shares a term: how well it fits."""
        scores: dict[KeyT, float] = {}
        total = len(self._terms)
        mean = self._length / total if total else 1.0
        found = {term: self._postings[term] for term in wanted if term in self._postings}
        for posting in sorted(found.values(), key=len):
            # A word of most texts of very many only ranks what rarer words have found.
            is_common = len(posting) > max(total / 2, self._COMMON_MIN)
            known = scores if scores and is_common else posting
            rarity = math.log(1 + (total - len(posting) + 0.5) / (len(posting) + 0.5))
            for key in list(known):
                count = posting.get(key, 0)
                length = self._terms[key].total() / mean
                weight = (
                    count * (self._K1 + 1) / (count + self._K1 * (1 - self._B + self._B * length))
                )
                scores[key] = scores.get(key, 0.0) + rarity * weight
        return scores

    def best(self, wanted: Iterable[str], limit: int) -> list[KeyT]:
        """The texts that fit best, best first; of equals, the one put in first."""
        scores = self.scores(wanted)
        return heapq.nsmallest(limit, scores, key=lambda key: -scores[key])
