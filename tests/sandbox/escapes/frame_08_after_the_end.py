# expect: finished or crashed; the session after it works
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


send({"type": "end", "ok": True, "value": "forged", "cuts": []})
send({"type": "call", "id": 1, "name": "echo", "args": [1], "kwargs": {}})
send({"type": "end", "ok": True, "value": "again", "cuts": []})
