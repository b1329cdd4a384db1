"""A vendor's description: its address, its credentials, its dialect, and its differences.

A provider is data.  It names a dialect and never contains translation; what a vendor does
otherwise than the dialect's own is in its `Quirks`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.profiles.fitting import with_profile
from polycall.profiles.names import own_name, vendor_at, vendor_of
from polycall.profiles.profile import Profile, profile
from polycall.translation.quirks import Quirks
from polycall.translation.sse import EVENT_BYTES_MAX

DialectName: TypeAlias = Literal[
    "openai-chat",
    "openai-responses",
    "anthropic",
    "gemini",
    "bedrock-converse",
    "gemini-interactions",
    "ollama-chat",
]
# The last three find credentials themselves where no key is given, and send a key as bearer.
_EMBEDDINGS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "gemini": "google",
    "gemini-interactions": "google",
    "vertex-gemini": "vertex",
    "ollama-chat": "ollama",
    "bedrock-converse": "bedrock",
    "bedrock-invoke": "bedrock",
}
Auth: TypeAlias = Literal[
    "bearer", "x-api-key", "x-goog-api-key", "api-key", "none", "aws", "google", "entra"
]


class Price(Struct, frozen=True):
    """US dollars for a million tokens.  `cached` and `cache_write` default to the input price."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None


Feature: TypeAlias = Literal["tools", "parallel_calls", "reasoning", "images", "structured_output"]
FEATURES: tuple[Feature, ...] = (
    "tools",
    "parallel_calls",
    "reasoning",
    "images",
    "structured_output",
)


ANSWER_BYTES_MAX = 22 * 2**20  # reading it takes as much again
STREAM_BYTES_MAX = 32 * 2**20


class Capabilities(Struct, frozen=True):
    """The capabilities of a model; `None` is unknown.  `structured_output` means by JSON Schema.

    `tools="prompted"`: it is sent none, the prompt describes them.
    """

    tools: bool | Literal["prompted"] | None = None
    parallel_calls: bool | None = None
    reasoning: bool | None = None
    images: bool | None = None
    structured_output: bool | None = None
    context_tokens: int | None = None
    output_tokens: int | None = None  # the most that one answer may have

    def supports(self, features: Iterable[Feature]) -> bool:
        """Whether all of `features` are known to be there."""
        return all(getattr(self, feature) in (True, "prompted") for feature in features)


