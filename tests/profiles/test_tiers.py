"""Service tiers, as each model and vendor has them: M2 and M3."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import anthropic, gemini
from polycall.exchange import prepare
from polycall.ir import Message, Request, Text
from polycall.providers.catalogue import CATALOGUE
from tests.profiles.asking import asked, said

HELLO = {"role": "user", "content": "hello"}


def of_anthropic(tier: str) -> Request:
    body = {"model": "m", "max_tokens": 90, "service_tier": tier, "messages": [HELLO]}
    return anthropic.parse_request(body)


def of_gemini(tier: str) -> Request:
    return gemini.parse_request(
        {"serviceTier": tier, "contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    )


@pytest.mark.parametrize(
    ("model", "dialect", "tier", "sent"),
    [
        ("gpt-5.6-sol", "openai-responses", "ultrafast", "ultrafast"),
        ("gpt-6-astra", "openai-responses", "ultrafast", "ultrafast"),
        ("gpt-6.1-sol", "openai-responses", "ultrafast", "ultrafast"),
        ("gpt-6.2-astra", "openai-responses", "ultrafast", "ultrafast"),
        ("gpt-6.2-sol", "openai-responses", "ultrafast", "ultrafast"),
        ("gpt-6.2-astra-law", "openai-responses", "ultrafast", None),
        ("gpt-5.5", "openai-responses", "ultrafast", None),
        ("gpt-6-luna", "openai-responses", "ultrafast", None),
        ("gpt-5.6-sol", "openai-chat", "ultrafast", None),
        ("gpt-5.5", "openai-chat", "scale", "scale"),
        ("gpt-5.5", "openai-chat", "on_demand", None),
    ],
)
def test_m02_a_tier_that_a_model_does_not_have_is_left_out_and_said(
    model: str, dialect: Any, tier: str, sent: str | None
) -> None:
    request = Request(model, [Message("user", [Text("hello")])], service_tier=tier)
    wire = prepare(request, CATALOGUE["openai"], model, "key", dialect).wire
    assert wire.body.get("service_tier") == sent
    assert (("unsupported", "service_tier") in said(wire)) == (sent is None)


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (of_anthropic("standard_only"), "default"),
        (of_anthropic("auto"), "auto"),
        (of_gemini("standard"), "default"),
        (of_gemini("flex"), "flex"),
    ],
)
@pytest.mark.parametrize("dialect", ["openai-responses", "openai-chat"])
def test_m02_another_vendors_tier_is_said_in_openais_words(
    request_: Request, sent: str, dialect: Any
) -> None:
    wire = prepare(request_, CATALOGUE["openai"], "gpt-5.5", "key", dialect).wire
    assert wire.body["service_tier"] == sent


@pytest.mark.parametrize("model", ["cerebras/gpt-oss-120b", "deepseek/deepseek-v4-pro"])
def test_m02_a_vendor_without_tiers_is_sent_none_and_the_default_is_no_loss(model: str) -> None:
    assert "service_tier" not in asked(model, service_tier="auto").body
    assert ("unsupported", "service_tier") not in said(asked(model, service_tier="auto"))
    wire = asked(model, service_tier="priority")
    assert "service_tier" not in wire.body
    assert ("unsupported", "service_tier") in said(wire)
    assert asked("groq/openai/gpt-oss-120b", service_tier="flex").body["service_tier"] == "flex"
