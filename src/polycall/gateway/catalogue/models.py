"""Which models there are, and what each can do, in the shape the caller reads.

The names are the aliases, the models that the configuration lists, and those that providers list
themselves (asked at most every few minutes, and left out while a provider does not answer).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from polycall._support import jsontext
from polycall.config import Config
from polycall.config.aliases import alias_for, is_pattern
from polycall.errors import NotFoundError, PolycallError
from polycall.exchange import BODY_BYTES_MAX, address, environment_key, headers_for
from polycall.gateway.routing.router import is_model_name, shown
from polycall.ir import JSON
from polycall.providers.provider import Provider
from polycall.transport.base import Deadlines, HTTPRequest, Transport

FRESH_S = 300.0
_ASK = Deadlines(connect_s=3.0, read_s=5.0, total_s=5.0)
_LIST_PATHS = {
    "openai-chat": "/models",
    "openai-responses": "/models",
    "anthropic": "/v1/models?limit=1000",
    "gemini": "/v1beta/models?pageSize=1000",
}
_LISTED_MAX = 5000
# A date that no client takes for news: these lists do not know when a model was made.
_CREATED = 1_735_689_600
_CREATED_TEXT = "2025-01-01T00:00:00Z"


class Model(Struct, frozen=True):
    """One name that a client may ask for."""

    name: str
    owner: str
    capabilities: JSON

    def can(self, feature: str) -> bool:
        """Whether it has a capability, by the name in `capabilities`."""
        return bool(self.capabilities.get(feature))


class Catalogue:
    """All models of a configuration."""

    def __init__(self, config: Config, transport: Transport) -> None:
        self._config = config
        self._transport = transport
        self._listed: dict[str, list[str]] = {}
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def models(self, supports: list[str]) -> list[Model]:
        """The models that have all of these capabilities."""
        await self._refresh()
        config = self._config
        found = [
            Model(alias.name, "polycall", self._capabilities(alias.route[0].model))
            for alias in config.models.values()
            if not is_pattern(alias.name)
        ]
        for name, models in self._listed.items():
            provider = config.providers[name]
            found.extend(
                Model(f"{name}/{model}", name, capabilities_of(provider, model)) for model in models
            )
        return [model for model in found if all(model.can(feature) for feature in supports)]

    async def model(self, name: str) -> Model:
        """One model; any of a configured provider is taken to exist."""
        config = self._config
        is_name = is_model_name(name)
        alias = alias_for(config.models, config.providers, name) if is_name else None
        if alias is not None:
            return Model(name, "polycall", self._capabilities(alias.route[0].model))
        prefix, slash, model = name.partition("/")
        provider = self._config.providers.get(prefix)
        if (
            not slash
            or not is_model_name(model)
            or provider is None
            or prefix not in self._usable()
        ):
            raise NotFoundError(f"no model is called {shown(name)}", code="model_not_found")
        return Model(name, prefix, capabilities_of(provider, model))

    def _capabilities(self, name: str) -> JSON:
        prefix, _, model = name.partition("/")
        return capabilities_of(self._config.providers[prefix], model)

    def _usable(self) -> dict[str, str]:
        """Providers that clients may name and that have what they need, with the first key."""
        usable: dict[str, str] = {}
        for name in sorted(self._config.named):
            keys = self._config.provider_keys.get(name)
            try:
                usable[name] = keys[0] if keys else environment_key(self._config.providers[name])
            except PolycallError:
                if name in self._config.unquirked:
                    usable[name] = ""
        return usable

    async def _refresh(self) -> None:
        if time.monotonic() - self._asked_at < FRESH_S:
            return
        async with self._lock:
            if time.monotonic() - self._asked_at < FRESH_S:
                return
            usable = self._usable()
            lists = await asyncio.gather(
                *(self._list(self._config.providers[name], key) for name, key in usable.items())
            )
            for name, listed in zip(usable, lists, strict=True):
                stated = self._config.provider_models.get(name, ())
                names = [*stated, *(model for model in listed if model not in stated)]
                self._listed[name] = names[:_LISTED_MAX]
            self._asked_at = time.monotonic()

    async def _list(self, provider: Provider, key: str) -> list[str]:
        if provider.name in self._config.provider_models:
            return []  # stated by the operator: that is the list
        headers = headers_for(provider, key, stream=False)
        del headers["content-type"]
        url = address(provider, _LIST_PATHS[provider.dialect])
        try:
            http = await self._transport.open(HTTPRequest(url, headers, method="GET"), _ASK)
            try:
                data = await http.read(size_bytes_max=BODY_BYTES_MAX)
            finally:
                await http.close()
            body: Any = jsontext.decode(data) if http.status == 200 else None
        except (PolycallError, ValueError):
            return []
        return _names(body)


def _names(body: Any) -> list[str]:
    items: Any = body.get("data") or body.get("models") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    names: list[str] = []
    for item in items if isinstance(items, list) else []:  # pyright: ignore[reportUnknownVariableType]
        name: Any = item.get("id") or item.get("name") if isinstance(item, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(name, str):
            names.append(name.removeprefix("models/"))
    return names


def capabilities_of(provider: Provider, model: str) -> JSON:
    """What is known of a model; what nobody stated is taken to be there."""
    quirks = provider.quirks_for(model)
    is_chat = provider.dialect_for(with_tools=True) == "openai-chat"
    return {
        "tools": "tools" not in quirks.refused,
        "tool_choice": sorted(quirks.tool_choices),
        "parallel_tool_calls": not is_chat or quirks.parallel_switch,
        "strict_tools": not is_chat or quirks.strict_tools,
        "structured_output": not is_chat or "json_schema" in quirks.response_formats,
        "images": not is_chat or "image_url" in quirks.media_parts,
        "tool_result_images": quirks.result_media,
        "streaming": True,
    }


# ---------------------------------------------------------------------------------------------
# Shapes


def _parameters(model: Model) -> list[str]:
    """Request fields, as routers list them beside OpenAI's shape."""
    known = {
        "tools": ("tools", "tool_choice"),
        "parallel_tool_calls": ("parallel_tool_calls",),
        "structured_output": ("response_format",),
    }
    return [field for name, fields in known.items() if model.can(name) for field in fields]


