"""What polycall knows of one vendor: where it is, how it is addressed, and how it differs.

A provider is data.  It names a dialect and never contains translation; what a vendor does
otherwise than the dialect's own is in its `Quirks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.translation.quirks import Quirks

DialectName: TypeAlias = Literal["openai-chat", "openai-responses", "anthropic", "gemini"]
Auth: TypeAlias = Literal["bearer", "x-api-key", "x-goog-api-key", "none"]


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


class Capabilities(Struct, frozen=True):
    """What a model can do; `None` is unknown.  `structured_output` means by JSON Schema.

    `tools="prompted"`: it is sent none, they are told in the prompt.
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


class ModelRule(Struct, frozen=True):
    """What holds for the models whose name matches `pattern` (searched from the start)."""

    pattern: str
    quirks: Quirks | None = None
    dialect: DialectName | None = None

    def matches(self, model: str) -> bool:
        """Whether the rule is for this model."""
        return re.match(self.pattern, model) is not None


class Provider(Struct, frozen=True):
    """One vendor.

    `base_url` is as that vendor's own SDK takes it: OpenAI and its relatives with `/v1`,
    Anthropic and Google without.  `key_variables` are the environment variables that may hold
    the key, in order.  `tools_dialect` is used instead of `dialect` when tools are in play
    (OpenAI refuses tools beside reasoning on Chat).  The first of `rules` that matches a model
    decides its quirks and dialect.  `price_id` is the vendor's name in the price table; `prices`
    and `capabilities`, by model, come first.
    """

    name: str
    dialect: DialectName
    base_url: str
    key_variables: tuple[str, ...] = ()
    auth: Auth = "bearer"
    quirks: Quirks = Quirks()
    tools_dialect: DialectName | None = None
    rules: tuple[ModelRule, ...] = ()
    headers: dict[str, str] = {}
    price_id: str = ""
    prices: dict[str, Price] = {}
    served: str = ""  # of the price table's rows, those that match
    capabilities: dict[str, Capabilities] = {}
    needs_key: bool = True
    runs_programs: bool = False  # has programmatic calling of its own
    searches_tools: bool = False  # has a tool search of its own

    def dialect_for(self, model: str, *, with_tools: bool) -> DialectName:
        """The dialect to speak for this model."""
        for rule in self.rules:
            if rule.dialect is not None and rule.matches(model):
                return rule.dialect
        if with_tools and self.tools_dialect is not None:
            return self.tools_dialect
        return self.dialect

    def quirks_for(self, model: str, dialect: str = "") -> Quirks:
        """What this model takes, in its provider's own dialect or in another that it speaks."""
        matching = (each.quirks for each in self.rules if each.quirks and each.matches(model))
        quirks = next(matching, self.quirks)
        if dialect not in ("", self.dialect):
            # Which fields there are is stated of one dialect, and no other has the same.
            quirks = replace(quirks, options=None)
        stated = self.capabilities.get(model)
        if stated is not None and stated.tools == "prompted" and quirks.tools != "prompted":
            return replace(quirks, tools="prompted")
        return quirks

    def auth_headers(self, key: str) -> dict[str, str]:
        """The headers that carry `key`."""
        match self.auth:
            case "bearer":
                return {"authorization": f"Bearer {key}"} if key else {}
            case "x-api-key" | "x-goog-api-key":
                return {self.auth: key} if key else {}
            case "none":
                return {}
