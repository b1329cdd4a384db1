"""Realtime voices: what they say on the wire, what each can do, and what each costs.

capabilities.py   what each voice can do; voices.toml, routes.py and the codecs alone name vendors
routes.py         how clients of each protocol connect to a gateway
codecs/           a protocol each: frames to signals, commands to frames; no IO
protocol.py       the middle language between them: signals of a voice, commands to it
usage.py          what was used, by kind, and its price
audio.py          formats of sound, and conversion between them
connection.py     the WebSocket to a voice

Below agents and the gateway: `polycall.realtime` conducts talks with it, and the gateway passes
frames through and counts what they use.
"""
