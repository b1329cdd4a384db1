"""Puts the state of an answer where the client will bring it back from; see `carrier.py`."""

from __future__ import annotations

import logging
from operator import is_
from typing import Any

from msgspec.structs import replace

from polycall import ir
from polycall.fold import finish_part
from polycall.gateway.state.carried import CarriedTurn, Entry, Origin
from polycall.gateway.state.carrier import KEPT_PARTS_MAX, Carrier
from polycall.gateway.state.plain_turns import answer_name
from polycall.providers.dialects import DIALECTS

logger = logging.getLogger("polycall.carrier")


class Embedder:
    """Puts the state of one answer where the client will bring it back from."""

    def __init__(
        self,
        carrier: Carrier,
        origin: Origin,
        owner: str,
        client: str,
        before: list[ir.Message] | None = None,
        *,
        tools: list[str] | None = None,
    ) -> None:
        """`before`: what is answered, where turns without calls are kept as well.

        `tools` are those that were offered, where the model checks that.
        """
        self._tools = tools or []
        self._carrier = carrier
        self._origin = origin
        self._owner = owner
        self._client = client
        self._base = ""
        self._entries: list[Entry] = []
        self._count = 0  # of them, kept or not
        self._has_state = False
        self._calls = 0
        self._open: ir.Part | None = None  # and its texts so far
        self._pieces: list[str] = []
        self._before = before
        self._texts: list[str] = []
        self._size = 0  # of the open text, where only its size is kept
        self._is_counted = False  # a text of which only the size is kept is open

    # Whole answers

    def response(self, response: ir.Response) -> ir.Response:
        """The answer with its state in place; `finish` keeps what has to be kept."""
        parts: list[ir.Part] = []
        for part in response.message.parts:
            match part:
                case ir.Reasoning():
                    noted = self._note_reasoning(part)
                    parts.append(replace(part, metadata=noted) if noted != part.metadata else part)
                case ir.ToolCall():
                    parts.append(self._shown_call(part))
                    self._note_call(part)
                case _:
                    self._note_other(part)
                    parts.append(part)
        if all(map(is_, parts, response.message.parts)):
            return response
        return replace(response, message=replace(response.message, parts=parts))

    # Streams

    def event(self, event: ir.Event) -> ir.Event:
        """The event as the client may see it."""
        if type(event) is ir.PartDelta and self._is_counted:
            self._size += len(event.text)
            return event
        if isinstance(event, ir.PartStart):
            self._is_counted = self._before is None and isinstance(event.part, ir.Text)
            self._open, self._pieces = event.part, []
            if isinstance(event.part, ir.ToolCall):
                return ir.PartStart(event.index, self._shown_call(event.part))
        elif isinstance(event, ir.PartDelta):
            self._pieces.append(event.text)
        elif isinstance(event, ir.PartEnd) and self._open is not None:
            finished = finish_part(self._open, "".join(self._pieces), event.metadata)
            self._open, self._pieces, self._is_counted = None, [], False
            match finished:
                case ir.Reasoning():
                    return ir.PartEnd(
                        event.index, {**event.metadata, **self._note_reasoning(finished)}
                    )
                case ir.ToolCall():
                    self._note_call(finished)
                case _:
                    self._note_other(finished)
        return event

    async def finish(self) -> None:
        """Keep the turn, if it has to be; called before the client may answer."""
        if not self._base and self._before is not None and self._has_state and not self._calls:
            self._base = answer_name(self._before, "".join(self._texts))
        if self._base and self._count > KEPT_PARTS_MAX:  # the next step tells of the loss
            logger.warning(
                "a turn of %d parts is not kept: %d at most", self._count, KEPT_PARTS_MAX
            )
            self._base = ""
        if self._base:
            turn = CarriedTurn(self._origin, self._entries, self._tools)
            await self._carrier.keep(self._owner, self._base, turn)
            self._base = ""

    def _keep(self, entry: Entry) -> None:
        """One more of the turn; one whose client could not bring it back is not kept."""
        self._count += 1
        if self._count <= KEPT_PARTS_MAX:
            self._entries.append(entry)
        elif self._entries:
            self._entries = []
            self._texts = []

    def _note_reasoning(self, part: ir.Reasoning) -> ir.Metadata:
        state = part.metadata.get(self._origin.dialect)
        if state:
            self._has_state = True
            kept: ir.Metadata = {self._origin.dialect: state}
            self._keep(Entry("reasoning", part.text, kept))
        sealed = self._carrier.seal_reasoning(part, self._origin, self._owner, self._client)
        return {**part.metadata, **sealed}

    def _note_call(self, part: ir.ToolCall) -> None:
        state = part.metadata.get(self._origin.dialect)
        kept: ir.Metadata = {} if state is None else {self._origin.dialect: state}
        self._keep(Entry("call", part.arguments_json, kept, part.id))

    def _note_other(self, part: ir.Part) -> None:
        size, self._size = self._size, 0
        if isinstance(part, ir.Text) and (part.text or size):
            state = part.metadata.get(self._origin.dialect)
            kept: ir.Metadata = {self._origin.dialect: state} if state else {}
            if self._before is not None:
                self._texts.append(part.text)
            self._keep(Entry("text", metadata=kept, size=len(part.text) + size))
            self._has_state = self._has_state or self._has_state_keys(state)

    def _has_state_keys(self, state: dict[str, Any] | None) -> bool:
        keys = DIALECTS[self._origin.dialect].FACTS.state_keys
        return bool(state) and not keys.isdisjoint(state)

    def _shown_call(self, call: ir.ToolCall) -> ir.ToolCall:
        """The call under an id that names the kept turn, where there is state to keep."""
        number = self._calls
        self._calls += 1
        is_kept = self._base or self._has_state
        if not is_kept and not self._has_state_keys(call.metadata.get(self._origin.dialect)):
            if self._client == self._origin.dialect:
                return call
            sealed = self._carrier.seal_id(call.id, self._owner, self._client)
            return replace(call, metadata={**call.metadata, **sealed}) if sealed else call
        if not self._base:
            self._base = self._carrier.new_base()
        shown = f"{self._base}_{number}"
        sealed = self._carrier.seal_id(shown, self._owner, self._client)
        return replace(call, id=shown, metadata={**call.metadata, **sealed})
