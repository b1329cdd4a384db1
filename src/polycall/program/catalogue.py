"""The prompt on the tools of a model's programs: all stubs, or how to find them.

The text is the same, byte for byte, for the same tools in any order.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from polycall.errors import ToolError
from polycall.program.auto import estimated_tokens
from polycall.program.stubs import Signature, StubWriter, signatures, summary
from polycall.schema.walk import object_at
from polycall.tools import FunctionTool

# Stubs of more than this are not sent with every request: programs look them up instead.
STUB_TOKENS_MAX = 2_000
FAMILIES_MAX = 40
FOUND_MAX = 10

_RULES = """\
Runs a Python program and returns what it prints and the value of its last expression. Nothing \
else of it is read by you: filter, count and sum up in the program, and print only what you need.
Tools are async functions, called with `await`; they return parsed data (dict, list, str, int), \
and raise ToolError where they fail. Independent calls go together: `import asyncio`, then \
`await asyncio.gather(*[f(x) for x in xs])`. Variables live on in later programs. There is no \
network and no other file than in /tmp. Where a result is Any, print one before you rely on its \
fields."""

_SEARCH = """\
There are {count} tools, too many to be listed. In a program, `await search_tools("words")` gives \
the best matches as [{{"name", "signature", "doc"}}], and `await describe_tool("name")` gives a \
tool's whole stub as text. Every tool is a function of its name. They are about:
{families}"""


class Catalogue:
    """The tools of programs under the names that programs use."""

    def __init__(
        self,
        tools: Iterable[FunctionTool[..., Any]],
        *,
        notes: str = "",
        stub_tokens_max: int = STUB_TOKENS_MAX,
    ) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.signatures = signatures(self.tools.values())
        self.stubs = self._stubs(stub_tokens_max)
        self.is_searchable = self.stubs is None
        shown = f"```python\n{self.stubs}\n```" if self.stubs else self._search_text()
        self.description = "\n".join(filter(None, [_RULES, notes, shown if self.tools else ""]))

    @functools.cached_property
    def _index(self) -> _Index:
        return _Index(self)

    def tool(self, signature: Signature) -> FunctionTool[..., Any]:
        """The tool behind a function."""
        return self.tools[signature.tool]

    def helpers(self) -> dict[str, Callable[..., Any]]:
        """The helper functions that a program has alongside the tools."""
        if not self.is_searchable:
            return {}
        return {"search_tools": self.search_tools, "describe_tool": self.describe_tool}

    async def search_tools(self, query: str, limit: int = FOUND_MAX) -> list[dict[str, str]]:
        """The tools that fit the words best, best first."""
        found = self._index.search(str(query), max(1, min(int(limit), 50)))
        return [
            {
                "name": signature.function,
                "signature": _head(StubWriter().stub(signature, self.tool(signature))),
                "doc": summary(self.tool(signature)),
            }
            for signature in found
        ]

    async def describe_tool(self, name: str) -> str:
        """The whole stub of one tool."""
        signature = self.signatures.get(str(name))
        if signature is None:
            near = get_close_matches(str(name), self.signatures, n=3)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ToolError(f"there is no tool {name!r} for programs{hint}")
        return StubWriter().stub(signature, self.tool(signature))

    def _stubs(self, tokens_max: int) -> str | None:
        """The stubs of all tools; `None` where they are more than may be sent."""
        writer, stubs, tokens = StubWriter(), list[str](), 0
        for signature in self.signatures.values():
            stubs.append(writer.stub(signature, self.tool(signature)))
            tokens += estimated_tokens(stubs[-1])
            if tokens > tokens_max:
                return None
        return "\n\n".join(stubs)

    def _search_text(self) -> str:
        families = Counter(name.partition("_")[0] for name in self.signatures)
        most = sorted(families.items(), key=lambda item: (-item[1], item[0]))[:FAMILIES_MAX]
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(most))
        more = ", and others" if len(families) > FAMILIES_MAX else ""
        return _SEARCH.format(count=len(self.signatures), families=f"{shown}{more}")


class _Index:
    """Finds tools by words: rare words count more, those of the name three times."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._words = {
            name: _weights(signature, catalogue.tool(signature))
            for name, signature in catalogue.signatures.items()
        }
        self._signatures = catalogue.signatures
        self._in_tools: Counter[str] = Counter()
        for words in self._words.values():
            self._in_tools.update(words.keys())

    def search(self, query: str, limit: int) -> list[Signature]:
        wanted = set(_split(query))
        scores = {name: self._score(words, wanted) for name, words in self._words.items()}
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return [self._signatures[name] for name, score in best if score > 0]

    def _score(self, words: Counter[str], wanted: set[str]) -> float:
        total = math.log(1 + len(self._words))
        return sum(
            words[word] * (1 + total - math.log(1 + self._in_tools[word]))
            for word in wanted
            if word in words
        )


def _weights(signature: Signature, tool: FunctionTool[..., Any]) -> Counter[str]:
    words = Counter(dict.fromkeys(_split(tool.name), 3))
    words.update(set(_split(tool.description)))
    for name, schema in object_at(tool.parameters, "properties").items():
        described = schema.get("description", "") if isinstance(schema, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        words.update(set(_split(f"{name} {described}")))
    words[signature.function.casefold()] += 3
    return words


def _split(text: str) -> list[str]:
    """Words without case and common endings; names are cut at underscores and capitals."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).casefold()
    return [
        re.sub(r"(?<=\w{3})(ies|es|s|ing|ed)$", "", word) for word in re.findall(r"[^\W_]+", spaced)
    ]


def _head(stub: str) -> str:
    """The signature of a stub on one line."""
    start = stub.index("async def ") + len("async def ")
    lines = stub[start:].rpartition(":\n")[0].splitlines()
    return " ".join(re.sub(r"  # .*$", "", line).strip() for line in lines)
