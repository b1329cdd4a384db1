"""What was found by which words and then called: a sign for later questions of the same owner.

An owner is a key, or a user: nothing that one does changes what another finds.  Owners, and what is
known of each, are bounded.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping

_OWNERS_MAX, _USES_MAX, _TERMS_MAX = 256, 2_000, 16
_SEARCHES_MAX, _SEARCHED_WITHIN_S = 8, 300.0


class Uses:
    """Calls that followed a search, by their owner and by the terms of the question."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, _OwnerUses] = OrderedDict()

    def found(self, owner: str, question: Iterable[str], names: Iterable[str]) -> None:
        """The owner searched by these terms, and was shown these tools."""
        known = self._owners.pop(owner, None) or _OwnerUses()
        self._owners[owner] = known
        known.searches.append((list(question)[:_TERMS_MAX], set(names), time.monotonic()))
        if len(self._owners) > _OWNERS_MAX:
            self._owners.popitem(last=False)

    def called(self, owner: str, name: str) -> None:
        """The owner called a tool: it fits the last question that found it, once."""
        known = self._owners.get(owner)
        since = time.monotonic() - _SEARCHED_WITHIN_S
        for terms, names, at in reversed(known.searches if known is not None else ()):
            if name in names and at >= since and known is not None:
                names.discard(name)
                known.learn(terms, name)
                return

    def of(self, owner: str) -> Mapping[str, Mapping[str, int]]:
        """How often the owner called tools after a question with a term, by terms."""
        known = self._owners.get(owner)
        return {} if known is None else known.counts


class _OwnerUses:
    def __init__(self) -> None:
        self.searches: deque[tuple[list[str], set[str], float]] = deque(maxlen=_SEARCHES_MAX)
        self.counts: dict[str, Counter[str]] = {}
        self._total = 0

    def learn(self, question: list[str], name: str) -> None:
        for term in question:
            self.counts.setdefault(term, Counter())[name] += 1
        self._total += len(question)
        if self._total >= _USES_MAX:
            # Half of each count, and what was seen once, is forgotten: what is new counts more.
            halves = (
                (term, Counter({each: count // 2 for each, count in row.items() if count > 1}))
                for term, row in self.counts.items()
            )
            self.counts = {term: row for term, row in halves if row}
            self._total = sum(row.total() for row in self.counts.values())
