"""How well tools are found in a tree, and what that costs: `python -m bench.tool_tree`.

The set is described in `tool_set.py`.  `words` ranks all tools by BM25; `tree` chooses three
branches first, as browsing does; `hybrid` adds vectors, weighted three to one.  The vectors here
are of hashed letter triples: no model and no meaning, so the figures of `hybrid` are the least that
an embedder gives.  Another one is put in with `--embed module:function`.

Tokens are those of the tools' definitions in a Chat request, by the tokenizer that is named.
`p95 ms` is the CPU of a question, the embedder's with it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from bench.tool_set import MANNERS, Entry, entries, questions
from polycall import ToolTree
from polycall.agents.tree import ToolSearch
from polycall.cli.bench.tokens import tokenizer
from polycall.ir import JSON
from polycall.tools import FunctionTool, tool_from_schema

SIZES = (50, 500, 5_000)
_DIMENSIONS = 256
_HITS = 5

Embed = Callable[[list[str]], Sequence[Sequence[float]]]


def letter_triples(texts: list[str]) -> list[list[float]]:
    """Vectors of hashed letter triples."""
    vectors: list[list[float]] = []
    for text in texts:
        vector = [0.0] * _DIMENSIONS
        padded = f"  {text.lower()} "
        for place in range(len(padded) - 2):
            triple = padded[place : place + 3].encode()
            vector[zlib.crc32(triple) % _DIMENSIONS] += 1.0
        vectors.append([math.sqrt(value) for value in vector])
    return vectors


def tool_of(entry: Entry) -> FunctionTool[..., Any]:
    """The entry as a tool, with one parameter as most have."""

    def handle(arguments: JSON) -> JSON:
        return arguments

    parameters: JSON = {
        "type": "object",
        "properties": {"id": {"type": "string", "description": f"which {entry.thing}"}},
        "required": ["id"],
    }
    name = f"{entry.deed}_{entry.thing}"
    return tool_from_schema(name, entry.description, parameters, handle)


def tree_of(found: list[Entry]) -> ToolTree:
    """The entries as a tree."""
    branches: dict[str, dict[str, list[Any]]] = {}
    for entry in found:
        fields = branches.setdefault(entry.department, {})
        fields.setdefault(entry.field, []).append(tool_of(entry))
    return ToolTree(branches)


def tokens_of(tools: list[FunctionTool[..., Any]]) -> int:
    """What their definitions cost."""
    count, _ = tokenizer()
    wire = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in tools
    ]
    return count(json.dumps(wire, ensure_ascii=False))


def measure(size: int, embed: Embed) -> list[dict[str, Any]]:
    """The rows of one size."""
    found = entries(size)
    asked = questions(found)
    tree = tree_of(found)
    search = ToolSearch(tree.leaves, embed=embed)
    own = [tree.tools["search_tools"], tree.tools["open_namespace"]]
    at_start = tokens_of(own)
    all_at_once = tokens_of(list(tree.leaves.values()))
    rows: list[dict[str, Any]] = []
    for method in ("words", "tree", "hybrid"):
        hits = dict.fromkeys(MANNERS, 0)
        opened = 0
        took: list[float] = []
        for manner, entry in asked:
            began = time.process_time()
            names = search.best(entry.question(manner), _HITS, method)
            took.append(time.process_time() - began)
            hits[manner] += entry.name in names
        took.sort()
        for manner, entry in asked[::10]:
            names = search.best(entry.question(manner), _HITS, method)
            opened += tokens_of([*own, *(tree.leaves[name] for name in names)])
        each = len(asked) / len(MANNERS)
        rows.append(
            {
                "tools": size,
                "search": method,
                "hit@5": round(sum(hits.values()) / len(asked), 2),
                **{manner: round(hits[manner] / each, 2) for manner in MANNERS},
                "p95 ms": round(1000 * took[int(0.95 * len(took))], 2),
                "tokens at start": at_start,
                "after one search": round(opened / len(asked[::10])),
                "all at once": all_at_once,
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embed", default="", help="module:function, texts to vectors")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    options = parser.parse_args()
    embed: Embed = letter_triples
    if options.embed:
        module, _, name = options.embed.partition(":")
        embed = getattr(importlib.import_module(module), name)
    rows = [row for size in SIZES for row in measure(size, embed)]
    if options.json:
        for row in rows:
            print(json.dumps(row))
        return
    _, counted_by = tokenizer()
    print(f"300 questions a size; tokens: {counted_by}\n")
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print(
            "| "
            + " | ".join(
                f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()
            )
            + " |"
        )


if __name__ == "__main__":
    main()
