# expect: crashed: a call id that is not the next
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


send({"type": "call", "id": 999, "name": "echo", "args": [1], "kwargs": {}})
await echo(1)
