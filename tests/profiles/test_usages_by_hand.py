"""15.4: what recorded answers cost, by arithmetic written here and by nothing of polycall's.

Rates are dollars for a million tokens, as the vendors' price pages had them on 2026-11-29.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.ir import Usage
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.providers.prices import cost_usd

CORPUS = Path(os.environ.get("POLYCALL_SHARED", "../shared")) / "corpus"
# Model: input, output, read from a cache, written to one (five minutes, an hour).
RATES: dict[str, tuple[str, ...]] = {
    "claude-sonnet-4-5-20250929": ("3", "15", "0.3", "3.75", "6"),
    "claude-haiku-4-5-20251001": ("1", "5", "0.1", "1.25", "2"),
    "claude-sonnet-4-20250514": ("3", "15", "0.3", "3.75", "6"),
    "claude-opus-4-6": ("5", "25", "0.5", "6.25", "10"),
    "claude-sonnet-4-6": ("3", "15", "0.3", "3.75", "6"),
    "gpt-4o-2024-08-06": ("2.5", "10", "1.25"),
    "gpt-4o-mini-2024-07-18": ("0.15", "0.6", "0.075"),
    "gpt-4.1-2025-04-14": ("2", "8", "0.5"),
    "gpt-5-2025-08-07": ("1.25", "10", "0.125"),
    "gpt-5-mini-2025-08-07": ("0.25", "2", "0.025"),
    "gpt-5-nano-2025-08-07": ("0.05", "0.4", "0.005"),
    "gemini-2.5-flash": ("0.3", "2.5", "0.03"),
    "gemini-2.5-pro": ("1.25", "10", "0.125"),
}
PER_MODEL = 6
NO_BATCHES = {"claude-sonnet-4-20250514"}  # retired; at the usual rate, which is never too little
SOURCES = {
    "anthropic": ("anthropic_messages", "anthropic", "api.anthropic.com"),
    "openai-chat": ("openai_chat", "openai", "api.openai.com"),
    "openai-responses": ("openai_responses", "openai", "api.openai.com"),
    "gemini": ("gemini", "google", "generativelanguage.googleapis.com"),
}
MILLION = Decimal(1_000_000)


def model_of(dialect: str, body: dict[str, Any]) -> str:
    return str(body.get("modelVersion" if dialect == "gemini" else "model") or "")


def dollars(rates: tuple[str, ...], counts: tuple[int, ...]) -> Decimal:
    return sum((Decimal(r) * n for r, n in zip(rates, counts, strict=False)), Decimal(0)) / MILLION


def by_hand(dialect: str, model: str, body: dict[str, Any]) -> Decimal | None:
    """The price of a body; `None` for one with sound, searches or a tier of its own."""
    rates = RATES[model]
    if dialect == "gemini":
        usage = body["usageMetadata"]
        details = [*usage.get("promptTokensDetails", []), *usage.get("candidatesTokensDetails", [])]
        if any(each.get("modality") not in ("TEXT", "IMAGE", "DOCUMENT") for each in details):
            return None
        cached = usage.get("cachedContentTokenCount", 0)
        prompt = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
        output = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
        return dollars(rates, (prompt - cached, output, cached))
    usage = body["usage"]
    if dialect == "anthropic":
        written = usage.get("cache_creation_input_tokens") or 0
        hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
        searches = (usage.get("server_tool_use") or {}).get("web_search_requests")
        if searches:
            return None
        entries = usage.get("iterations") or []
        if any(entry["type"] == "advisor_message" for entry in entries):
            return None
        read = usage.get("cache_read_input_tokens") or 0
        counts = (usage["input_tokens"], usage["output_tokens"], read, written - hour, hour)
        # A conversation that was compacted on the way is paid apart.
        beside = [entry for entry in entries if entry["type"] == "compaction"]
        paid = dollars(rates, counts)
        for entry in beside:
            kept = entry["cache_creation_input_tokens"]
            long = entry["cache_creation"]["ephemeral_1h_input_tokens"]
            read = entry["cache_read_input_tokens"]
            plain = (entry["input_tokens"], entry["output_tokens"])
            paid += dollars(rates, (*plain, read, kept - long, long))
        return paid
    names = ("prompt", "completion") if dialect == "openai-chat" else ("input", "output")
    inner: dict[str, Any] = usage.get(f"{names[0]}_tokens_details") or {}
    if body.get("service_tier") not in (None, "default", "auto") or inner.get("audio_tokens"):
        return None
    cached = inner.get("cached_tokens") or 0
    prompt, output = usage[f"{names[0]}_tokens"], usage[f"{names[1]}_tokens"]
    return dollars(rates, (prompt - cached, output, cached))


def recorded() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Answers of the models above, those that read or wrote a cache first."""
    for dialect, (name, _, host) in SOURCES.items():
        found: dict[str, list[dict[str, Any]]] = {}
        with gzip.open(CORPUS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                body = row["response"]
                if row["host"] != host or row["status"] != 200 or not isinstance(body, dict):
                    continue
                if not (body.get("usage") or body.get("usageMetadata")):
                    continue
                model = model_of(dialect, body)
                if model in RATES and by_hand(dialect, model, body) is not None:
                    found.setdefault(model, []).append(body)
        for model, bodies in found.items():
            bodies.sort(key=lambda body: "ach" in json.dumps(body.get("usage")), reverse=True)
            bodies.sort(
                key=lambda body: "compaction" in json.dumps(body.get("usage")), reverse=True
            )
            yield from ((dialect, model, body) for body in bodies[:PER_MODEL])


@pytest.mark.skipif(not CORPUS.exists(), reason="no recorded traffic here (POLYCALL_SHARED)")
def test_sixty_recorded_usages_cost_what_they_cost_by_hand() -> None:
    rows = list(recorded())
    assert len(rows) >= 60
    assert {dialect for dialect, _, _ in rows} == set(SOURCES)
    assert any("compaction" in json.dumps(body.get("usage")) for _, _, body in rows)
    for dialect, model, body in rows:
        provider = CATALOGUE[SOURCES[dialect][1]]
        usage = DIALECTS[dialect].parse_response(body).usage  # type: ignore[index]
        cost = cost_usd(provider, model, usage)
        assert cost == by_hand(dialect, model, body), (model, body.get("usage"))


@pytest.mark.skipif(not CORPUS.exists(), reason="no recorded traffic here (POLYCALL_SHARED)")
def test_m03_the_same_usages_of_a_batch_cost_half_by_hand() -> None:
    """What a batch reads from a cache costs half at Anthropic; the others differ by model."""
    counted = 0
    for dialect, model, body in recorded():
        usage = DIALECTS[dialect].parse_response(body).usage  # type: ignore[index]
        if model in NO_BATCHES or (dialect != "anthropic" and usage.cached_tokens):
            continue
        whole = by_hand(dialect, model, body)
        assert whole is not None
        batch = replace(usage, service_tier="batch")
        assert cost_usd(CATALOGUE[SOURCES[dialect][1]], model, batch) == whole / 2, model
        counted += 1
    assert counted >= 40


def used(**counts: Any) -> Usage:
    return Usage(**counts)


def reported(**counts: Any) -> Usage:
    """What an answer of Anthropic's says of itself."""
    body: dict[str, Any] = {"id": "m", "type": "message", "role": "assistant", "content": []}
    body |= {"model": "claude-haiku-4-5", "stop_reason": "end_turn", "usage": counts}
    return DIALECTS["anthropic"].parse_response(body).usage


def apart(kind: str, **counts: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": 1000, "output_tokens": 100, **counts}


# What the recordings have not: tiers, and prompts beyond a bound, whose whole price is another.
MADE: list[tuple[str, str, Usage, str]] = [
    ("openai", "gpt-5", used(input_tokens=1000, output_tokens=100, service_tier="priority"),
     "0.0045"),
    ("openai", "gpt-5", used(input_tokens=1000, output_tokens=100, service_tier="flex"),
     "0.001125"),
    ("openai", "gpt-5", used(input_tokens=1000, cached_tokens=800, output_tokens=100), "0.00135"),
    ("google", "gemini-2.5-pro", used(input_tokens=200_000, output_tokens=1000), "0.26"),
    ("google", "gemini-2.5-pro", used(input_tokens=300_000, output_tokens=1000), "0.765"),
    ("google", "gemini-2.5-pro",
     used(input_tokens=300_000, cached_tokens=100_000, output_tokens=1000), "0.54"),
    ("anthropic", "claude-haiku-4-5",
     used(input_tokens=10_000, cached_tokens=6000, cache_write_tokens=2000, output_tokens=100),
     "0.0056"),
    ("anthropic", "claude-haiku-4-5",
     used(input_tokens=4000, cache_write_tokens=2000, output_tokens=100,
          metadata={"anthropic": {"cache_creation": {"ephemeral_1h_input_tokens": 2000}}}),
     "0.0065"),
    # Batches.
    ("openai", "gpt-5", used(input_tokens=1000, output_tokens=100, service_tier="batch"),
     "0.001125"),
    ("google", "gemini-2.5-pro",
     used(input_tokens=1000, output_tokens=100, service_tier="batch"), "0.001125"),
    ("anthropic", "claude-haiku-4-5",
     reported(input_tokens=1000, output_tokens=100, service_tier="batch"), "0.00075"),
    ("anthropic", "claude-haiku-4-5",
     reported(input_tokens=2000, cache_read_input_tokens=6000, cache_creation_input_tokens=2000,
              output_tokens=100, service_tier="batch"), "0.0028"),
    # A conversation that was compacted on the way: no other count has it.
    ("anthropic", "claude-haiku-4-5",
     reported(input_tokens=0, output_tokens=0, iterations=[apart("compaction")]), "0.0015"),
    ("anthropic", "claude-haiku-4-5",
     reported(input_tokens=1000, output_tokens=100,
              iterations=[apart("message"), apart("compaction", cache_read_input_tokens=10_000)]),
     "0.004"),
    # Another model that was asked for advice, at its own price (Opus 4.6: 5 and 25 dollars).
    ("anthropic", "claude-haiku-4-5",
     reported(input_tokens=1000, output_tokens=100,
              iterations=[apart("message"), apart("advisor_message", model="claude-opus-4-6")]),
     "0.009"),
    # Inference in the United States alone.
    ("anthropic", "claude-opus-4-6",
     reported(input_tokens=1000, output_tokens=100, inference_geo="us"), "0.00825"),
    ("anthropic", "claude-opus-4-6",
     reported(input_tokens=1000, output_tokens=100, inference_geo="global"), "0.0075"),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "model", "usage", "expected"), MADE)
def test_tiers_and_long_prompts_by_hand(
    provider: str, model: str, usage: Usage, expected: str
) -> None:
    assert cost_usd(CATALOGUE[provider], model, usage) == Decimal(expected)