class Provider(Struct, frozen=True, forbid_unknown_fields=True):
    """One vendor, or a host that serves another's models.

    `base_url` is as that vendor's own SDK takes it: OpenAI and its relatives with `/v1`,
    Anthropic and Google without.  `key_variables` are the environment variables that may hold
    the key, in order.  `tools_dialect` is used instead of `dialect` when tools are in play
    (OpenAI refuses tools beside reasoning on Chat).  `quirks` are the server's; what a model takes
    comes from its profile, except in the fields that are `stated`.  `vendor` says whose list of
    names it goes by, and `serves` which model a name of its own stands for (a deployment).
    `price_id` is the name in the price table: `None` is that of the model's own vendor, or
    `host_price_id` for a vendor that is not known, `""` none; `prices` and `capabilities`, by
    model, come first.

    A cloud's row names how it serves (`hosting`) and what its address holds: `places` gives the
    environment variables of each name in `base_url`, `place` the values that are configured, and
    `hosts` the `{host}` for each value of one of them.  `scope` is what its tokens are asked for,
    or the service that requests are signed for.

    `answer_bytes_max` bounds a whole answer, an event and a translated stream, where a server's
    pictures need more than the bounds that hold without it: `whole_bytes_max`, `event_bytes_max`
    and `stream_bytes_max`.
    """

    name: str
    dialect: DialectName
    base_url: str
    key_variables: tuple[str, ...] = ()
    auth: Auth = "bearer"
    quirks: Quirks = Quirks()
    tools_dialect: DialectName | None = None
    stated: frozenset[str] = frozenset()
    vendor: str = ""
    serves: dict[str, str] = {}
    headers: dict[str, str] = {}
    price_id: str | None = None
    prices: dict[str, Price] = {}
    served: str = ""  # of the price table's rows, those that match
    capabilities: dict[str, Capabilities] = {}
    needs_key: bool = True
    runs_programs: bool = False  # has programmatic calling of its own
    searches_tools: bool = False  # has a tool search of its own
    hosting: str = ""
    places: dict[str, tuple[str, ...]] = {}
    place: dict[str, str] = {}
    hosts: dict[str, dict[str, str]] = {}
    scope: str = ""
    host_price_id: str = ""
    embeddings: str = ""  # whose wire for embeddings; "": by the dialect
    native_url: str = ""  # for what stands alongside the chat, where that is elsewhere
    answer_bytes_max: int | None = None

    @property
    def whole_bytes_max(self) -> int:
        """The bound of a whole answer."""
        return self.answer_bytes_max or ANSWER_BYTES_MAX

    @property
    def event_bytes_max(self) -> int:
        """The bound of one event of a stream."""
        return self.answer_bytes_max or EVENT_BYTES_MAX

    @property
    def stream_bytes_max(self) -> int:
        """The bound of a stream that is translated: most is what stands around each word."""
        return max(self.answer_bytes_max or 0, STREAM_BYTES_MAX)

    @property
    def embeddings_wire(self) -> str:
        """The wire for embeddings: `openai`, ...; "" for none, `bedrock` for that of the model."""
        return self.embeddings or _EMBEDDINGS.get(self.hosting or self.dialect, "")

    def values(self) -> dict[str, str]:
        """Region, project and the like: as configured, else from the environment."""
        found = dict(self.place)
        for name, variables in self.places.items():
            known = (os.environ.get(variable, "") for variable in variables)
            value = found.get(name) or next(filter(None, known), "")
            if value:
                found[name] = value
        return found

    def dialect_for(self, *, with_tools: bool) -> DialectName:
        """The dialect to speak."""
        if with_tools and self.tools_dialect is not None:
            return self.tools_dialect
        return self.dialect

    def own_name(self, model: str) -> str:
        """The name to send for what somebody wrote; as written where no list has it."""
        if not self.vendor or model in self.serves:
            return model
        return own_name(self.vendor, model)

    def profile(self, model: str) -> Profile | None:
        """The profile of the model behind a name, as this server or cloud runs it."""
        return profile(self.serves.get(model, model), server=self._server)

    @property
    def _server(self) -> str:
        """The vendor of this server; empty for a cloud, which runs models as their vendors do."""
        named = self.quirks.server or self.hosting.partition("-")[0] or self.vendor
        if named or self.places:
            return named
        return vendor_at(self.base_url) or _ANY_SERVER

    def pricing(self, model: str) -> tuple[str, str]:
        """The price table's name of the seller, and the model to look up there; `""`: no price."""
        model = self.serves.get(model, model)
        if self.price_id is not None:
            return self.price_id, model
        family = vendor_of(model)
        found = self.profile(model)
        if family is None or found is None or not family.price_id:
            return self.host_price_id, model
        return family.price_id, found.name

    def pricings(self, model: str) -> Iterator[tuple[str, str]]:
        """The places of a price, in order: a host's row of the name, of the model without the
        host's way of running it, and then the model's own vendor.

        What a variant costs beyond its model (`:online`) is not known.
        """
        price_id, name = self.pricing(model)
        yield price_id, name
        plain = _SAME_PRICE.sub("", name)
        if plain != name:
            yield price_id, plain
        found = self.profile(plain)
        if ":" not in plain and self.price_id and found is not None and found.price_id != price_id:
            yield found.price_id, found.name

    def server_quirks(self, model: str) -> Quirks:
        """The quirks of the server for any model: a passed body must meet them too."""
        stated = self.capabilities.get(model)
        if stated is not None and stated.tools == "prompted" and self.quirks.tools != "prompted":
            return replace(self.quirks, tools="prompted")
        return self.quirks

    def quirks_for(self, model: str, dialect: str = "") -> Quirks:
        """The quirks of this model, in its provider's own dialect or in another that it speaks."""
        return self.rules_for(model, dialect)[0]

    def rules_for(self, model: str, dialect: str) -> tuple[Quirks, Profile | None]:
        """The quirks and the profile of a model, made once a day."""
        key = (id(self), model, dialect)
        found = _rules.get(key)
        day = time.time() // _DAY_S
        if found is not None and found[0] is self and found[1] == day:
            return found[2]
        if len(_rules) >= _REMEMBERED_MAX:
            _rules.clear()
        made = self._made_quirks(model, dialect), self.profile(model)
        _rules[key] = (self, day, made)
        return made

    def _made_quirks(self, model: str, dialect: str) -> Quirks:
        quirks = self.server_quirks(model)
        if dialect not in ("", self.dialect):
            # Which fields there are is stated of one dialect, and no other has the same.
            quirks = replace(quirks, options=None)
        found = self.profile(model)
        if found is None:
            return quirks
        return with_profile(quirks, found, dialect or self.dialect, self.stated)

    def auth_headers(self, key: str) -> dict[str, str]:
        """The headers that carry `key`."""
        match self.auth:
            case "bearer":
                return {"authorization": f"Bearer {key}"} if key else {}
            case "x-api-key" | "x-goog-api-key" | "api-key":
                return {self.auth: key} if key else {}
            case "aws" | "google" | "entra":  # JSON is no key to send: see `credentials`
                return {"authorization": f"Bearer {key}"} if key and key[0] != "{" else {}
            case "none":
                return {}


# Variants of a router's that run a model elsewhere, longer or faster, at the model's own price.
_SAME_PRICE = re.compile(r":(?:thinking|beta|extended|exacto|nitro|floor)$")
# The rules of providers that are in use, by the object, since its row may have been replaced.
_rules: dict[tuple[int, str, str], tuple[Provider, float, tuple[Quirks, Profile | None]]] = {}
_REMEMBERED_MAX = 4096
_DAY_S = 86_400
_ANY_SERVER = "compatible"  # as the one of a configuration that says no more than an address
