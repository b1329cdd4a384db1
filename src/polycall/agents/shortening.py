"""What one run sends of conversations that have become too long for its agents' budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from polycall.agents.compaction import Compaction, Shortened, opening, other_tokens, size_of
from polycall.ir import Message
from polycall.loop import Step


class Shortening:
    """Shortens before each step; `task`, what the run is for, is always sent."""

    def __init__(self, shortened: dict[str, Shortened]) -> None:
        """`shortened` has what was left out so far, by frame, and grows."""
        self.task: Message | None = None
        self._shortened = shortened
        self._sent: tuple[str, int] = ("", 0)  # the last request: in which frame, and its bytes
        self._other_tokens: dict[str, int] = {}

    async def sent(
        self,
        compaction: Compaction,
        key: str,
        seen: list[Message],
        steps: Sequence[Step],
        *,
        known: Mapping[str, Shortened] | None,
        keeps_all: bool,
    ) -> list[Message]:
        """What is sent of the conversation `seen` in the frame `key`.

        `known` is what this step has left out before, in a run that is replayed.
        """
        before = self._shortened.get(key, Shortened())
        if steps and self._sent[0] == key:
            usage, other = steps[-1].response.usage, self._other_tokens.get(key, 0)
            self._other_tokens[key] = other_tokens(usage, self._sent[1], other)
        if known is not None:
            self._shortened.update(known)
        elif not keeps_all:
            self._shortened[key] = await compaction.shorten(
                before,
                seen[before.gone :],
                other_tokens=self._other_tokens.get(key, 0),
                kept=[self.task] if self.task else [],
                is_turn=True,
            )
        made = self._shortened.get(key, before)
        sent = seen[made.gone :]
        if made.gone:
            is_task_gone = self.task in seen[: made.gone] and self.task not in sent
            head = [opening(made.gone, made.summary)]
            sent = [*head, *([self.task] if is_task_gone and self.task else []), *sent]
        self._sent = (key, sum(map(size_of, sent)))
        return sent
