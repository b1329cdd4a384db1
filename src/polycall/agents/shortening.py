"""Shortening of conversations that have become too long for their agents' budgets, in one run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.agents.compaction import Compaction, Shortened, other_tokens, size_of
from polycall.client import Client, ModelClient
from polycall.errors import InvalidRequestError
from polycall.ir import Message, Request, Response, Warning
from polycall.loop import Step
from polycall.translation.opened import opened_in
from polycall.translation.summaries import SUMMARIZER, asking_summary, summary_in

Ask: TypeAlias = Callable[[Request], Awaitable[Response]]


class _Awaited(Struct, frozen=True):
    """A summary that the vendor still has to write: of which messages, and their stand-in until
    then.
    """

    key: str
    gone: list[Message]
    stand_in: Message


class Shortening:
    """Shortens before each step; `task`, what the run is for, is always sent."""

    def __init__(self, shortened: dict[str, Shortened]) -> None:
        """`shortened` has what was left out so far, by frame, and grows."""
        self.task: Message | None = None
        self.warnings: list[Warning] = []
        self._shortened = shortened
        self._asked: _Awaited | None = None
        self._is_refused = False
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
        by_vendor: bool,
    ) -> list[Message]:
        """The part of the conversation `seen` in the frame `key` that is sent.

        `known` is what this step has left out before, in a run that is replayed.
        """
        before = self._shortened.get(key, Shortened())
        if before.gone > len(seen):
            before = Shortened()  # of another conversation
        if steps and self._sent[0] == key:
            usage, other = steps[-1].response.usage, self._other_tokens.get(key, 0)
            self._other_tokens[key] = other_tokens(usage, self._sent[1], other)
        by_vendor = by_vendor and compaction.by_vendor and not self._is_refused
        by_vendor = by_vendor and compaction.summarize is None
        if known is not None:
            self._shortened.update(known)
        elif not keeps_all:
            self._shortened[key] = await compaction.shorten(
                before,
                seen[before.gone :],
                other_tokens=self._other_tokens.get(key, 0),
                kept=[self.task] if self.task and not by_vendor else [],
                is_turn=True,
                by_vendor=by_vendor,
            )
        made = self._shortened.get(key, before)
        head, rest = made.opening, seen[made.gone :]
        if made.gone > before.gone and (by_vendor if known is None else made.block is not None):
            gone = [*before.opening, *seen[before.gone : made.gone]]
            self._asked = _Awaited(key, gone, head[0])
        elif made.block is None and made.gone:
            # The vendor's summary has what the run is for, and nothing may stand after it.
            is_task_gone = self.task in seen[: made.gone] and self.task not in rest
            head = [*head, *([self.task] if is_task_gone and self.task else [])]
        sent = [*head, *rest]
        self._sent = (key, sum(map(size_of, sent)))
        return sent

    async def summed_up(self, request: Request, ask: Ask) -> Request:
        """The request with the vendor's summary in its place, where one is to be asked for."""
        asked, self._asked = self._asked, None
        if asked is None:
            return request
        place = next(n for n, each in enumerate(request.messages) if each is asked.stand_in)
        # A tool that came with a turn that stays was not there yet.
        later = {name for each in request.messages[place + 1 :] for name in opened_in(each)}
        later -= {name for each in asked.gone for name in opened_in(each)}
        whole = replace(
            request,
            messages=[*request.messages[:place], *asked.gone],
            tools=[tool for tool in request.tools if tool.name not in later],
            provider_options=asking_summary(request.provider_options),
            tool_choice=None,
            response_format=None,
            stream=False,
        )
        try:
            block = summary_in(await ask(whole))
        except InvalidRequestError as error:
            block, self._is_refused = None, True
            words = f"the vendor did not sum the conversation up, a note stands for it: {error}"
            self.warnings.append(Warning("adjusted", "compaction", words))
        before = self._shortened[asked.key]
        made = self._shortened[asked.key] = replace(before, block=block)
        head = [*made.opening, *([self.task] if block is None and self.task in asked.gone else [])]
        messages = [*request.messages[:place], *head, *request.messages[place + 1 :]]
        return replace(request, messages=messages)


def sums_up(client: ModelClient, model: str) -> bool:
    """Whether the vendor of all models of this chain sums conversations up, and they need it."""
    if not isinstance(client, Client):
        return False
    for each in client.chain(model):
        provider, name = client.resolve(each)
        dialect = provider.dialect_for(with_tools=True)
        if dialect != SUMMARIZER or not provider.quirks_for(name, dialect).prefix_bound:
            return False
    return True
