# expect: whatever is broken here is not broken in another session
import asyncio, builtins, json, socket, sys

json.dumps = json.loads = lambda *a, **k: 1 / 0
builtins.__import__ = None
sys.modules.clear()
asyncio.Future = None
socket.socket.send = None
