"""Which models there are, and what each can do, in the shape the caller reads.

The names are the aliases, the models that the configuration lists, and those that providers list
themselves (asked at most every few minutes, and left out while a provider does not answer).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec import Struct

from polycall._support import jsontext
from polycall.config import Config
from polycall.config.aliases import alias_for, is_pattern
from polycall.errors import NotFoundError, PolycallError
from polycall.exchange import check_weight, environment_key
from polycall.gateway.catalogue.provider_lists import ListedModel, read_list
from polycall.gateway.routing.router import is_model_name, shown
from polycall.ir import JSON
from polycall.providers.credentials import credential_for
from polycall.providers.dialects import DIALECTS
from polycall.providers.models import capabilities
from polycall.providers.places import address, headers_for
from polycall.providers.prices import price_of
from polycall.providers.provider import Capabilities, Price, Provider
from polycall.transport.base import Deadlines, HTTPRequest, Transport, send

FRESH_S = 300.0
_ASK = Deadlines(connect_s=3.0, read_s=5.0, total_s=5.0)
_LISTED_MAX = 5000
# A date that no client takes for news: these lists do not know when a model was made.
_CREATED = 1_735_689_600
_CREATED_TEXT = "2025-01-01T00:00:00Z"


class ModelFacts(Struct, frozen=True):
    """The known facts about the model behind a name; `None` is unknown."""

    price: Price | None
    context_tokens: int | None
    output_tokens: int | None
    inputs: list[str]
    parameters: list[str]
    outputs: list[str]


class Model(Struct, frozen=True):
    """One name that a client may ask for."""

    name: str
    owner: str
    capabilities: JSON
    facts: ModelFacts | None = None

    def can(self, feature: str) -> bool:
        """Whether it has a capability, by the name in `capabilities`."""
        return bool(self.capabilities.get(feature))


class Catalogue:
    """All models of a configuration."""

    def __init__(self, config: Config, transport: Transport) -> None:
        self._config = config
        self._transport = transport
        self._listed: dict[str, list[str]] = {}
        self._told: dict[str, dict[str, ListedModel]] = {}  # by provider and model
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def models(self, supports: list[str]) -> list[Model]:
        """The models that have all of these capabilities."""
        await self._refresh()
        config = self._config
        found = [
            self._aliased(alias.name, alias.route[0].model)
            for alias in config.models.values()
            if not is_pattern(alias.name)
        ]
        for name, models in self._listed.items():
            provider = config.providers[name]
            found.extend(
                Model(
                    f"{name}/{model}",
                    name,
                    capabilities_of(provider, model),
                    self._facts(provider, model),
                )
                for model in models
            )
        return [model for model in found if all(model.can(feature) for feature in supports)]

    async def model(self, name: str) -> Model:
        """One model; any of a configured provider is taken to exist."""
        config = self._config
        is_name = is_model_name(name)
        alias = alias_for(config.models, config.providers, name) if is_name else None
        if alias is not None:
            return self._aliased(name, alias.route[0].model)
        prefix, slash, model = name.partition("/")
        provider = self._config.providers.get(prefix)
        if (
            not slash
            or not is_model_name(model)
            or provider is None
            or prefix not in self._usable()
        ):
            raise NotFoundError(f"no model is called {shown(name)}", code="model_not_found")
        capabilities = capabilities_of(provider, model)
        return Model(name, prefix, capabilities, self._facts(provider, model))

    def _aliased(self, name: str, target: str) -> Model:
        prefix, _, model = target.partition("/")
        provider = self._config.providers[prefix]
        capabilities = capabilities_of(provider, model)
        return Model(name, "polycall", capabilities, self._facts(provider, model))

    def _facts(self, provider: Provider, model: str) -> ModelFacts:
        told = self._told.get(provider.name, {}).get(model, ListedModel())
        return facts_of(provider, model, told)

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
                self._told[name] = {model: listed[model] for model in names if model in listed}
            self._asked_at = time.monotonic()

    async def _list(self, provider: Provider, key: str) -> dict[str, ListedModel]:
        if provider.name in self._config.provider_models:
            return {}  # stated by the operator: that is the list
        path = DIALECTS[provider.dialect].FACTS.models_path
        if not path or provider.hosting:
            return {}  # the operator's list is all there is
        headers = headers_for(provider, key, stream=False)
        del headers["content-type"]
        try:
            url = address(provider, path)
            credential = credential_for(provider, key)
            http = await send(
                self._transport,
                HTTPRequest(url, headers, method="GET", credential=credential),
                _ASK,
            )
            try:
                data = await http.read(size_bytes_max=provider.whole_bytes_max)
            finally:
                await http.close()
            check_weight(data)
            body: Any = jsontext.decode(data) if http.status == 200 else None
        except (PolycallError, ValueError):
            return {}
        return read_list(body)


def capabilities_of(provider: Provider, model: str) -> JSON:
    """The capabilities of a model; an unknown one counts as present."""
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


_SAMPLING = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("stop", "stop"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("logprobs", "logprobs"),
)


def facts_of(provider: Provider, model: str, told: ListedModel) -> ModelFacts:
    """Price, context, modalities and parameters.

    Configuration counts most, then what the provider's own list says, then profile and price table.
    """
    known = capabilities(provider, model)
    own = provider.capabilities.get(model, Capabilities())
    quirks = provider.quirks_for(model)
    profile = provider.profile(model)
    media = None if profile is None else profile.words("media")
    inputs = ["text", *sorted(set(media or (["image"] if known.images else [])) - {"text"})]
    absent = quirks.refused | DIALECTS[provider.dialect].FACTS.absent_fields
    parameters = ["max_tokens", *(name for field, name in _SAMPLING if field not in absent)]
    if known.reasoning is not False and quirks.reasoning_control != "none":
        parameters += ["reasoning", "include_reasoning"]
    if quirks.response_formats & {"json_schema"}:
        parameters.append("structured_outputs")
    return ModelFacts(
        provider.prices.get(model) or told.price or price_of(provider, model),
        own.context_tokens or told.context_tokens or known.context_tokens,
        own.output_tokens or told.output_tokens or known.output_tokens,
        told.inputs or inputs,
        parameters,
        told.outputs or ["text"],
    )


# ---------------------------------------------------------------------------------------------
# Shapes


def _parameters(model: Model) -> list[str]:
    """Request fields, as routers list them alongside OpenAI's shape."""
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
        **_openrouter(model),
    }


