"""Portkey's configs: a strategy over targets, nested as one likes (its page on configs)."""

from __future__ import annotations

import json
from typing import Any

from polycall.cli.importing.found import PREFIXES, Found, expect, number, variable_of
from polycall.errors import RequestError
from polycall.ir import JSON
from polycall.providers.catalogue import CATALOGUE

_READ = {
    "strategy",
    "targets",
    "provider",
    "virtual_key",
    "api_key",
    "weight",
    "override_params",
    "custom_host",
    "name",
    "retry",
    "cache",
    "request_timeout",
}
_WORDS = {
    "on_status_codes": "another target is asked on overload, outage and refusals of the provider",
    "conditions": "a rule by metadata has no counterpart; all its targets are in the route",
    "default": "a rule by metadata has no counterpart; all its targets are in the route",
    "input_guardrails": "has no counterpart",
    "output_guardrails": "has no counterpart",
    "before_request_hooks": "has no counterpart",
    "after_request_hooks": "has no counterpart",
}


def read(text: str, source: str, alias: str) -> Found:
    """The config as the route of one alias; raises `RequestError` for anything else."""
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise RequestError(f"{source} is not JSON: {error}") from None
    except RecursionError:
        raise RequestError(f"{source} is nested too deeply") from None
    config = expect(data, dict, source)
    if isinstance(config.get("config"), dict):
        config = config["config"]  # as Portkey's API gives it
    if not {"targets", "provider", "virtual_key"} & config.keys():
        raise RequestError(f"{source} has no targets and no provider; is it a config of Portkey's?")
    found = Found(source)
    reader = _Reader(found)
    route = reader.route(config, "config")
    if route:
        found.models[alias] = route
    return found


class _Reader:
    def __init__(self, found: Found) -> None:
        self._found = found

    def route(self, node: JSON, path: str) -> list[JSON]:
        """The targets below a node, in the order in which they are to be tried."""
        self._common(node, path)
        if "targets" not in node:
            return self._leaf(node, path)
        strategy: JSON = expect(node.get("strategy") or {}, dict, f"{path}.strategy")
        mode = str(strategy.get("mode", "single"))
        for key in strategy:
            if key != "mode":
                words = _WORDS.get(key, "has no counterpart")
                self._found.note(f"{path}.strategy.{key}", words)
        route: list[JSON] = []
        for index, item in enumerate(expect(node["targets"], list, f"{path}.targets")):
            place = f"{path}.targets[{index}]"
            child = expect(item, dict, place)
            below = self.route(child, place)
            if mode == "loadbalance":
                below = self._shared(below, child, place)
            route += below
            if mode == "single":
                break
        if mode == "fallback" and any("weight" in each for each in route):
            route = self._ordered(route)
        if mode not in ("single", "loadbalance", "fallback"):
            self._found.note(f"{path}.strategy.mode", f"{mode!r}: tried in order instead")
        return route

    def _shared(self, below: list[JSON], child: JSON, path: str) -> list[JSON]:
        """Targets below one of several that share the load."""
        if len(below) > 1:
            self._found.note(path, "several targets share one weight here; the first one has it")
        weight = child.get("weight", 1)
        if isinstance(weight, float):
            weight = round(weight * 100)  # ours are whole numbers
        return [
            {"model": each["model"], "weight": 0 if number else weight}
            for number, each in enumerate(below)
        ]

    def _ordered(self, route: list[JSON]) -> list[JSON]:
        """Load sharing inside of a fallback: what comes after it is never the first choice."""
        return [{"model": each["model"], "weight": each.get("weight", 0)} for each in route]

    def _leaf(self, node: JSON, path: str) -> list[JSON]:
        kind, key = self._provider(node, path)
        if kind is None:
            return []
        host = str(node.get("custom_host") or "")
        row = self._found.provider(kind, host, key)
        override: JSON = expect(node.get("override_params") or {}, dict, f"{path}.override_params")
        for name in override:
            if name != "model":
                words = "parameters are the client's own to set"
                self._found.note(f"{path}.override_params.{name}", words)
        model = override.get("model")
        if not isinstance(model, str):
            self._found.note(path, f"names no model; clients say '{row.name}/MODEL'")
            return []
        return [{"model": f"{row.name}/{model}"}]

    def _provider(self, node: JSON, path: str) -> tuple[str | None, str]:
        """The built-in provider, and a reference to its key."""
        written = str(node.get("provider") or "").removeprefix("@")
        virtual = str(node.get("virtual_key") or "")
        kind = PREFIXES.get(written) or _begins(written) or _begins(virtual)
        if kind is None and node.get("custom_host"):
            kind = "compatible"
        if kind is None:
            shown = written or virtual or "nothing"
            self._found.note(path, f"{shown!r} does not say a provider that is known here")
            return None, ""
        known = CATALOGUE.get(kind)
        variable = known.key_variables[0] if known else "COMPATIBLE_API_KEY"
        if virtual:
            variable = f"{variable_of(virtual)}_KEY"
            self._found.note(f"{path}.virtual_key", f"put its key into the variable {variable}")
            return kind, f"env:{variable}"
        if node.get("api_key"):
            return kind, self._found.secret(str(node["api_key"]), variable, f"{path}.api_key")
        return kind, ""

    def _common(self, node: JSON, path: str) -> None:
        """Read the fields that may stand on every level."""
        found = self._found
        for key, value in node.items():
            match key:
                case "retry":
                    attempts = expect(value, dict, f"{path}.retry").get("attempts")
                    if isinstance(attempts, int):
                        found.server["attempts"] = max(
                            attempts + 1, found.server.get("attempts", 1)
                        )
                case "request_timeout":
                    seconds = number(value, f"{path}.{key}") / 1000
                    found.server["total_s"] = max(seconds, found.server.get("total_s", 0.0))
                case "cache":
                    self._cache(value, f"{path}.cache")
                case _ if key not in _READ:
                    found.note(f"{path}.{key}", _WORDS.get(key, "has no counterpart"))
                case _:
                    pass

    def _cache(self, value: Any, path: str) -> None:
        settings: JSON = expect(value, dict, path) if isinstance(value, dict) else {"mode": value}
        if settings.get("mode") != "simple":
            self._found.note(path, f"{settings.get('mode')!r}: only exact matches are kept here")
            return
        table: JSON = {"all": True}
        if isinstance(settings.get("max_age"), int):
            table["ttl_s"] = float(settings["max_age"])
        self._found.tables["cache"] = table


def _begins(text: str) -> str | None:
    """The provider that a name begins with: people call keys `openai-prod-1a2b`."""
    heads = sorted(PREFIXES, key=len, reverse=True)
    return next((PREFIXES[head] for head in heads if text.startswith(head)), None)
