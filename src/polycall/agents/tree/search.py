"""Finding tools by what they are for: by words, along the tree, or by vectors as well."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from polycall.agents.text_search import TermIndex, query_terms, terms
from polycall.agents.tree.synonyms import synonyms
from polycall.agents.vectors import nearest_rows, unit_rows
from polycall.ir import JSON
from polycall.tools import FunctionTool

Method: TypeAlias = Literal["words", "tree", "hybrid"]
# Texts to vectors, one each.
Embed: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]

# A tool's name says more of it than its description, and that more than its parameters.
_NAME_WEIGHT, _ABOUT_WEIGHT = 3, 2
# A vector finds what is meant, words only what is said.
_VECTOR_WEIGHT, _WORDS_WEIGHT = 0.75, 0.25
_CANDIDATES = 50
# What is meant by other words is less sure than what is said.
_OTHER_WORDS_WEIGHT = 0.45
_FORM_MIN = 4
_VALUES_MAX, _VALUE_CHARS = 20, 60
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
        self._index: TermIndex[str] = TermIndex()
        self._branches: TermIndex[str] = TermIndex()
        self._names = list(tools)
        self._embed = embed
        self._vocabulary: list[str] | None = None
        shared: dict[str, list[str]] = {}
        for name, tool in tools.items():
            found = _terms_of(name, tool)
            for branch, words in (about or {}).items():
                if is_below(name, branch):
                    found += terms(words)
            self._index.add(name, found)
            shared.setdefault(branch_of(name), []).extend(found)
        for branch, found in shared.items():
            # Each word once, or a branch of many tools would be about everything.
            self._branches.add(branch, [*terms(branch) * _NAME_WEIGHT, *dict.fromkeys(found)])
        texts = [f"{name}: {tool.description}" for name, tool in tools.items()]
        self._vectors: Any = unit_rows(embed(texts), len(texts)) if embed and texts else []

    def learn(self, query: str, name: str) -> None:
        """A tool was found by these words and then called: a sign that it fits them."""

    def best(
        self,
        query: str,
        limit: int,
        method: Method,
        within: str = "",
        *,
        keep: Callable[[str], bool] | None = None,
    ) -> list[str]:
        """The names of the tools that fit best, best first.

        Only those below `within` are looked at, and only those that `keep` says yes to.
        """
        match method:
            case "words":
                scores = self._by_words(query)
            case "tree":
                scores = self._by_tree(query)
            case "hybrid":
                scores = self._by_vectors(query)
        if within:
            scores = {name: each for name, each in scores.items() if is_below(name, within)}
        if keep is not None:
            scores = {name: each for name, each in scores.items() if keep(name)}
        return sorted(scores, key=lambda name: (-scores[name], name))[:limit]

    def _by_tree(self, query: str) -> dict[str, float]:
        """First the branches that fit, then the tools in them: what browsing would do."""
        chosen = set(self._branches.best(query_terms(query), _BRANCHES))
        scores = self._by_words(query)
        return {name: score for name, score in scores.items() if branch_of(name) in chosen}

    def _by_words(self, query: str) -> dict[str, float]:
        """What the question says, and less, what it says in other words or by other forms."""
        said = query_terms(query)
        scores = self._index.scores(said)
        others = synonyms(query) | self._forms(said)
        for name, score in self._index.scores(sorted(others - {*said})).items():
            scores[name] = scores.get(name, 0.0) + _OTHER_WORDS_WEIGHT * score
        return scores

    def _forms(self, said: list[str]) -> set[str]:
        """Terms of the tools that a term begins, or that begin it: invite and invitation."""
        if self._vocabulary is None:
            self._vocabulary = sorted(self._index.vocabulary)
        found: set[str] = set()
        for term in said:
            if len(term) >= _FORM_MIN and term.isascii():
                for place in range(bisect_left(self._vocabulary, term), len(self._vocabulary)):
                    if not self._vocabulary[place].startswith(term):
                        break
                    found.add(self._vocabulary[place])
                shorter = (term[:end] for end in range(_FORM_MIN, len(term)))
                found |= {each for each in shorter if each in self._index.vocabulary}
        return found

    def _by_vectors(self, query: str) -> dict[str, float]:
        words = self._by_words(query)
        if self._embed is None:
            return words
        near = nearest_rows(self._vectors, self._embed([query])[0], _CANDIDATES)
        best = max(words.values(), default=1.0)
        scores = {name: _WORDS_WEIGHT * score / best for name, score in words.items()}
        for row, nearness in near.items():
            name = self._names[row]
            scores[name] = scores.get(name, 0.0) + _VECTOR_WEIGHT * nearness
        return scores


def branch_of(name: str) -> str:
    """The namespace of a tool."""
    return name.rpartition(".")[0]


def is_below(name: str, branch: str) -> bool:
    """Whether a tool stands somewhere in a namespace."""
    return name.startswith(branch + ".")


def _terms_of(name: str, tool: FunctionTool[..., Any]) -> list[str]:
    return [
        *terms(name) * _NAME_WEIGHT,
        *terms(tool.description) * _ABOUT_WEIGHT,
        *(term for words in _parameter_words(tool.parameters) for term in terms(words)),
    ]


def _parameter_words(schema: JSON) -> Iterable[str]:
    properties: JSON = schema.get("properties") or {}
    for name, child in properties.items():
        yield name
        if isinstance(child, dict):
            inner = cast("JSON", child)
            yield str(inner.get("description", ""))
            for value in (*_listed(inner.get("enum")), *_listed(inner.get("examples"))):
                yield str(value)[:_VALUE_CHARS]
            if isinstance(inner.get("properties"), dict):
                yield from cast("JSON", inner["properties"])


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value)[:_VALUES_MAX] if isinstance(value, list) else []