def _openrouter(model: Model) -> JSON:
    """The fields that OpenRouter's clients read, alongside OpenAI's.

    Prices are dollars for a token.
    """
    facts = model.facts
    if facts is None:
        return {"supported_parameters": _parameters(model)}
    inputs = facts.inputs
    described: JSON = {
        "name": model.name,
        "context_length": facts.context_tokens,
        "architecture": {
            "modality": f"{'+'.join(inputs)}->{'+'.join(facts.outputs)}",
            "input_modalities": inputs,
            "output_modalities": facts.outputs,
        },
        "top_provider": {
            "context_length": facts.context_tokens,
            "max_completion_tokens": facts.output_tokens,
        },
        "supported_parameters": sorted({*facts.parameters, *_parameters(model)}),
    }
    if (price := facts.price) is not None:
        described["pricing"] = {
            "prompt": _per_token(price.input),
            "completion": _per_token(price.output),
            **({} if price.cached is None else {"input_cache_read": _per_token(price.cached)}),
            **(
                {}
                if price.cache_write is None
                else {"input_cache_write": _per_token(price.cache_write)}
            ),
        }
    return described


def _per_token(price: Decimal) -> str:
    return f"{price / 1_000_000:f}"


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


def ollama_list(models: list[Model]) -> JSON:
    """`/api/tags`: all models for Ollama clients."""
    return {"models": [ollama_model(model) for model in models]}


def ollama_model(model: Model) -> JSON:
    """One model of `/api/tags`.  What only a file has is empty: none lies here."""
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": _CREATED_TEXT,
        "size": 0,
        "digest": "",
        "details": {
            "parent_model": "",
            "format": "",
            "family": model.owner,
            "families": [model.owner],
            "parameter_size": "",
            "quantization_level": "",
        },
    }


def ollama_details(model: Model) -> JSON:
    """`/api/show`: what a model can do, in Ollama's words."""
    parameters = [] if model.facts is None else model.facts.parameters
    has = {
        "tools": model.can("tools"),
        "vision": model.can("images"),
        "thinking": "reasoning" in parameters,
    }
    context = None if model.facts is None else model.facts.context_tokens
    family = model.owner
    about: JSON = {"general.architecture": family}
    if context is not None:
        about[f"{family}.context_length"] = context
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": ollama_model(model)["details"],
        "model_info": about,
        "capabilities": ["completion", *(name for name, there in has.items() if there)],
        "modified_at": _CREATED_TEXT,
    }


# By the dialect that the caller reads; all others read OpenAI's.
SHAPES: dict[str, Callable[[Model], JSON]] = {
    "anthropic": anthropic_model,
    "gemini": gemini_model,
}
LISTS: dict[str, Callable[[list[Model]], JSON]] = {
    "anthropic": anthropic_list,
    "gemini": gemini_list,
    "ollama-chat": ollama_list,
}
