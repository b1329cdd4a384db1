"""Finding tools by what they are for: by words, along the tree, or by vectors as well."""

from __future__ import annotations

import heapq
import re
import time
from bisect import bisect_left
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from polycall.agents.text_search import TermIndex, query_terms, terms
from polycall.agents.tree.acts import Act, act_of_question, act_of_tool, differs, phrases_of
from polycall.agents.tree.ranking import FieldIndex, field_terms
from polycall.agents.tree.synonyms import Loanwords, is_head, synonyms_of
from polycall.agents.vectors import nearest, nearness, spread_of, unit_rows
from polycall.ir import JSON
from polycall.tools import FunctionTool

Method: TypeAlias = Literal["words", "tree", "hybrid"]
# Texts to vectors, one each.
Embed: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]

# How far the best by words is ahead of what they do not find; one is how far the nearness of tools
# differs from pair to pair.  A question that the embedder does not understand is near to no tool.
_WORDS_WEIGHT = 2.0
_CANDIDATES = 50
# What is meant by other words is less sure than what is said.
_HEAD, _SYNONYM, _FORM, _TYPO = 0.9, 0.65, 0.7, 0.7
_FORM_MIN = 4
_QUERY_CHARS_MAX = 1_000
_LOANWORD = 0.9
# Interfaces say of whom they speak where a person says "my".
_MINE = re.compile(r"\b(?:i|me|my|mine|myself)\b|내\s|나의|제\s", re.I)
_MINE_TERMS, _MINE_SURE = field_terms(["authenticated self own current me"]), 0.5
_OTHER_ACT = 0.8  # for tools that do something else than the question wants
_VALUES_MAX, _VALUE_CHARS = 20, 60
_DETAIL_CHARS, _BELOW_MAX, _DEPTH_MAX = 300, 40, 1
_BRANCH_WEIGHT = 3
_BRANCHES = 3


