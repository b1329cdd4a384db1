"""LangChain's standard tests of a chat model, for one client package and one target.

Run by `python -m bench.langchain` and `python -m bench.fidelity` with the interpreter that has
LangChain.  `LC_CLIENT`, `LC_MODEL`, `LC_URL` and `LC_KEY` say which client, which model, where the
gateway is, and its key.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from langchain_tests.integration_tests import ChatModelIntegrationTests  # type: ignore[import]

CLIENT = os.environ["LC_CLIENT"]
URL = os.environ["LC_URL"]
KEY = os.environ["LC_KEY"]
# Two tries a call, where Google's package makes six in a minute; it counts the first one too.
RETRIES = 2 if CLIENT == "google" else 1
# Package, class, what it is made with.
CLIENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": (
        "langchain_openai",
        "ChatOpenAI",
        # Without it the package asks a server of another address for no usage.
        {"base_url": f"{URL}/v1", "api_key": KEY, "stream_usage": True},
    ),
    "openai-responses": (
        "langchain_openai",
        "ChatOpenAI",
        {"base_url": f"{URL}/v1", "api_key": KEY, "use_responses_api": True},
    ),
    "anthropic": ("langchain_anthropic", "ChatAnthropic", {"base_url": URL, "api_key": KEY}),
    "google": (
        "langchain_google_genai",
        "ChatGoogleGenerativeAI",
        {"base_url": URL, "google_api_key": KEY},
    ),
    "deepseek": (
        "langchain_deepseek",
        "ChatDeepSeek",
        {"api_base": f"{URL}/v1", "api_key": KEY, "stream_usage": True},
    ),
}


class TestStandard(ChatModelIntegrationTests):  # type: ignore[misc]
    """The suite; what a client package says it cannot do is not asked."""

    @property
    def chat_model_class(self) -> Any:
        package, name, _ = CLIENTS[CLIENT]
        return getattr(importlib.import_module(package), name)

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": os.environ["LC_MODEL"], "max_retries": RETRIES, **CLIENTS[CLIENT][2]}

    @property
    def supports_json_mode(self) -> bool:
        return CLIENT in ("openai", "openai-responses", "deepseek")
