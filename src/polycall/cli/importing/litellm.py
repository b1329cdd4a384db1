"""LiteLLM's proxy configuration: `model_list`, `router_settings`, `litellm_settings`,
`general_settings` (its documentation of the proxy's config.yaml)."""

from __future__ import annotations

import importlib
import re
from decimal import Decimal
from typing import Any

from polycall.cli.importing import clouds
from polycall.cli.importing.found import PREFIXES, Found, ProviderRow, expect, number, variable_of
from polycall.errors import RequestError
from polycall.ir import JSON
from polycall.providers.catalogue import CATALOGUE

_ENVIRONMENT = "os.environ/"
_VARIABLES = re.compile(r"os\.environ/(\w+)")
# LiteLLM knows these without a prefix.
_BEGINNINGS = {
    "gpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "chatgpt-": "openai",
    "text-embedding-": "openai",
    "tts-": "openai",
    "whisper-": "openai",
    "dall-e": "openai",
    "omni-moderation": "openai",
    "command": "cohere",
    "claude": "anthropic",
    "gemini": "google",
    "deepseek": "deepseek",
    "mistral": "mistral",
}
_PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
}
_READ = {"model", "api_key", "api_base", "base_url", "weight", *_PRICES}


def read(text: str, source: str) -> Found:
    """The configuration; raises `RequestError` for anything else."""
    yaml = _yaml()
    from polycall._support.yaml_text import load_yaml  # noqa: PLC0415 - needs an extra

    try:
        data = load_yaml(text)
        lines = _lines(yaml, yaml.compose(text, Loader=yaml.SafeLoader))
    except ValueError as error:
        raise RequestError(f"{source} is {error}") from None
    except RecursionError:
        raise RequestError(f"{source} is nested too deeply") from None
    document = expect(data, dict, source)
    if "model_list" not in document:
        raise RequestError(f"{source} has no model_list; is it the config.yaml of LiteLLM's proxy?")
    found = Found(source, taken={*_VARIABLES.findall(text)})
    return _Reader(found, lines).read(document)


def _yaml() -> Any:
    try:
        return importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise RequestError("reading YAML needs pyyaml; install 'polycall[import]'") from None


