"""The telephone: an agent answers calls that come by Twilio's Media Streams.

telephone.py    the telephone of a realtime voice; relay.py that of a text model
signed_calls.py what is signed, what a token is for, which call may begin; no HTTP
server.py       its addresses, by aiohttp
call.py         one call: frames on one side, a talk on the other
sound.py        the caller's sound without gaps, and the voice's with marks
twilio.py       Twilio's frames, TwiML and signatures; tokens.py one-time tokens; neither does IO
tools.py        digits and hanging up, as tools
"""

from __future__ import annotations

from polycall.realtime.telephone.call import PhoneCall, phone_call
from polycall.realtime.telephone.relay import RelayCall, RelayTelephone
from polycall.realtime.telephone.telephone import Telephone
from polycall.realtime.telephone.tools import digits_tool, hang_up_tool

__all__ = [
    "PhoneCall",
    "RelayCall",
    "RelayTelephone",
    "Telephone",
    "digits_tool",
    "hang_up_tool",
    "phone_call",
]
