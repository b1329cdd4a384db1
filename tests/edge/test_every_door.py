"""A13, A14: what holds for the chat holds for each door beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.edge.test_doors import CHAT, MODELS, UP, ask, serving

SAID: dict[str, Any] = {
    **CHAT,
    **{"input": "hi", "prompt": "hi", "query": "hi", "documents": ["a"], "texts": ["a"]},
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    "content": {"parts": [{"text": "hi"}]},
    "inputText": "hi",
}
# MODEL stands where the door has the model's name in its path.
DOORS = [
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/responses/compact"),
    *("/v1/responses/input_tokens", "/v1/messages", "/v1/messages/count_tokens"),
    *("/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/v2/embed", "/v1/moderations"),
    *("/v1/images/generations", "/v1/audio/speech", "/v1beta/interactions"),
    *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"),
    *(f"/v1beta/models/MODEL:{verb}" for verb in ("generateContent", "countTokens")),
    *(f"/v1beta/models/MODEL:{verb}" for verb in ("embedContent", "streamGenerateContent")),
    *("/model/MODEL/converse", "/model/MODEL/invoke", "/model/MODEL/count-tokens"),
    "/openai/deployments/MODEL/chat/completions",
    "/openai/deployments/MODEL/embeddings",
    "/openai/v1/chat/completions",
    "/v1/publishers/google/models/MODEL:generateContent",
    "/v1/projects/p/locations/l/publishers/anthropic/models/MODEL:rawPredict",
]
NAMES = [
    *("openai/gpt-5", "ollama/llama", "vertex/gemini", "bedrock/anthropic.claude", "azure/gpt"),
    *("gpt-5", "claude-sonnet-4-6", "gemini-2.5-pro", "text-embedding-3-small", "OPENAI/gpt-5"),
    *("up/../openai/gpt-5", "/openai/gpt-5", "openai//gpt-5", "\u202eup/m", " up/m", "up /m"),
]


class Nobody:
    """Sends nothing, and says what would have been sent."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    async def open(self, request: Any, _: Any) -> Any:
        self.urls.append(request.url)
        raise AssertionError(request.url)

    async def close(self) -> None: ...


def at(door: str, model: str) -> str:
    return door.replace("MODEL", quote(model, safe="" if door.startswith("/model/") else "/"))


@pytest.mark.parametrize("door", DOORS)
async def test_a13_no_door_leads_to_what_the_file_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE", "AZURE", "AZURE_OPENAI", "MISTRAL"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-the-operators-own")
    async with serving(tmp_path, UP + MODELS) as served:
        nobody = Nobody()
        served._transport._inner = nobody  # type: ignore[assignment]
        for model in NAMES:
            body = SAID if "MODEL" in door else {**SAID, "model": model}
            status, said = await ask(served, "POST", at(door, model), body)
            assert (status in (400, 404), nobody.urls) == (True, []), (model, said)


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches", "/v1/fine_tuning/jobs", "/v1/models/x"]
)
@pytest.mark.parametrize("provider", ["openai", "ollama", "vllm", "OPENAI", "up/../openai", ""])
async def test_a13_no_files_of_a_provider_that_the_file_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, provider: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-operators-own")
    async with serving(tmp_path, UP.replace("openai-chat", "anthropic") + MODELS) as served:
        nobody = Nobody()
        served._transport._inner = nobody  # type: ignore[assignment]
        headers = [(b"polycall-provider", provider.encode())]
        status, said = await ask(served, "GET", path, headers=headers)
        assert (status in (400, 404), nobody.urls) == (True, []), said


KEYS = '[[keys]]\nkey="sk-good-0123456789"\nname="good"\n'
LOOKED_UP = [
    *("/v1/models", "/v1/files", "/v1/responses/resp_1", "/v1/conversations/conv_1", "/metrics"),
    *("/v1beta/interactions/v1_1", "/v1/responses/resp_1/input_items", "/api/tags"),
]


@pytest.mark.parametrize(
    ("method", "door"), [*(("POST", door) for door in DOORS), *(("GET", at) for at in LOOKED_UP)]
)
async def test_a14_no_door_has_rows_or_time_for_strangers(
    tmp_path: Path, method: str, door: str
) -> None:
    async with serving(tmp_path, UP + MODELS + KEYS) as served:
        statuses: list[int] = []
        rows: list[Any] = []
        served.store.add_row = rows.append  # type: ignore[method-assign]
        for number in range(120):
            key = [(b"authorization", b"Bearer sk-guess-%d" % number)]
            path = at(door, "up/m")
            client = ("203.0.113.7", 5)
            body = {**SAID, "model": "up/m"} if method == "POST" else None
            status, _ = await ask(served, method, path, body, headers=key, client=client)
            statuses.append(status)
        refused = {401, 403}  # Google's clients read 403
        assert (statuses[0] in refused, statuses[-1]) == (True, 429)
        assert (set(statuses) <= {*refused, 429}, rows) == (True, [])