def _lines(yaml: Any, root: Any) -> dict[str, int]:
    """The line of everything that has a path."""
    found: dict[str, int] = {}

    def note(node: Any, path: str) -> None:
        children: list[tuple[str, Any, Any]] = []  # place, what begins there, what is in it
        if isinstance(node, yaml.MappingNode):
            before = f"{path}." if path else ""
            children = [(f"{before}{key.value}", key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(f"{path}[{i}]", each, each) for i, each in enumerate(node.value)]
        for place, begin, value in children:
            if place not in found:  # of a name that is there twice, aliases could make a storm
                found[place] = begin.start_mark.line + 1
                note(value, place)

    note(root, "")
    return found


class _Reader:
    def __init__(self, found: Found, lines: dict[str, int]) -> None:
        self._found = found
        self._lines = lines
        self._groups: dict[str, list[JSON]] = {}
        self._with_fallbacks: set[str] = set()
        self._uses: dict[str, str] = {}  # of aliases that are not for conversations
        self._credentials: dict[str, JSON] = {}
        self._defaults: list[tuple[str, str]] = []  # models that stand in for any, and where

    def read(self, document: JSON) -> Found:
        listed: Any = document.get("credential_list") or []
        for index, item in enumerate(expect(listed, list, "credential_list")):
            self._credential(item, f"credential_list[{index}]")
        for index, item in enumerate(expect(document["model_list"], list, "model_list")):
            self._deployment(item, f"model_list[{index}]")
        for name, targets in self._groups.items():
            self._alias(name, targets)
        for section, handle in (
            ("router_settings", self._router),
            ("litellm_settings", self._settings),
            ("general_settings", self._general),
        ):
            table: JSON = expect(document.get(section) or {}, dict, section)
            for key, value in table.items():
                handle(key, value, f"{section}.{key}")
        self._default_fallbacks()
        known = (
            *("model_list", "router_settings", "litellm_settings", "general_settings"),
            "credential_list",
        )
        for section, value in document.items():
            if section == "environment_variables" and isinstance(value, dict):
                names: list[Any] = [*value]  # pyright: ignore[reportUnknownArgumentType]
                self._note(section, f"set them for the process: {', '.join(map(str, names))}")
            elif section not in known:
                self._note(section, "has no counterpart")
        return self._found

    def _note(self, path: str, words: str) -> None:
        line = self._lines.get(path)
        self._found.note(f"line {line}: {path}" if line else path, words)

    # model_list

    def _deployment(self, item: Any, path: str) -> None:
        entry = expect(item, dict, path)
        name = expect(entry.get("model_name"), str, f"{path}.model_name")
        params = expect(entry.get("litellm_params"), dict, f"{path}.litellm_params")
        params = self._with_credential(params, f"{path}.litellm_params")
        written = expect(params.get("model"), str, f"{path}.litellm_params.model")
        place = f"{path}.litellm_params"
        at = self._served(written, params, entry.get("model_info"), place)
        if at is None:
            return
        kind, model, base_url = at.kind, at.model, at.base_url
        if base_url and written.partition("/")[0] in _OLLAMA:
            # LiteLLM speaks Ollama's own protocol there, and polycall the one of OpenAI.
            base_url = f"{base_url.rstrip('/').removesuffix('/api').removesuffix('/v1')}/v1"
        key = self._key(params.get("api_key"), kind, f"{place}.api_key") or at.key
        row = self._found.provider(kind, base_url, key, at.place, at.auth)
        if at.serves:
            row.serves[model] = at.serves
        about: JSON = expect(entry.get("model_info") or {}, dict, f"{path}.model_info")
        self._prices(row, model, {**about, **params})
        is_cloud = written.partition("/")[0] in clouds.PREFIXES
        for key_name in params:
            if key_name not in _READ and not (is_cloud and key_name in clouds.READ):
                self._note(f"{place}.{key_name}", _WORDS.get(key_name, "has no counterpart"))
        if name == f"{row.name}/{model}" and "*" in name:
            return  # what clients say is the provider's own name
        if name.count("*") > 1 or model.count("*") > name.count("*"):
            shown = f"{row.name}/MODEL"
            self._note(f"{path}.model_name", f"{name!r}: clients say {shown!r}, without an alias")
            return
        if other := _other_than_chat(written, entry.get("model_info")):
            self._uses[name] = other
            self._note(f"{path}.model_name", f"{name!r} is for {other}: ask it at their route")
        target: JSON = {"model": f"{row.name}/{model}"}
        if "weight" in params:
            target["weight"] = params["weight"]
        self._groups.setdefault(name, []).append(target)

    def _served(self, written: str, params: JSON, info: Any, place: str) -> clouds.Hosted | None:
        """The host of the model; `None` where there is none, which is noted."""
        if written.partition("/")[0] in clouds.PREFIXES:
            return clouds.hosted(written, params, info, place, self._note)
        base_url = params.get("api_base") or params.get("base_url") or ""
        base_url = expect(base_url, str, f"{place}.api_base")
        kind, model = _split(written, base_url)
        if kind is None:
            self._note(f"{place}.model", f"{written!r}: no such provider here; left out")
            return None
        return clouds.Hosted(kind, model, clouds.referred(base_url))

    def _with_credential(self, params: JSON, place: str) -> JSON:
        """The parameters with those of the credential that they name."""
        name = params.get("litellm_credential_name")
        if name is None:
            return params
        rest = {key: each for key, each in params.items() if key != "litellm_credential_name"}
        values = self._credentials.get(str(name))
        if values is None:
            self._note(f"{place}.litellm_credential_name", f"{name!r} is not in credential_list")
            return rest
        return {**values, **rest}

    def _credential(self, item: Any, path: str) -> None:
        entry = expect(item, dict, path)
        name = expect(entry.get("credential_name"), str, f"{path}.credential_name")
        values: JSON = expect(
            entry.get("credential_values") or {}, dict, f"{path}.credential_values"
        )
        self._credentials[name] = values

    def _key(self, value: Any, kind: str, path: str) -> str:
        if value is None:
            return ""
        text = str(value)
        if text.startswith(_ENVIRONMENT):
            return f"env:{text.removeprefix(_ENVIRONMENT)}"
        if text.lower() in ("none", "fake", "dummy", "fake-key", "sk-1234", "anything"):
            return ""  # what people write for servers without keys
        line = self._lines.get(path)
        known = CATALOGUE.get(kind)
        variable = f"{variable_of(kind)}_API_KEY"
        if known is not None and known.key_variables:
            variable = known.key_variables[0]
        return self._found.secret(text, variable, f"line {line}: {path}")

    def _prices(self, row: ProviderRow, model: str, values: JSON) -> None:
        price = {
            ours: float(Decimal(str(values[theirs])) * 1_000_000)
            for theirs, ours in _PRICES.items()
            if type(values.get(theirs)) in (int, float)
        }
        if "input" in price and "output" in price:
            row.prices[model] = price

    def _alias(self, name: str, targets: list[JSON]) -> None:
        unique = [each for n, each in enumerate(targets) if each not in targets[:n]]
        if [each["model"] for each in unique] == [name]:
            return  # what clients say is the model's own name
        if len(unique) > 1:
            # Deployments of one name share the load.
            unique = [{"weight": 1, **each} for each in unique]
            unique = [{"model": each["model"], "weight": each["weight"]} for each in unique]
        self._found.models[name] = unique

    # The settings

    def _router(self, key: str, value: Any, path: str) -> None:
        match key:
            case "fallbacks":
                self._fallbacks(value, path)
            case "default_fallbacks":
                self._defaults += [(str(each), path) for each in expect(value, list, path)]
            case "num_retries":
                self._found.server["attempts"] = expect(value, int, path) + 1
            case "timeout":
                self._found.server["total_s"] = number(value, path)
            case "model_group_alias":
                for alias, target in expect(value, dict, path).items():
                    place = f"{path}.{alias}"
                    named: Any = target
                    if isinstance(target, dict):
                        named = expect(target, dict, place).get("model")
                    self._copy(str(alias), str(named), place)
            case "routing_strategy" if value in ("simple-shuffle", "weighted-pick"):
                pass
            case _:
                self._note(path, _WORDS.get(key, "has no counterpart"))

    def _settings(self, key: str, value: Any, path: str) -> None:
        match key:
            case "fallbacks":
                self._fallbacks(value, path)
            case "num_retries":
                self._found.server["attempts"] = expect(value, int, path) + 1
            case "request_timeout":
                self._found.server["total_s"] = number(value, path)
            case "default_fallbacks":
                self._defaults += [(str(each), path) for each in expect(value, list, path)]
            case "cache_params":
                self._cache(value, path)
            case "drop_params":
                if value:
                    self._found.server["lossy"] = True
            case "cache":
                if value:
                    self._found.tables.setdefault("cache", {})["all"] = True
            case _:
                self._note(path, _WORDS.get(key, "has no counterpart"))

    def _general(self, key: str, value: Any, path: str) -> None:
        match key:
            case "master_key":
                reference = self._reference(value, "POLYCALL_MASTER_KEY", path)
                self._found.keys.append({"key": reference, "name": "master"})
                self._note(path, "is an ordinary key here; keys are made by `polycall keys create`")
            case "database_url":
                reference = self._reference(value, "DATABASE_URL", path)
                self._found.tables["store"] = {"url": reference}
            case _:
                self._note(path, _WORDS.get(key, "has no counterpart"))

    def _reference(self, value: Any, variable: str, path: str) -> str:
        text = str(value)
        if text.startswith(_ENVIRONMENT):
            return f"env:{text.removeprefix(_ENVIRONMENT)}"
        return self._found.secret(text, variable, f"line {self._lines.get(path)}: {path}")

    def _fallbacks(self, value: Any, path: str) -> None:
        for index, item in enumerate(expect(value, list, path)):
            for name, others in expect(item, dict, f"{path}[{index}]").items():
                self._with_fallbacks.add(str(name))
                place = f"{path}[{index}].{name}"
                for other in expect(others, list, place):
                    self._fall_back(str(name), str(other), place)

    def _fall_back(self, name: str, other: str, path: str) -> None:
        models = self._found.models
        route = models.get(name) or self._direct(name)
        more = self._groups.get(other) or self._direct(other)
        if not route or not more:
            self._note(
                path, f"{(other if route else name)!r} is not a model of this file; left out"
            )
            return
        uses = [self._uses.get(each, "conversations") for each in (name, other)]
        if uses[0] != uses[1]:
            self._note(path, f"{name!r} is for {uses[0]}, {other!r} for {uses[1]}; left out")
            return
        known = {each["model"] for each in route}
        # Never the first choice, where those before share the load.
        shared = any("weight" in each for each in route)
        extra = [{"model": each["model"]} for each in more if each["model"] not in known]
        models[name] = [*route, *({**each, "weight": 0} if shared else each for each in extra)]

    def _default_fallbacks(self) -> None:
        """The models that stand in for each alias without fallbacks of its own."""
        for other, path in self._defaults:
            for name in [*self._groups]:
                is_alike = self._uses.get(name) == self._uses.get(other)
                if name != other and is_alike and name not in self._with_fallbacks:
                    self._fall_back(name, other, path)

    def _cache(self, value: Any, path: str) -> None:
        for key, held in expect(value or {}, dict, path).items():
            if key == "ttl":
                self._found.tables.setdefault("cache", {})["ttl_s"] = number(held, f"{path}.ttl")
            elif key not in ("type", "host", "port", "password", "namespace"):
                self._note(f"{path}.{key}", "has no counterpart")
            elif key == "type" and held != "local":
                self._note(f"{path}.{key}", "the cache is in the gateway's own processes")

    def _direct(self, name: str) -> list[JSON]:
        """A model that clients say by its own name."""
        if name in self._groups:
            return [{"model": each["model"]} for each in self._groups[name]]
        prefix = name.partition("/")[0]
        return [{"model": name}] if prefix in self._found.providers else []

    def _copy(self, alias: str, name: str, path: str) -> None:
        route = self._found.models.get(name) or self._direct(name)
        if route:
            self._found.models[alias] = route
        else:
            self._note(path, f"{name!r} is not a model of this file; left out")


_WORDS = {
    "rpm": "limits belong to clients' keys here, not to deployments",
    "tpm": "limits belong to clients' keys here, not to deployments",
    "timeout": "one deadline holds for all: server.total_s",
    "stream_timeout": "one deadline holds for all: server.read_s",
    "cooldown_time": "a provider that keeps failing cools down for 15 s, or as long as it says",
    "allowed_fails": "a provider that keeps failing cools down for 15 s, or as long as it says",
    "routing_strategy": "targets are drawn by weight, or tried in order",
    "context_window_fallbacks": "fallback is for overload and outage",
    "content_policy_fallbacks": "fallback is for overload and outage",
    "callbacks": "metrics are at /metrics, traces in [traces]",
    "success_callback": "metrics are at /metrics, traces in [traces]",
    "failure_callback": "metrics are at /metrics, traces in [traces]",
    "redis_host": "counters can be in Redis: store.counters",
    "redis_url": "counters can be in Redis: store.counters",
}


def _split(written: str, base_url: str) -> tuple[str | None, str]:
    """The built-in provider and the model of what LiteLLM calls a model."""
    prefix, slash, model = written.partition("/")
    if slash:
        kind = PREFIXES.get(prefix)
        if kind is not None:
            # An own server behind "openai/" is any server that speaks Chat.
            is_own = base_url and kind == "openai" and not _is_openais(base_url)
            return ("compatible" if is_own else kind), model
        return ("compatible", written) if base_url and prefix not in _CLOUDS else (None, written)
    if base_url:
        return "compatible", written
    return next((kind for head, kind in _BEGINNINGS.items() if written.startswith(head)), None), (
        written
    )


_CLOUDS = ("sagemaker", "databricks", "watsonx")


_OLLAMA = ("ollama", "ollama_chat")


# What LiteLLM's `mode` calls them, and what their names have otherwise.
_MODES = {
    "embedding": "embeddings",
    "audio_transcription": "transcription",
    "audio_speech": "speech",
    "image_generation": "pictures",
    "rerank": "ranking",
    "moderation": "moderation",
}
_NAMES = {
    "embed": "embeddings",
    "bge-": "embeddings",
    "whisper": "transcription",
    "transcribe": "transcription",
    "tts": "speech",
    "dall-e": "pictures",
    "gpt-image": "pictures",
    "rerank": "ranking",
    "moderation": "moderation",
}


def _other_than_chat(written: str, info: Any) -> str:
    """The purpose of a model that is not for conversations; empty for one that is."""
    mode: Any = expect(info or {}, dict, "model_info").get("mode")
    if mode in _MODES or mode in ("chat", "completion", "responses"):
        return _MODES.get(mode, "")
    name = written.rpartition("/")[2].lower()
    return next((words for part, words in _NAMES.items() if part in name), "")


def _is_openais(base_url: str) -> bool:
    return base_url.rstrip("/") == CATALOGUE["openai"].base_url
