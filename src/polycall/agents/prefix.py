"""Whether each request of a run begins as the one before it, and what it costs where not.

Vendors read a prompt that begins as an earlier one from a cache, for about a tenth of the price.
"""

from __future__ import annotations

from decimal import Decimal

from polycall.agents.compaction import size_of
from polycall.client import ModelClient
from polycall.ir import Request, Usage, Warning

# Below this most vendors cache nothing.
TOKENS_MIN = 1024


class PrefixWatch:
    """Compares the requests of one run, a model at a time."""

    def __init__(self) -> None:
        self._before: dict[str, Request] = {}
        self._tokens: dict[str, int] = {}  # of the last request to a model
        self.warnings: list[Warning] = []

    def asking(self, request: Request, client: ModelClient, *, tools_may_grow: bool) -> None:
        """A request that goes out now; `tools_may_grow` at the end without a new beginning."""
        before = self._before.get(request.model)
        tokens = self._tokens.pop(request.model, 0)
        self._before[request.model] = request
        if before is None or tokens < TOKENS_MIN:
            return
        why, same = _difference(before, request, tools_may_grow=tools_may_grow)
        lost = round(tokens * (1 - same))
        if why and lost >= TOKENS_MIN:
            cost = _lost_cost(request.model, client, lost)
            price = "" if cost is None else f", which costs about ${cost:.6f} more"
            detail = f"{why}: about {lost} tokens are read anew instead of from the cache{price}"
            self.warnings.append(Warning("adjusted", "prompt_prefix", detail))

    def answered(self, request_model: str, usage: Usage) -> None:
        """What the vendor counted for it."""
        self._tokens[request_model] = usage.input_tokens


def _difference(before: Request, now: Request, *, tools_may_grow: bool) -> tuple[str, float]:
    """Why the beginning is another, empty where it is not; and the share that is the same."""
    known = before.tools
    if now.tools != known and not (tools_may_grow and now.tools[: len(known)] == known):
        return "the tools changed", 0.0
    pairs = zip(before.messages, now.messages, strict=False)
    same = 0
    for old, new in pairs:
        if old is not new and (old.role, old.parts) != (new.role, new.parts):
            break
        same += 1
    if same == len(before.messages):
        return "", 1.0
    sizes = [size_of(message) for message in before.messages]
    share = sum(sizes[:same]) / max(sum(sizes), 1)
    is_system = before.messages[same].role == "system" and same == 0
    return ("the instructions changed" if is_system else "an earlier message changed"), share


def _lost_cost(model: str, client: ModelClient, tokens: int) -> Decimal | None:
    name = model.split(",", 1)[0].strip()
    fresh = client.cost(name, Usage(input_tokens=tokens, output_tokens=1))
    cached = client.cost(name, Usage(input_tokens=tokens, output_tokens=1, cached_tokens=tokens))
    return None if fresh is None or cached is None else fresh - cached
