"""The note in an answer on reasoning that its vendor left out of the request."""

from __future__ import annotations

from typing import Any

from polycall.ir import Response, Warning

# Where an answer says so, by dialect.
_FIELDS = {"anthropic": "input_transformations"}
_WHY = {
    "prefix_binding_mismatch": "what stood before it has changed",
    "model_binding_mismatch": "it is another model's",
    "organization_binding_mismatch": "it is another organization's",
    "end_user_binding_mismatch": "it was made for another end user",
}


def dropped_state(response: Response) -> list[Warning]:
    """One warning for each reason for which the vendor dropped reasoning of earlier turns."""
    if not response.metadata:
        return []
    counts: dict[str, int] = {}
    for dialect, field in _FIELDS.items():
        entries: Any = response.metadata.get(dialect, {}).get(field)
        for entry in entries if isinstance(entries, list) else []:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(entry, dict) and entry.get("type") == "thinking_dropped":  # pyright: ignore[reportUnknownMemberType]
                reason = str(entry.get("reason"))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
                counts[reason] = counts.get(reason, 0) + 1
    return [
        Warning(
            "dropped_state",
            "reasoning",
            f"{count} block{'s' if count > 1 else ''} of earlier turns dropped by the vendor: "
            f"{_WHY.get(reason, reason)}; the prompt's cache misses from there on",
        )
        for reason, count in counts.items()
    ]
