"""Talks: an agent that is spoken with, through realtime models of three kinds.

talk.py           the talk: what an application opens, hears and says; run.py what is left of it
events.py         what a talk says while it goes on
capabilities.py   the voices, a row each: what each can do and costs.  With the codecs the only
codecs/           place that names a vendor; a protocol each, frames to signals and back, no IO
protocol.py       the middle language between them: signals of a voice, commands to it
machine.py        the state machine; speech.py what is heard and said, answers.py calls and results,
                  talk_state.py what they share; no IO in any of them
replies.py        the queue in front of replies; calls.py the open calls; connection_state.py
played.py         how much was heard; transcript.py the conversation as it was heard
spending.py       what was used; usage.py its kinds and prices
agent_side.py     the agent's tools, instructions and handoffs; delegate.py the agent behind a voice
silence.py        `stay_silent`; approving.py approvals by voice
telephone/        calls that come by telephone
connection.py     the WebSocket; audio.py formats of sound; microphone.py a person at this machine

A layer above agents, and nothing below knows of it.  Names load on first use, so that importing
this package loads neither a transport nor a library for sound.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polycall.realtime.audio import AudioFormat
    from polycall.realtime.capabilities import VOICES, Voice
    from polycall.realtime.events import (
        Audio,
        CallDiscarded,
        Digit,
        Dropped,
        End,
        Heard,
        Interrupted,
        Reconnected,
        Said,
        TalkEvent,
        UnknownFrames,
        VendorNotice,
    )
    from polycall.realtime.microphone import Microphone
    from polycall.realtime.played import ClockPlayed, DevicePlayed, MarkedPlayed, PlayedTime
    from polycall.realtime.run import TalkRun
    from polycall.realtime.silence import stay_silent
    from polycall.realtime.talk import Talk
    from polycall.realtime.telephone import PhoneCall, Telephone
    from polycall.realtime.usage import VoicePrice, VoiceUsage

_HOMES = {
    "Audio": "events",
    "AudioFormat": "audio",
    "CallDiscarded": "events",
    "ClockPlayed": "played",
    "DevicePlayed": "played",
    "Digit": "events",
    "Dropped": "events",
    "End": "events",
    "Heard": "events",
    "Interrupted": "events",
    "MarkedPlayed": "played",
    "Microphone": "microphone",
    "PhoneCall": "telephone",
    "PlayedTime": "played",
    "Reconnected": "events",
    "Said": "events",
    "Talk": "talk",
    "TalkEvent": "events",
    "TalkRun": "run",
    "Telephone": "telephone",
    "UnknownFrames": "events",
    "VOICES": "capabilities",
    "VendorNotice": "events",
    "Voice": "capabilities",
    "VoicePrice": "usage",
    "VoiceUsage": "usage",
    "stay_silent": "silence",
}

__all__ = [
    "VOICES",
    "Audio",
    "AudioFormat",
    "CallDiscarded",
    "ClockPlayed",
    "DevicePlayed",
    "Digit",
    "Dropped",
    "End",
    "Heard",
    "Interrupted",
    "MarkedPlayed",
    "Microphone",
    "PhoneCall",
    "PlayedTime",
    "Reconnected",
    "Said",
    "Talk",
    "TalkEvent",
    "TalkRun",
    "Telephone",
    "UnknownFrames",
    "VendorNotice",
    "Voice",
    "VoicePrice",
    "VoiceUsage",
    "stay_silent",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'polycall.realtime' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"polycall.realtime.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
