"""Talks: an agent that is spoken with, through realtime models of three kinds.

talk.py           the talk: what an application opens, hears and says
events.py         what a talk says while it continues, and what is left of it
machine.py        the state machine; speech.py what is heard and said, answers.py calls and results,
                  talk_state.py what they share and what was used; no IO in any of them
replies.py        the queue in front of replies; calls.py the open calls, and `stay_silent`
played.py         how much was heard; transcript.py the conversation as it was heard
agent_side.py     the agent's tools, instructions and handoffs; delegate.py the agent behind a voice
approving.py      approvals by voice; connection_state.py the connection, as the machine sees it
telephone/        calls that come by telephone
microphone.py     a person at this machine

A layer above agents, and nothing below knows of it.  What voices say on the wire is in
`polycall.voices`.  Names load on first use, so that importing
this package loads neither a transport nor a library for sound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polycall._support.later import load_later

if TYPE_CHECKING:
    from polycall.realtime.calls import stay_silent
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
        TalkRun,
        UnknownFrames,
        VendorNotice,
    )
    from polycall.realtime.microphone import Microphone
    from polycall.realtime.played import ClockPlayed, DevicePlayed, MarkedPlayed, PlayedTime
    from polycall.realtime.talk import Talk
    from polycall.realtime.telephone import PhoneCall, Telephone
    from polycall.voices.audio import AudioFormat
    from polycall.voices.capabilities import VOICES, Voice
    from polycall.voices.usage import VoicePrice, VoiceUsage

_HOMES = {
    "polycall.realtime.calls": "stay_silent",
    "polycall.realtime.events": (
        "Audio CallDiscarded Digit Dropped End Heard Interrupted Reconnected Said TalkEvent "
        "TalkRun UnknownFrames VendorNotice"
    ),
    "polycall.realtime.microphone": "Microphone",
    "polycall.realtime.played": "ClockPlayed DevicePlayed MarkedPlayed PlayedTime",
    "polycall.realtime.talk": "Talk",
    "polycall.realtime.telephone": "PhoneCall Telephone",
    "polycall.voices.audio": "AudioFormat",
    "polycall.voices.capabilities": "VOICES Voice",
    "polycall.voices.usage": "VoicePrice VoiceUsage",
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


if not TYPE_CHECKING:  # a checker would take any name
    __getattr__, __dir__ = load_later(__name__, _HOMES)
