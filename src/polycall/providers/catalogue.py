"""The vendors polycall knows, a row each.  Adding an OpenAI-compatible one is adding a row.

Addresses are as each vendor's own SDK or documentation gives them.  A provider that is not here
comes from configuration, and is treated as a careful `compatible` one unless it says otherwise.
"""

from __future__ import annotations

from msgspec.structs import replace

from polycall.providers.provider import Provider
from polycall.providers.quirks import BEDROCK, NAMED_QUIRKS
from polycall.translation.quirks import Quirks


def _compatible(
    name: str,
    base_url: str,
    *key_variables: str,
    quirks: str | None = None,
    price_id: str | None = None,
    vendor: str = "",
    needs_key: bool = True,
    embeddings: str = "",
    native_url: str = "",
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
        embeddings=embeddings,
        native_url=native_url,
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

GOOGLE_INTERACTIONS = replace(GOOGLE, name="google-interactions", dialect="gemini-interactions")

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
    GOOGLE_INTERACTIONS,
    DEEPSEEK,
    _compatible(
        "mistral",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        vendor="mistral",
        embeddings="mistral",
    ),
    _compatible(
        "cohere",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
        "CO_API_KEY",
        quirks="compatible",
        embeddings="cohere",
        native_url="https://api.cohere.com",
    ),
    _compatible("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    _compatible("xai", "https://api.x.ai/v1", "XAI_API_KEY", price_id="x-ai", vendor="xai"),
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
        "moonshot",
        "https://api.moonshot.ai/v1",
        "MOONSHOT_API_KEY",
        price_id="moonshotai",
        vendor="moonshot",
    ),
    _compatible("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", vendor="zai"),
    _compatible("minimax", "https://api.minimax.io/v1", "MINIMAX_API_KEY", vendor="minimax"),
    _compatible(
        "alibaba",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
        price_id="",  # the table has none of its own
        vendor="alibaba",
    ),
    _compatible(
        "ollama", "http://127.0.0.1:11434/v1", "OLLAMA_API_KEY", price_id="", needs_key=False
    ),
    Provider(
        name="ollama-native",
        dialect="ollama-chat",
        base_url="http://127.0.0.1:11434",
        key_variables=("OLLAMA_API_KEY",),
        # Documented by its absence: no efforts but these, and whatever a template wants back.
        quirks=Quirks(reasoning_replay="with_calls"),
        price_id="",
        needs_key=False,
    ),
    _compatible("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", price_id="", needs_key=False),
    _compatible(
        "llamacpp", "http://127.0.0.1:8080/v1", "LLAMACPP_API_KEY", price_id="", needs_key=False
    ),
    _compatible(
        "lmstudio", "http://127.0.0.1:1234/v1", "LMSTUDIO_API_KEY", price_id="", needs_key=False
    ),
)

# Clouds.  Addresses are as the clouds' own SDKs and pages give them, read 2026-11-29.
_AZURE_SCOPE = "https://ai.azure.com/.default"  # anthropic 2.14, lib/foundry.md
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_RESOURCE = ("AZURE_OPENAI_RESOURCE", "AZURE_RESOURCE_NAME")
_FOUNDRY_RESOURCE = ("AZURE_FOUNDRY_RESOURCE", "ANTHROPIC_FOUNDRY_RESOURCE", *_RESOURCE)
_VERTEX_PLACES: dict[str, tuple[str, ...]] = {
    "project": ("GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID"),
    "location": ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION"),
}
# anthropic 2.14, lib/vertex: regions have hosts of their own, multi-regions and `global` others.
_VERTEX_HOSTS = {
    "location": {
        "global": "aiplatform.googleapis.com",
        "us": "aiplatform.us.rep.googleapis.com",
        "eu": "aiplatform.eu.rep.googleapis.com",
        "*": "{location}-aiplatform.googleapis.com",
    }
}
_VERTEX_PUBLISHERS = "https://{host}/v1/projects/{project}/locations/{location}/publishers"
_AWS_PLACES: dict[str, tuple[str, ...]] = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": (),
}
_AWS_KEYS = ("AWS_BEARER_TOKEN_BEDROCK",)
_BEDROCK_HOST = "https://bedrock-runtime.{region}.amazonaws.com"

# Models of many vendors behind one server: what they take otherwise is not documented, but that the
# server counts in streams is.
_MANY_VENDORS = replace(NAMED_QUIRKS["compatible"], stream_usage="always")

_VERTEX = Provider(
    name="vertex",
    dialect="gemini",
    base_url=f"{_VERTEX_PUBLISHERS}/google",
    auth="google",
    hosting="vertex-gemini",
    needs_key=False,
    places=_VERTEX_PLACES,
    hosts=_VERTEX_HOSTS,
    scope=_GOOGLE_SCOPE,
)

_BEDROCK = Provider(
    name="bedrock",
    dialect="bedrock-converse",
    base_url=_BEDROCK_HOST,
    key_variables=_AWS_KEYS,
    auth="aws",
    quirks=BEDROCK,
    needs_key=False,
    places=_AWS_PLACES,
    scope="bedrock",
    host_price_id="aws",
)

_BEDROCK_CLAUDE = replace(
    _BEDROCK,
    name="bedrock-anthropic",
    dialect="anthropic",
    base_url=f"{_BEDROCK_HOST}/anthropic",
    quirks=Quirks(),
    headers=ANTHROPIC.headers,
    host_price_id="",
)

_CLOUDS = (
    Provider(
        name="azure",
        dialect="openai-chat",
        tools_dialect="openai-responses",
        base_url="https://{resource}.openai.azure.com/openai/v1",
        key_variables=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        auth="api-key",
        quirks=NAMED_QUIRKS["openai"],
        host_price_id="azure",
        places={"resource": _RESOURCE},
        scope=_AZURE_SCOPE,
    ),
    Provider(
        name="foundry",
        dialect="openai-chat",
        base_url="https://{resource}.services.ai.azure.com/openai/v1",
        key_variables=("AZURE_FOUNDRY_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        auth="api-key",
        quirks=_MANY_VENDORS,
        host_price_id="azure",
        places={"resource": _FOUNDRY_RESOURCE},
        scope=_AZURE_SCOPE,
    ),
    Provider(
        name="foundry-anthropic",
        dialect="anthropic",
        base_url="https://{resource}.services.ai.azure.com/anthropic",
        key_variables=("ANTHROPIC_FOUNDRY_API_KEY", "AZURE_FOUNDRY_API_KEY"),
        auth="x-api-key",
        headers=ANTHROPIC.headers,
        places={"resource": _FOUNDRY_RESOURCE},
        scope=_AZURE_SCOPE,
    ),
    _VERTEX,
    replace(
        _VERTEX,
        name="vertex-anthropic",
        dialect="anthropic",
        base_url=f"{_VERTEX_PUBLISHERS}/anthropic",
        hosting="vertex-anthropic",
        headers=ANTHROPIC.headers,
    ),
    _BEDROCK,
    _BEDROCK_CLAUDE,
    replace(
        _BEDROCK_CLAUDE, name="bedrock-invoke", base_url=_BEDROCK_HOST, hosting="bedrock-invoke"
    ),
    replace(
        _BEDROCK,
        name="bedrock-mantle",
        dialect="openai-chat",
        base_url="https://bedrock-mantle.{region}.api.aws/v1",
        quirks=_MANY_VENDORS,
        scope="bedrock-mantle",
    ),
)

CATALOGUE: dict[str, Provider] = {provider.name: provider for provider in (*_ROWS, *_CLOUDS)}
