"""One HTTP request: what came, what goes back.

request.py  one HTTP request and its monitor   bodies.py  bounded reading
replies.py  headers, warnings, errors
socket_entry.py   where a connection leaves HTTP for a WebSocket
client_socket.py  the client's end of a WebSocket, by aiohttp's server
framers.py  streams in other envelopes than server-sent events
"""