class ToolSearch:
    """An index of tools by their full names, such as `email.send`."""

    def __init__(
        self,
        tools: Mapping[str, FunctionTool[..., Any]],
        *,
        about: Mapping[str, str] | None = None,
        embed: Embed | None = None,
    ) -> None:
        self._branches: TermIndex[str] = TermIndex()
        self._names = list(tools)
        self._uses = Uses()
        self._embed = embed
        self._vocabulary: list[str] | None = None
        self._loanwords: Loanwords | None = None
        documents = {name: _fields_of(name, tool) for name, tool in tools.items()}
        self._acts: dict[str, Act] = {
            name: act_of_tool(fields["name"], fields["about"]) for name, fields in documents.items()
        }
        shared: dict[str, list[str]] = {}
        for name, fields in documents.items():
            for branch, words in (about or {}).items():
                if is_below(name, branch):
                    fields["space"] += terms(words)
            found = [term for each in fields.values() for term in each]
            shared.setdefault(branch_of(name), []).extend(found)
        self._index = FieldIndex(documents)
        for branch, found in shared.items():
            # Each word once, or a branch of many tools would be about everything.
            self._branches.add(branch, [*terms(branch) * _BRANCH_WEIGHT, *dict.fromkeys(found)])
        texts = [f"{name}: {tool.description}" for name, tool in tools.items()]
        self._vectors: Any = unit_rows(embed(texts), len(texts)) if embed and texts else []
        self._rows = {name: row for row, name in enumerate(tools)}
        self._spread = spread_of(self._vectors) if embed and texts else 1.0

    def called(self, name: str, owner: str) -> None:
        """The owner called a tool: where its own search found it, that counts for later ones."""
        self._uses.called(owner, name)

    def best(
        self,
        query: str,
        limit: int,
        method: Method,
        within: str = "",
        *,
        keep: Callable[[str], bool] | None = None,
        owner: str = "",
    ) -> list[str]:
        """The names of the tools that fit best, best first.

        Only those below `within` are looked at, and only those that `keep` says yes to.  Searches
        of an `owner` are remembered: what it called after them counts for it (`called`).  Of a long
        question the beginning is looked at.
        """
        query = query[:_QUERY_CHARS_MAX]
        scores, asked = self._by_words(query, owner)
        match method:
            case "words":
                pass
            case "tree":
                scores = self._in_branches(query, scores)
            case "hybrid":
                is_part = bool(within) or keep is not None
                limit_near = len(self._names) if is_part else max(limit, _CANDIDATES)
                scores = self._with_vectors(query, scores, limit_near)
        if within:
            scores = {name: each for name, each in scores.items() if is_below(name, within)}
        if keep is not None:
            scores = {name: each for name, each in scores.items() if keep(name)}
        found = heapq.nsmallest(limit, scores, key=lambda name: (-scores[name], name))
        if owner:
            self._uses.found(owner, asked, found)
        return found

    def _in_branches(self, query: str, scores: dict[str, float]) -> dict[str, float]:
        """First the branches that fit, then the tools in them: what browsing would do."""
        chosen = set(self._branches.best(query_terms(query), _BRANCHES))
        return {name: score for name, score in scores.items() if branch_of(name) in chosen}

    def _by_words(self, query: str, owner: str) -> tuple[dict[str, float], list[str]]:
        """The terms of the question, and with less weight, its synonyms and other forms.

        Gives the scores of tools, and the terms by which uses are counted.
        """
        if self._loanwords is None:
            self._loanwords = Loanwords(self._index.vocabulary)
        spelt = self._loanwords.spelt(query)
        rest, phrases = query, phrases_of(query)
        for word in spelt:
            rest = rest.replace(word, " ")
        asked = [
            (term, self._alternatives(term, query, phrases.get(term)))
            for term in (query_terms(rest) if rest.strip() else ())
        ]
        asked += [(word, dict.fromkeys(found, _LOANWORD)) for word, found in spelt.items()]
        if _MINE.search(query):
            asked.append(("my", dict.fromkeys(_MINE_TERMS, _MINE_SURE)))
        scores = self._index.scores(asked, self._uses.of(owner))
        act = act_of_question(query)
        if act:
            scores = {
                name: score * (_OTHER_ACT if differs(act, self._acts[name]) else 1.0)
                for name, score in scores.items()
            }
        return scores, [term for term, _ in asked]

    def _alternatives(self, term: str, query: str, meaning: str | None) -> dict[str, float]:
        """A term with what may stand for it, each with how sure that is.

        `meaning` is that of the phrase which the term begins.
        """
        if meaning is not None:
            return {**dict.fromkeys(synonyms_of(meaning, ""), _SYNONYM), term: _FORM, meaning: 1.0}
        found = {each: _HEAD if is_head(each) else _SYNONYM for each in synonyms_of(term, query)}
        found |= dict.fromkeys(self._forms(term), _FORM)
        near = self._index.misspelt(term)
        found |= dict.fromkeys(near, _TYPO)
        for each in near:
            for other in synonyms_of(each, ""):
                found.setdefault(other, _TYPO * _SYNONYM)
        found[term] = 1.0
        return found

    def _forms(self, term: str) -> set[str]:
        """Terms of the tools that a term begins, or that begin it: invite and invitation."""
        if self._vocabulary is None:
            self._vocabulary = sorted(self._index.vocabulary)
        found: set[str] = set()
        if len(term) >= _FORM_MIN and term.isascii():
            for place in range(bisect_left(self._vocabulary, term), len(self._vocabulary)):
                if not self._vocabulary[place].startswith(term):
                    break
                found.add(self._vocabulary[place])
            shorter = (term[:end] for end in range(_FORM_MIN, len(term)))
            found |= {each for each in shorter if each in self._index.vocabulary}
        return found

    def _with_vectors(self, query: str, words: dict[str, float], limit: int) -> dict[str, float]:
        """The scores by words, together with the nearness in meaning.

        `limit` is how many of the nearest are looked at besides what the words have found.
        """
        if self._embed is None or not self._names:
            return words
        near = nearness(self._vectors, self._embed([query])[0])
        mean = float(near.mean())
        best = max(words.values(), default=1.0)
        scores = {name: _WORDS_WEIGHT * score / best for name, score in words.items()}
        for row in nearest(near, limit):
            scores.setdefault(self._names[row], 0.0)
        return {
            name: score + (float(near[self._rows[name]]) - mean) / self._spread
            for name, score in scores.items()
        }


def branch_of(name: str) -> str:
    """The namespace of a tool."""
    return name.rpartition(".")[0]


def is_below(name: str, branch: str) -> bool:
    """Whether a tool stands somewhere in a namespace."""
    return name.startswith(branch + ".")


def _fields_of(name: str, tool: FunctionTool[..., Any]) -> dict[str, list[str]]:
    names: list[str] = []
    details: list[str] = []
    for word, detail in _parameter_words(tool.parameters):
        names.append(word)
        details += detail
    space, _, own = name.rpartition(".")
    return {
        "name": terms(own),
        "space": terms(space),
        "about": terms(tool.description),
        "parameters": field_terms(names),
        "details": field_terms(details),
    }


def _parameter_words(schema: JSON, depth: int = 0) -> Iterable[tuple[str, list[str]]]:
    """The parameters' names, each with what is said of it, and those within them."""
    properties: JSON = schema.get("properties") or {}
    for name, child in list(properties.items())[: _BELOW_MAX if depth else None]:
        inner: JSON = cast("JSON", child) if isinstance(child, dict) else {}
        details = [str(inner.get("description", ""))[:_DETAIL_CHARS]]
        for value in (*_listed(inner.get("enum")), *_listed(inner.get("examples"))):
            details.append(str(value)[:_VALUE_CHARS])
        yield name, details
        if depth < _DEPTH_MAX and isinstance(inner.get("properties"), dict):
            yield from _parameter_words(inner, depth + 1)


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value)[:_VALUES_MAX] if isinstance(value, list) else []


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
        for question, names, at in reversed(known.searches if known is not None else ()):
            if name in names and at >= since and known is not None:
                names.discard(name)
                known.learn(question, name)
                return

    def of(self, owner: str) -> Mapping[str, Mapping[str, int]]:
        """Counts of the owner's calls of tools after a question with a term, by term."""
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
