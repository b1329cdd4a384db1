"""Earlier answers: a request's references to them, and the place where its own answer is kept."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.errors import StoreError
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.passthrough.made_resources import may_tell
from polycall.gateway.passthrough.request import Fields
from polycall.gateway.processes.heavy_work import LONG_BYTES
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.conversations import KEPT_BYTES_MAX, check_kept
from polycall.gateway.state.stored_responses import (
    REFERENCE_MARKS,
    conversation_of,
    id_in,
    wants_stored,
)
from polycall.ir import JSON, Request, Warning

logger = logging.getLogger("polycall.items")

# Clients of these name an earlier answer in the place of what was said.
_REFERRING = frozenset({"openai-responses", "gemini-interactions"})
_NOTHING: Mapping[str, bool] = MappingProxyType({})


class EarlierAnswers:
    """The references of one request, and the keeping of its answer."""

    __slots__ = (
        "_dialect",
        "_fields",
        "_owner_id",
        "_whole",
        "is_referring",
        "keep_by",
        "may_be_named",
        "said",
    )

    def __init__(self, fields: Fields, dialect: str, owner_id: str) -> None:
        self._fields = fields
        self._dialect = dialect
        self._owner_id = owner_id
        self.is_referring = dialect in _REFERRING  # its clients may name earlier answers
        # Something in the body looks like a reference.
        self.may_be_named = self.is_referring and fields.mentions_any(REFERENCE_MARKS)
        self.said: dict[str, Any] = {}  # the body itself, once it is read
        self._whole: dict[str, Any] | None = None
        self.keep_by: Callable[[JSON], Awaitable[None]] | None = None  # in the place of the store

    def decoded(self) -> dict[str, Any]:
        """The body, with what it refers to where that has been put in place."""
        return self._fields.decoded() if self._whole is None else self._whole

    async def put_in_place(self, services: GatewayServices) -> dict[str, Any]:
        """The body, with the items of earlier answers that it refers to; looked up once."""
        if self._whole is None:
            reader = partial(services.conversations.read, self._owner_id, self._dialect)
            size = self._fields.size
            if size < LONG_BYTES:
                body = self._fields.decoded(reader)
            else:
                run = services.heavy.run
                body = await run(self._owner_id, size, self._fields.decoded, reader)
            self.said = body
            if self.may_be_named:
                if self._fields.value("conversation"):
                    check_kept(size, "conversation")
                bytes_max = services.server.body_bytes_max
                body = await services.items.resolved(self._owner_id, body, bytes_max)
            self._whole = body
        return self._whole

    async def are_here(self, services: GatewayServices) -> bool:
        """Whether the history refers to answers that were kept here: no provider knows of them."""
        if not self.may_be_named:
            return False
        whole = await self.put_in_place(services)
        return whole.get("input") != self.said.get("input")

    async def mention(self, mark: bytes, services: GatewayServices) -> bool:
        """Whether these bytes stand in what an earlier answer said to which the body refers."""
        if not await self.are_here(services):
            return False
        return mark in jsontext.encode_bytes((await self.put_in_place(services)).get("input"))

    def references(self) -> JSON:
        """The request's references to what the answer follows."""
        names = ("input", "previous_response_id", "conversation")
        if self._dialect == "gemini-interactions":
            names = ("input", "previous_interaction_id")
        return {name: self._fields.value(name) for name in names}

    def wants_kept(self, services: GatewayServices) -> bool:
        """Whether the client may come back with references to the answer or its items."""
        return services.server.keep_answers and self._may_be_stored

    @property
    def _may_be_stored(self) -> bool:
        """Whether a provider of the client's own protocol stores the answer."""
        if not self.is_referring:
            return False
        return wants_stored(self._dialect, self._fields.value("store"))

    def losses(self, services: GatewayServices) -> list[Warning]:
        """The warning for a client whose request is too long for its answer to be kept here."""
        if self._fields.size <= KEPT_BYTES_MAX or not self.wants_kept(services):
            return []
        detail = f"a request of more than {KEPT_BYTES_MAX} bytes is not kept: send its items again"
        return [Warning("adjusted", "store", detail)]

    def is_kept_by(self, attempt: Attempt, services: GatewayServices) -> bool:
        """Whether the answer is kept here: else its provider keeps it, or nobody."""
        if not self.wants_kept(services) or self._fields.size > KEPT_BYTES_MAX:
            return False
        return attempt.carries or (attempt.exchange is not None and self._has_conversation)

    @property
    def _has_conversation(self) -> bool:
        """Whether it continues with a conversation that is kept here."""
        is_named = bool(self._fields.value("conversation"))
        return is_named and self._whole is not None and "conversation" not in self._whole

    async def keep(self, services: GatewayServices, response: JSON) -> None:
        """Keep a whole answer that the client may refer to."""
        if self.keep_by is not None:
            await self.keep_by(response)
        else:
            await services.items.keep(self._owner_id, self.references(), response)

    def may_be_noted(self, attempt: Attempt, body: bytes) -> bool:
        """Whether the provider may keep a whole answer, or something that was made with it."""
        if self._dialect != attempt.dialect.NAME:
            return False
        begins = self._begins_thread(attempt)
        return self.is_referring or begins or may_tell(attempt.dialect, body)

    async def note_made(
        self,
        attempt: Attempt,
        services: GatewayServices,
        named: str | bytes,
        made: Mapping[str, bool] = _NOTHING,
    ) -> None:
        """Note whose an answer is that its provider may keep, and what was made with it.

        `named` is the answer's id, or bytes that begin with it; `made` are ids, and whether each is
        an item.  Containers and files live on whether or not the answer is stored.
        """
        if self._dialect != attempt.dialect.NAME:
            return
        owner, provider = self._owner_id, attempt.target.provider.name
        drops_items = self.is_referring and not self._may_be_stored
        makes = [name for name, is_item in made.items() if not (is_item and drops_items)]
        if self._may_be_stored or self._begins_thread(attempt):
            name = id_in(named) if isinstance(named, bytes) else named
            if name and self.is_referring and self.wants_kept(services):
                await services.items.note_place(owner, name, provider, attempt.target.model)
            makes.append(name)
        # What the request itself names was made before, and perhaps elsewhere.
        if makes := [each for each in makes if each and each not in attempt.named]:
            try:
                await services.owned.note_makers(owner, provider, makes)
            except StoreError:
                logger.exception("the maker of an answer was not noted")

    def _begins_thread(self, attempt: Attempt) -> bool:
        """Whether the provider holds the conversation, under the answer's id."""
        field = attempt.dialect.FACTS.thread_field
        return bool(field) and bool(self._fields.value(field))

    def echoed(self, request: Request | None, *, is_kept: bool) -> Request | None:
        """The parsed request, as an answer that is kept here repeats it."""
        if not is_kept or request is None:
            return request
        name = self._dialect
        options: JSON = {**request.provider_options.get(name, {}), "store": True}
        if previous := self._fields.value("previous_response_id"):
            options["previous_response_id"] = previous
        if conversation := conversation_of(self._fields.value("conversation")):
            options["conversation"] = {"id": conversation}
        return replace(request, provider_options={**request.provider_options, name: options})
