"""The vendors polycall knows, a row each.  Adding an OpenAI-compatible one is adding a row.

Addresses are as each vendor's own SDK or documentation gives them.  A provider that is not here
comes from configuration, and is treated as a careful `compatible` one unless it says otherwise.
"""

from __future__ import annotations

from polycall.providers.provider import Provider
from polycall.providers.quirks import NAMED_QUIRKS


def _compatible(
    name: str,
    base_url: str,
    *key_variables: str,
    quirks: str | None = None,
    price_id: str | None = None,
    vendor: str = "",
    needs_key: bool = True,
) -> Provider:
    return Provider(
        name=name,
        dialect="openai-chat",
        base_url=base_url,
        key_variables=key_variables,
        quirks=NAMED_QUIRKS[quirks or name],
        price_id=name if price_id is None else price_id,
        vendor=vendor,
        needs_key=needs_key,
    )


OPENAI = Provider(
    name="openai",
    dialect="openai-chat",
    tools_dialect="openai-responses",
    base_url="https://api.openai.com/v1",
    key_variables=("OPENAI_API_KEY",),
    quirks=NAMED_QUIRKS["openai"],
    vendor="openai",
    price_id="openai",
    runs_programs=True,
    searches_tools=True,
)

ANTHROPIC = Provider(
    name="anthropic",
    dialect="anthropic",
    base_url="https://api.anthropic.com",
    key_variables=("ANTHROPIC_API_KEY",),
    auth="x-api-key",
    headers={"anthropic-version": "2023-06-01"},
    vendor="anthropic",
    price_id="anthropic",
    runs_programs=True,
    searches_tools=True,
)

GOOGLE = Provider(
    name="google",
    dialect="gemini",
    base_url="https://generativelanguage.googleapis.com",
    key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    auth="x-goog-api-key",
    vendor="google",
    price_id="google",
    served=r"gem(ini|ma)",  # the table lists Vertex's other models too
)

DEEPSEEK = _compatible(
    "deepseek",
    "https://api.deepseek.com",
    "DEEPSEEK_API_KEY",
    vendor="deepseek",
)

_ROWS = (
    OPENAI,
    ANTHROPIC,
    GOOGLE,
    DEEPSEEK,
    _compatible("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    _compatible("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    _compatible("xai", "https://api.x.ai/v1", "XAI_API_KEY", price_id="x-ai"),
    _compatible("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    _compatible("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    _compatible("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    _compatible(
        "arouter", "https://api.arouter.ai/v1", "AROUTER_API_KEY", quirks="compatible", price_id=""
    ),
    _compatible(
        "holysheep",
        "https://api.holysheep.ai/v1",
        "HOLYSHEEP_API_KEY",
        quirks="compatible",
        price_id="",
    ),
    _compatible("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    _compatible(
        "moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", price_id="moonshotai"
    ),
    _compatible("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    _compatible(
        "ollama", "http://127.0.0.1:11434/v1", "OLLAMA_API_KEY", price_id="", needs_key=False
    ),
    _compatible("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", price_id="", needs_key=False),
    _compatible(
        "llamacpp", "http://127.0.0.1:8080/v1", "LLAMACPP_API_KEY", price_id="", needs_key=False
    ),
    _compatible(
        "lmstudio", "http://127.0.0.1:1234/v1", "LMSTUDIO_API_KEY", price_id="", needs_key=False
    ),
)

CATALOGUE: dict[str, Provider] = {provider.name: provider for provider in _ROWS}
