"""What talks cost, by hand; and bounds of cost and time."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from polycall.errors import RequestError
from polycall.realtime import Talk, VoiceUsage
from polycall.realtime.talk_state import Spending
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Turn
from polycall.voices.capabilities import voice_for
from polycall.voices.codecs import make_codec
from polycall.voices.protocol import ReplyDone, UsageReport
from polycall.voices.usage import cost_usd
from tests.realtime.harness import GEMINI, LIVE, OPENAI, agent_of, hold
from tests.realtime.test_forty_cases import LONG, brain, saying


def done(usage: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": "r", "status": status, "usage": usage}}


def tokens(
    text: int, audio: int, cached: tuple[int, int], output: tuple[int, int]
) -> dict[str, Any]:
    return {
        "input_tokens": text + audio,
        "output_tokens": sum(output),
        "total_tokens": text + audio + sum(output),
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": audio,
            "cached_tokens": sum(cached),
            "cached_tokens_details": {"text_tokens": cached[0], "audio_tokens": cached[1]},
        },
        "output_token_details": {"text_tokens": output[0], "audio_tokens": output[1]},
    }


def heard(seconds: float) -> dict[str, Any]:
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "i",
        "content_index": 0,
        "transcript": "Hello",
        "usage": {"type": "duration", "seconds": seconds},
    }


def google(text: int, audio: int, said: int, thoughts: int = 0, cached: int = 0) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "promptTokenCount": text + audio,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": text},
            {"modality": "AUDIO", "tokenCount": audio},
        ],
        "responseTokenCount": said,
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": said}],
        "thoughtsTokenCount": thoughts,
    }
    if cached:
        usage["cachedContentTokenCount"] = cached
        usage["cacheTokensDetails"] = [{"modality": "AUDIO", "tokenCount": cached}]
    return {"usageMetadata": usage}


def seconds(count: float, **parts: int) -> dict[str, Any]:
    return {"type": "session.usage.updated", "event_id": "e", "usage": {"seconds": count, **parts}}


# Each with its sum by hand, in dollars.
CONVERSATIONS: list[tuple[str, str, list[dict[str, Any]], str]] = [
    # 200 text at 4, 800 sound at 32, 60 text at 24, 400 sound at 64: .0008 + .0256 + .00144 + .0256
    ("openai", "gpt-realtime-2.1", [done(tokens(200, 800, (0, 0), (60, 400)))], "0.05344"),
    # 1000 text of which 600 cached at .4, 2000 sound of which 1500 cached at .4, cancelled:
    # 400*4 + 600*.4 + 500*32 + 1500*.4 + 10*24 + 100*64 = 1600+240+16000+600+240+6400
    (
        "openai",
        "gpt-realtime-2.1",
        [done(tokens(1000, 2000, (600, 1500), (10, 100)), "cancelled")],
        "0.02508",
    ),
    # mini: 300*.6 + 700*10 + 40*2.4 + 200*20 = 180+7000+96+4000; 30 s at .0045 a minute = .00225
    (
        "openai",
        "gpt-realtime-2.1-mini",
        [heard(30), done(tokens(300, 700, (0, 0), (40, 200)))],
        "0.013526",
    ),
    # the older one: 100*4 + 500*32 + 50*16 + 250*64 = 400+16000+800+16000, twice
    ("openai", "gpt-realtime", [done(tokens(100, 500, (0, 0), (50, 250)))] * 2, "0.0664"),
    # 200*.75 + 1000*3 + 500*12 + 80 thoughts*4.5 = 150+3000+6000+360
    ("google", "gemini-3.8-live", [google(200, 1000, 500, thoughts=80)], "0.00951"),
    # cached sound has no price of its own: as much as what is not; 100*.75 + 2000*3 + 300*12
    ("google", "gemini-3.8-live", [google(100, 2000, 300, cached=1500)], "0.009675"),
    # 90 s at .05 a minute; the reports count from the beginning
    ("openai", "gpt-live-1.1", [seconds(30), seconds(60), seconds(90)], "0.075"),
    # 60 s active at .05, 30 s paused at .02 a minute
    ("openai", "gpt-live-1", [seconds(90, active_seconds=60, paused_seconds=30)], "0.06"),
]


@pytest.mark.parametrize(("provider", "model", "frames", "dollars"), CONVERSATIONS)
def test_conversations_cost_what_they_cost_by_hand(
    provider: str, model: str, frames: list[dict[str, Any]], dollars: str
) -> None:
    voice = voice_for(provider, model)
    codec, spending = make_codec(voice), Spending(voice.price, None)
    for frame in frames:
        for signal in codec.decode(json.dumps(frame)):
            match signal:
                case ReplyDone(usage=usage) if usage is not None:
                    spending.add(usage)
                case UsageReport(usage, is_cumulative):
                    spending.add(usage, is_cumulative=is_cumulative)
                case _:
                    pass
    assert spending.cost is not None
    assert abs(spending.cost - Decimal(dollars)) < Decimal("1e-6")


def test_an_unknown_price_is_none_and_never_zero() -> None:
    used = VoiceUsage(audio_tokens=1000)
    for provider, model in (("xai", "grok-voice-latest"), ("google", "gemini-3.1-flash-live")):
        assert cost_usd(used, voice_for(provider, model).price) is None
    price = voice_for("google", "gemini-3.8-live").price
    assert cost_usd(VoiceUsage(transcription_s=5), price) is None
    assert cost_usd(VoiceUsage(), price) == 0


def test_a_bound_of_cost_ends_a_talk_one_reply_late_at_most() -> None:
    turns = [Turn("This answer is one of many.") for _ in range(20)]
    steps = [("say", 600), ("wait", 4000)] * 12
    outcome = hold(OPENAI, agent_of(), VoiceScript.of(turns), saying(*steps), cost_max=0.02)
    assert outcome.end.reason == "cost"
    replies = [usage for _, usage in outcome.record.usage if "input_tokens" in usage]
    assert outcome.run.cost is not None
    assert Decimal("0.02") <= outcome.run.cost < Decimal("0.04")
    assert 1 < len(replies) < 12


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
def test_a_bound_of_time_ends_a_talk(voice: str) -> None:
    script = VoiceScript.of([Turn(LONG)])
    agent = agent_of(client=brain())
    outcome = hold(voice, agent, script, saying(("say", 600), ("wait", 60_000)), talk_s_max=5)
    assert outcome.end.reason == "time"
    assert 5 <= outcome.run.duration_s < 9


def test_a_bound_of_cost_without_a_price_is_refused() -> None:
    with pytest.raises(RequestError, match="needs a known price"):
        Talk(agent_of(), voice="xai/grok-voice-latest", cost_max=1)
