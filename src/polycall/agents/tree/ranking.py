"""Tools ranked by words: BM25 over fields, with misspellings, and with what was used.

A name of three words that holds two of the question says more than a page of parameters that holds
them too: each field has a weight and a length of its own.  What a term adds to a tool's score is
computed once, when the index is made.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from polycall.agents.text_search import terms


class Field(NamedTuple):
    """The weight of a field, and how far its length counts against it (0 to 1)."""

    weight: float
    length: float


# Chosen on questions about GitHub's interface, and left as they were for all others.
FIELDS: dict[str, Field] = {
    "name": Field(3.0, 0.8),
    "space": Field(0.7, 0.3),
    "about": Field(3.0, 0.8),
    "parameters": Field(0.3, 0.75),
    "details": Field(0.05, 0.75),
}
_K1 = 1.2
# A term of more tools than this ranks what rarer terms have found, and finds nothing itself.
_COMMON_MIN, _COMMON_SHARE = 1_000, 0.3
_USE_WEIGHT = 1.0
_SOME = 0.2  # what covering nothing but one word of the question leaves of a score
_TYPO_MIN, _TYPO_TWO_MIN, _TYPO_MAX = 4, 8, 40


class FieldIndex:
    """Documents of fields by their terms."""

    def __init__(self, documents: Mapping[str, Mapping[str, Iterable[str]]]) -> None:
        """`documents` are the terms of each field, by the document's name."""
        counts = {
            name: {field: Counter(found) for field, found in fields.items()}
            for name, fields in documents.items()
        }
        self._total = len(counts)
        mean = {
            field: sum(each[field].total() for each in counts.values() if field in each)
            / max(self._total, 1)
            for field in FIELDS
        }
        weighed: dict[str, dict[str, float]] = defaultdict(dict)
        for name, fields in counts.items():
            for field, found in fields.items():
                weight, length = FIELDS[field]
                longer = found.total() / (mean[field] or 1.0)
                share = weight / (1 - length + length * longer)
                for term, count in found.items():
                    row = weighed[term]
                    row[name] = row.get(name, 0.0) + share * count
        self._postings: dict[str, dict[str, float]] = {}
        self._rarity: dict[str, float] = {}
        for term, row in weighed.items():
            rarity = math.log(1 + (self._total - len(row) + 0.5) / (len(row) + 0.5))
            self._rarity[term] = rarity
            self._postings[term] = {
                name: rarity * value * (_K1 + 1) / (value + _K1) for name, value in row.items()
            }
        self._deletions: dict[str, list[str]] | None = None

    @property
    def vocabulary(self) -> Mapping[str, Mapping[str, float]]:
        """All terms."""
        return self._postings

    def scores(
        self,
        question: Iterable[tuple[str, Mapping[str, float]]],
        used: Mapping[str, Mapping[str, int]],
    ) -> dict[str, float]:
        """A score for each document: for each term said, the best of it and of its substitutes.

        `question` is each term with its alternatives, each with how sure it is (the term itself
        with 1).  What fits more of the question fits better than what fits one word well.
        `used` is how often tools were called after questions with a term (search.py).
        """
        said = list(question)
        weights = [self._weight(alternatives) for _, alternatives in said]
        total = sum(weights) or 1.0
        scores: dict[str, float] = {}
        covered: dict[str, float] = {}
        # Rare terms first: of a crowded term only what those have found is looked at.
        for place in sorted(range(len(said)), key=lambda each: -weights[each]):
            term, alternatives = said[place]
            found = self._term(term, alternatives, scores)
            for name, count in used.get(term, {}).items():
                found[name] = found.get(name, 0.0) + _USE_WEIGHT * count / (count + 1.0)
            for name, score in found.items():
                scores[name] = scores.get(name, 0.0) + score
                covered[name] = covered.get(name, 0.0) + weights[place]
        return {
            name: score * (_SOME + (1 - _SOME) * covered[name] / total)
            for name, score in scores.items()
        }

    def _weight(self, alternatives: Mapping[str, float]) -> float:
        known = [
            self._rarity[term] * sure for term, sure in alternatives.items() if term in self._rarity
        ]
        # A word that no tool has is a word that none can cover.
        return max(known, default=math.log(1 + self._total) * 0.5)

    def _term(
        self, term: str, alternatives: Mapping[str, float], scores: Mapping[str, float]
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        most = max(_COMMON_MIN, self._total * _COMMON_SHARE)
        for each, sure in alternatives.items():
            posting = self._postings.get(each)
            if posting is None:
                continue
            # What stands for a term is no rarer than the term: "team" says no more than "org".
            weight = sure * min(1.0, self._rarity.get(term, math.inf) / self._rarity[each])
            names = posting if len(posting) <= most or not scores else scores
            for name in names:
                score = weight * posting.get(name, 0.0)
                if score > found.get(name, 0.0):
                    found[name] = score
        return found

    def misspelt(self, term: str) -> list[str]:
        """Terms that differ from one that is unknown by a letter, or by two where it is long.

        Of two letters that differ one must be missing here and one there.
        """
        if not _TYPO_MIN <= len(term) <= _TYPO_MAX or not term.isascii() or term in self._postings:
            return []
        if self._deletions is None:
            self._deletions = defaultdict(list)
            for known in self._postings:
                if len(known) >= _TYPO_MIN and known.isascii():
                    for form in _deleted(known):
                        self._deletions[form].append(known)
        near: dict[str, int] = {}
        for form in _deleted(term):
            for known in self._deletions.get(form, ()):
                distance = _distance(term, known)
                if distance <= (2 if len(term) >= _TYPO_TWO_MIN else 1):
                    near[known] = distance
        best = min(near.values(), default=0)
        return [known for known, distance in near.items() if distance == best]


def _deleted(term: str) -> set[str]:
    """The term, and what is left of it without one of its letters."""
    return {term, *(term[:place] + term[place + 1 :] for place in range(len(term)))}


def _distance(first: str, second: str) -> int:
    """Letters to insert, delete, replace or swap."""
    before: list[int] = []
    last = list(range(len(second) + 1))
    for row, letter in enumerate(first, start=1):
        now = [row]
        for column, other in enumerate(second, start=1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != other))
            is_swap = row > 1 and column > 1 and letter == second[column - 2]
            if is_swap and first[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]


def field_terms(texts: Iterable[str]) -> list[str]:
    """The terms of several texts."""
    return [term for text in texts for term in terms(text)]
