"""Finding tools by what they are for: by words, along the tree, or by vectors as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from polycall.agents.text_search import TermIndex, query_terms, terms
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

    def best(self, query: str, limit: int, method: Method, within: str = "") -> list[str]:
        """The names of the tools that fit best, best first; only those below `within`."""
        match method:
            case "words":
                scores = self._index.scores(query_terms(query))
            case "tree":
                scores = self._by_tree(query)
            case "hybrid":
                scores = self._by_vectors(query)
        if within:
            scores = {name: each for name, each in scores.items() if is_below(name, within)}
        return sorted(scores, key=lambda name: (-scores[name], name))[:limit]

    def _by_tree(self, query: str) -> dict[str, float]:
        """First the branches that fit, then the tools in them: what browsing would do."""
        wanted = query_terms(query)
        chosen = set(self._branches.best(wanted, _BRANCHES))
        scores = self._index.scores(wanted)
        return {name: score for name, score in scores.items() if branch_of(name) in chosen}

    def _by_vectors(self, query: str) -> dict[str, float]:
        words = self._index.scores(query_terms(query))
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
            yield str(child.get("description", ""))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