def openai_model(model: Model) -> JSON:
    """One model for OpenAI clients."""
    return {
        "id": model.name,
        "object": "model",
        "created": _CREATED,
        "owned_by": model.owner,
        "capabilities": model.capabilities,
        "supported_parameters": _parameters(model),
    }


def anthropic_model(model: Model) -> JSON:
    """One model for Anthropic clients."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _CREATED_TEXT,
        "polycall_capabilities": model.capabilities,
    }


def gemini_model(model: Model) -> JSON:
    """One model for Gemini clients."""
    return {
        "name": f"models/{model.name}",
        "version": "001",
        "displayName": model.name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        "polycallCapabilities": model.capabilities,
    }


def openai_list(models: list[Model]) -> JSON:
    """All models for OpenAI clients."""
    return {"object": "list", "data": [openai_model(model) for model in models]}


def anthropic_list(models: list[Model]) -> JSON:
    """All models for Anthropic clients, on one page."""
    return {
        "data": [anthropic_model(model) for model in models],
        "has_more": False,
        "first_id": models[0].name if models else None,
        "last_id": models[-1].name if models else None,
    }


def gemini_list(models: list[Model]) -> JSON:
    """All models for Gemini clients, on one page."""
    return {"models": [gemini_model(model) for model in models]}


# By the dialect that the caller reads; all others read OpenAI's.
SHAPES: dict[str, Callable[[Model], JSON]] = {
    "anthropic": anthropic_model,
    "gemini": gemini_model,
}
LISTS: dict[str, Callable[[list[Model]], JSON]] = {
    "anthropic": anthropic_list,
    "gemini": gemini_list,
}
