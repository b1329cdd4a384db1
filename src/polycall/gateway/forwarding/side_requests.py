"""A request alongside the chat, as limits, routes and the ledger see it."""

from __future__ import annotations

from polycall.gateway.generation.client_request import Attempt
from polycall.gateway.passthrough.request import Fields
from polycall.gateway.routing.router import Target
from polycall.gateway.services import GatewayServices
from polycall.ir import Metadata
from polycall.providers.dialects import DIALECTS
from polycall.transport.base import HTTPRequest

_BYTES_PER_TOKEN = 4


class SideRequest:
    """One request.  `size_bytes` is of its text, as far as there is one."""

    fields: Fields | None = None  # of its body, where that is passed on as JSON

    def __init__(self, model: str, size_bytes: int, *, output_tokens: int | None = 0) -> None:
        self.model = model
        self.streams = False
        self.owner_id = ""  # the key's, once it is known
        self.output_reserved: int | None = None
        self._size_bytes = size_bytes
        self._output_tokens = output_tokens

    # For the ledger

    def estimate_input(self) -> int:
        """About how many tokens the provider had to read."""
        return self._size_bytes // _BYTES_PER_TOKEN + 1 if self._size_bytes else 0

    # For limits

    @property
    def service_tier(self) -> str:
        """None is asked for."""
        return ""

    def output_tokens_max(self) -> int | None:
        """The tokens to reserve for the answer; `None` where the request does not say."""
        return self._output_tokens

    def candidates_max(self) -> int:
        """One answer."""
        return 1

    async def size_tokens(self, services: GatewayServices) -> int:
        """Rather too many."""
        del services
        return self._size_bytes // 3 + 1

    def readings_max(self) -> int:
        """Once."""
        return 1

    def premium_usage_hints(self, input_tokens: int, output_tokens: int) -> Metadata:
        """Nothing has another price."""
        del input_tokens, output_tokens
        return {}

    # For routes

    def plan(self, targets: list[Target]) -> None:
        """Every target is asked alike."""

    async def attempt(self, target: Target, services: GatewayServices) -> Attempt:
        """The attempt at one target; what is sent is made when it is sent."""
        del services
        return Attempt(target, DIALECTS[target.provider.dialect], HTTPRequest("", {}))
