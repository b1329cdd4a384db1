"""Tokens, by a rule of thumb that is the same for every vendor: four bytes make a token.

Counted are the words of the messages, the names and arguments of calls, the results, and the
definitions of tools; four more for each of them stand for the frame around it.  A prefix of a
prompt that was seen before, in steps of 128 tokens and from 1,024 on (or as much as the model's
vendor says), counts as cached.  A deferred tool stands where something first refers to it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from polycall._support import jsontext
from polycall.sim.script import (
    Called,
    Entry,
    Prompt,
    Ran,
    Returned,
    Said,
    Tally,
    ToolSpec,
    Turn,
)

FRAME_TOKENS = 4
CACHE_TOKENS_MIN = 1024
CACHE_STEP = 128
_PREFIXES_MAX = 20_000


def count(text: str) -> int:
    """The tokens of a text."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def count_prompt(prompt: Prompt) -> int:
    """The tokens of a whole prompt."""
    return sum(size for _, size in _units(prompt))


def count_answer(turn: Turn) -> int:
    """The tokens of an answer without its reasoning."""
    calls = sum(count(call.name) + count(call.arguments_json) for call in turn.calls)
    return max(1, count(turn.text) + count(turn.refusal) + calls)


class PromptCache:
    """Which prefixes were seen, by vendor and model.  Bounded; the oldest go first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def tally(
        self,
        scope: str,
        prompt: Prompt,
        turn: Turn,
        ran: Sequence[Ran] = (),
        *,
        tokens_min: int | None = None,
    ) -> Tally:
        """The usage of one answer.  What tools give to programs is in no prompt."""
        least = CACHE_TOKENS_MIN if tokens_min is None else tokens_min
        total = cached = 0
        running = hashlib.sha256(scope.encode())
        fresh: list[str] = []
        for text, size in _units(prompt):
            total += size
            running.update(text.encode("utf-8", "surrogatepass") + b"\x1f")
            if total < least or not prompt.caches:
                continue
            prefix = running.hexdigest()
            if prefix in self._seen:
                cached = total - total % CACHE_STEP
            else:
                fresh.append(prefix)
        for prefix in fresh:
            self._seen[prefix] = None
        while len(self._seen) > _PREFIXES_MAX:
            self._seen.popitem(last=False)
        written = total - total % CACHE_STEP - cached if prompt.reports_writes and fresh else 0
        turns = [each.turn for each in ran if each.turn is not None]
        thoughts = [each.reasoning for each in [*turns, turn] if each.reasoning is not None]
        reasoning = sum(count(text) + FRAME_TOKENS for text in thoughts)
        code = sum(count(each.code) + count(each.turn.text) for each in ran if each.turn)
        return Tally(total, cached, written, code + count_answer(turn), reasoning)


def _units(prompt: Prompt) -> list[tuple[str, int]]:
    texts = [_tool_text(tool) for tool in prompt.tools if not tool.is_deferred]
    deferred = {tool.name: tool for tool in prompt.tools if tool.is_deferred}
    for entry in prompt.entries:
        texts.append(_entry_text(entry))
        if isinstance(entry, Returned):
            opened = [name for name in entry.opens if name in deferred]
            texts += [_tool_text(deferred.pop(name)) for name in opened]
    return [(text, count(text) + FRAME_TOKENS) for text in texts]


def _tool_text(tool: ToolSpec) -> str:
    return f"{tool.name} {tool.description} {jsontext.encode(tool.parameters)}"


def _entry_text(entry: Entry) -> str:
    match entry:
        case Said(_, text):
            return text
        case Called(_, name, arguments):
            return f"{name} {jsontext.encode(arguments)}"
        case Returned(_, _, text):
            return text
