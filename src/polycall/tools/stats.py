"""How often each model's calls were valid, mended or refused."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

from polycall.ir import JSON

Outcome: TypeAlias = Literal["valid", "mended", "refused"]


class ToolStats:
    """Counts per model.  Mends are counted by kind as well."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Counter[str]] = {}
        self._mends: dict[str, Counter[str]] = {}

    def record(self, model: str, outcome: Outcome, mends: tuple[str, ...] = ()) -> None:
        """Count one call."""
        self._outcomes.setdefault(model, Counter())[outcome] += 1
        self._mends.setdefault(model, Counter()).update(mends)

    def table(self) -> dict[str, JSON]:
        """By model: `valid`, `mended`, `refused`, and `mends` by kind."""
        return {
            model: {
                "valid": counts["valid"],
                "mended": counts["mended"],
                "refused": counts["refused"],
                "mends": dict(sorted(self._mends[model].items())),
            }
            for model, counts in sorted(self._outcomes.items())
        }
