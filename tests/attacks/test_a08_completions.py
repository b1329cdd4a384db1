"""A8: a completion reserves what it asks for, as any other generation does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.edge.test_doors import ask, serving
from tests.edge.test_every_door import Nobody

KEY = [(b"authorization", b"Bearer sk-poor-0123456789")]
CONFIG = (
    '[providers.up]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:9/v1"\n'
    'api_key = "sk-u"\nmodels = ["m"]\n[providers.up.prices]\nm = { input = 1, output = 10 }\n'
    '[[keys]]\nkey = "sk-poor-0123456789"\nname = "poor"\nbudget_usd = 0.01\n'
)
BEYOND: dict[str, dict[str, Any]] = {
    "many tokens": {"max_tokens": 100_000},
    "many tokens as a text": {"max_tokens": "100000"},
    "many answers": {"max_tokens": 100, "n": 100},
    "many tries": {"max_tokens": 100, "best_of": 128},
    "many prompts": {"max_tokens": 100, "prompt": ["x"] * 50},
    "many prompts of tokens": {"max_tokens": 100, "prompt": [[1, 2]] * 50},
    "prompts with answers": {"max_tokens": 20, "prompt": ["x"] * 10, "n": 10},
    "as many as the model gives": {},
}


@pytest.mark.parametrize("path", ["/v1/completions", "/openai/deployments/up/m/completions"])
@pytest.mark.parametrize("case", BEYOND)
async def test_a08_a_completion_beyond_the_budget_is_not_sent(
    tmp_path: Path, case: str, path: str
) -> None:
    async with serving(tmp_path, CONFIG) as served:
        nobody = Nobody()
        served._transport._inner = nobody  # type: ignore[assignment]
        body: dict[str, Any] = {"model": "up/m", "prompt": "x", **BEYOND[case]}
        status, said = await ask(served, "POST", path, body, headers=KEY)
        assert (status, nobody.urls) == (400, []), said
        assert "budget" in said["error"]["message"]


@pytest.mark.parametrize("prompt", ["x", ["x"], [1, 2, 3] * 500, ["x", "y"]])
async def test_a_completion_within_the_budget_is_sent(tmp_path: Path, prompt: Any) -> None:
    async with serving(tmp_path, CONFIG + "[server]\nattempts = 1\n") as served:
        body = {"model": "up/m", "prompt": prompt, "max_tokens": 16}
        status, _ = await ask(served, "POST", "/v1/completions", body, headers=KEY)
        assert status == 502  # nobody is there
