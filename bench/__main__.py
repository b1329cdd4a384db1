"""Benchmarks that need nothing but the project: `python -m bench [NAME...]`.

`durable` takes minutes and a Postgres, and `console` writes a million rows: they run only where
they are named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench import console, durable, imports, tracing, translation

BENCHES: dict[str, Callable[[], int | None]] = {
    "imports": imports.main,
    "translation": translation.main,
    "tracing": tracing.main,
    "durable": durable.main,
    "console": console.main,
}


def main() -> int:
    names = sys.argv[1:] or ["imports", "translation"]
    if names[0] == "console":
        names = names[:1]  # the rest is its own
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no bench is called {unknown[0]!r}; known: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names:
        failed |= BENCHES[name]() or 0
        print()
    return failed


if __name__ == "__main__":
    sys.exit(main())
