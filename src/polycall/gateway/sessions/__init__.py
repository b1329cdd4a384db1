"""Sessions of realtime voices: a client's WebSocket, passed through to a provider.

sessions.py   one session from the key to its last row
relay.py      frames both ways, bounded, until one side is over
meter.py      what is used: rows, limits, and whether the key still holds
"""
