"""The dialects by the names that providers and configuration use.

They are loaded when they are first used: a program that talks to one vendor needs one of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from polycall._support.event_stream import CONTENT_TYPE
from polycall.translation.wire import EVENT_STREAM, Dialect


class _LoadedDialect:
    """A dialect whose names are here."""

    def __init__(
        self, module: str, name: str, routes: tuple[str, ...], stream_type: str = EVENT_STREAM
    ) -> None:
        self._module = module
        self.NAME = name
        self.ROUTES = routes
        self.STREAM_TYPE = stream_type


class LazyDialect(_LoadedDialect):
    """A dialect whose module is loaded with the first use of anything but these constants."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module = importlib.import_module(self._module)
        # The next look finds them, in a class that asks for nothing else.
        self.__dict__.update({each: getattr(module, each) for each in module.__all__})
        cast("Any", self).__class__ = _LoadedDialect
        return getattr(module, name)


def _lazy(
    module: str, name: str, routes: tuple[str, ...], stream_type: str = EVENT_STREAM
) -> Dialect:
    return cast(
        Dialect, LazyDialect(f"polycall.dialects.{module}", name, routes, stream_type=stream_type)
    )


DIALECTS: Mapping[str, Dialect] = {
    "openai-chat": _lazy("openai_chat", "openai-chat", ("/v1/chat/completions",)),
    "openai-responses": _lazy("openai_responses", "openai-responses", ("/v1/responses",)),
    "anthropic": _lazy("anthropic", "anthropic", ("/v1/messages",)),
    "gemini": _lazy(
        "gemini",
        "gemini",
        tuple(
            f"/{version}/models/{{model}}:{method}"
            for version in ("v1beta", "v1")
            for method in ("generateContent", "streamGenerateContent")
        ),
    ),
    "bedrock-converse": _lazy(
        "bedrock_converse",
        "bedrock-converse",
        ("/model/{model}/converse", "/model/{model}/converse-stream"),
        CONTENT_TYPE,
    ),
    "ollama-chat": _lazy("ollama_chat", "ollama-chat", ("/api/chat",), "application/x-ndjson"),
    "gemini-interactions": _lazy(
        "gemini_interactions",
        "gemini-interactions",
        ("/v1beta/interactions", "/v1beta1/interactions", "/v1/interactions"),
    ),
}


def load_usual() -> None:
    """Load what a server is asked for first: the four that most clients and vendors speak."""
    for name in ("openai-chat", "openai-responses", "anthropic", "gemini"):
        DIALECTS[name].parse_request  # noqa: B018 - looking for it loads it
