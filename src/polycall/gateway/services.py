"""The services that requests share in one process: routes, carried state, corrections.

`GatewayServices` is made anew with each configuration.  It knows no request: what depends on one is
a method of `ClientRequest`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from polycall.config import Config
from polycall.gateway.accounts.costs import Costs
from polycall.gateway.accounts.key_refresher import KeyRefresher
from polycall.gateway.media.lazy_fetch import LazyFetcher
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.passthrough.known_texts import KnownTexts
from polycall.gateway.passthrough.request import QuirkMarks
from polycall.gateway.processes.heavy_work import HeavyWork
from polycall.gateway.routing.router import Target, TargetRouter
from polycall.gateway.state.carrier import Carrier
from polycall.gateway.state.known_conversations import KnownConversations
from polycall.gateway.state.shared_corrections import SharedCorrections
from polycall.gateway.state.stored_responses import StoredResponses
from polycall.gateway.store.owned import OwnedResources
from polycall.ir import Request
from polycall.profiles.corrections import Correction
from polycall.providers.provider import Provider
from polycall.translation.quirks import Quirks
from polycall.transport.base import Transport

_REMEMBERED_MAX = 4096


class GatewayServices:
    """The services of the process for a request: routes, carried state, caches."""

    def __init__(
        self,
        config: Config,
        *,
        router: TargetRouter,
        transport: Transport,
        carrier: Carrier,
        items: StoredResponses,
        fetching: LazyFetcher,
        heavy: HeavyWork,
        corrections: SharedCorrections,
        owned: OwnedResources,
        metrics: Metrics | None = None,
    ) -> None:
        self.server = config.server
        self.metrics = metrics or Metrics()
        self.router = router
        self.transport = transport
        self.carrier = carrier
        self.items = items
        self.corrections = corrections
        self.owned = owned
        self.costs = Costs(config)
        self.key_refresher = KeyRefresher(config, router)
        self.heavy = heavy
        self.conversations = KnownConversations()
        self.texts = KnownTexts()
        self._fetching = fetching
        self._unquirked = config.unquirked
        self._without_usage: set[str] = set()
        self._marks: dict[tuple[str, str], QuirkMarks] = {}
        self._places: dict[tuple[Any, ...], tuple[str, dict[str, str]]] = {}

    async def with_media(self, request: Request, dialect: str, owner: str) -> Request:
        """The request with the bytes of its media, where the target needs them."""
        if not self.server.fetch_media:
            return request
        return await self._fetching.with_bytes(request, dialect, owner)

    def as_learned(self, target: Target) -> Target:
        """The target with what its provider has taught since the start."""
        return without_usage(target) if target.provider.name in self._without_usage else target

    def corrections_of(self, target: Target, dialect: str) -> tuple[Correction, ...]:
        """The corrections from refusals of this target, and those that this request's own refusal
        asks for.
        """
        if not self.server.corrections:
            return ()
        provider = target.provider
        book = self.corrections.book
        kept = book.for_target(provider.name, provider.base_url, target.model, dialect)
        return kept if target.refused is None else (*kept, *target.refused.corrections)

    def learn(self, target: Target) -> None:
        """A stream was refused because its usage was asked for, and was answered without."""
        self._without_usage.add(target.provider.name)

    def marks(self, provider: Provider, model: str) -> QuirkMarks:
        """The marks of what the target takes otherwise than its dialect's vendor."""
        found = self._marks.get((provider.name, model))
        if found is None:
            # Where nobody stated a difference, a client of the same protocol is left to it.
            # Of an unknown Chat server it is known that plain ones differ.
            is_plain = provider.name in self._unquirked and provider.dialect != "openai-chat"
            quirks = provider.server_quirks(model)
            if quirks.is_relative:
                # A Chat client did not write for the model that stands behind it.
                quirks = provider.quirks_for(model)
            quirks = Quirks(tools=quirks.tools) if is_plain else quirks
            found = QuirkMarks(quirks, caches=self.server.cache)
            _remember(self._marks, (provider.name, model), found)
        return found

    def place(
        self, key: tuple[object, ...], make: Callable[[], tuple[str, dict[str, str]]]
    ) -> tuple[str, dict[str, str]]:
        """Address and headers of a passed request, made once for each key; nobody changes them."""
        found = self._places.get(key)
        if found is None:
            found = make()
            _remember(self._places, key, found)
        return found


def without_usage(target: Target) -> Target:
    """The target, whose provider is not asked for the usage of streams."""
    provider = target.provider
    quirks = replace(provider.quirks, stream_usage="never")
    return replace(target, provider=replace(provider, quirks=quirks))


def _remember(cache: dict[Any, Any], key: Any, value: Any) -> None:
    if len(cache) >= _REMEMBERED_MAX:
        cache.clear()
    cache[key] = value
