"""A simulated telephone network: callers that speak, listen, press keys, and lose packets.

This is a simulation of Twilio's side: it signs as Twilio does, and sends and takes the frames of
Media Streams.  It shares nothing with `polycall.realtime.telephone`.

caller.py      the caller and its script; playback.py what it hears
relay.py       a caller by ConversationRelay, in words
frames.py      frames, TwiML and signatures; line.py how the telephone is reached
"""

from polycall.sim.telephone.caller import Caller, LineFaults, PhoneRecord
from polycall.sim.telephone.frames import StreamFrames, read_twiml, sign
from polycall.sim.telephone.line import Line, LineRefusedError, WebLine
from polycall.sim.telephone.relay import RelayCaller, RelayRecord

__all__ = [
    "Caller",
    "Line",
    "LineFaults",
    "LineRefusedError",
    "PhoneRecord",
    "RelayCaller",
    "RelayRecord",
    "StreamFrames",
    "WebLine",
    "read_twiml",
    "sign",
]
