"""Simulated voices: the realtime protocols of three kinds, strict, with a fast clock and faults.

This is a simulation: no model, and no ear.  The loudness decides who speaks; the script decides
what was said and what is answered.  It shares nothing with the codecs of `polycall.realtime`.

session.py           what all sessions share; openai_realtime.py, gemini_live.py, gpt_live.py
script.py            what a voice hears and says, and its faults; record.py what it saw and did
link.py              connections in memory; server.py the same as WebSockets, with TLS where asked
clock.py             an event loop in which waiting takes no time
"""

from polycall.sim.realtime.clock import FastLoop, run_fast
from polycall.sim.realtime.link import LinkClosedError, MemoryLink
from polycall.sim.realtime.record import Record
from polycall.sim.realtime.script import VoiceFaults, VoiceScript
from polycall.sim.realtime.server import VoiceSimulation, open_link
from polycall.sim.realtime.sound import SoundFormat

__all__ = [
    "FastLoop",
    "LinkClosedError",
    "MemoryLink",
    "Record",
    "SoundFormat",
    "VoiceFaults",
    "VoiceScript",
    "VoiceSimulation",
    "open_link",
    "run_fast",
]
