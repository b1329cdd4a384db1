# expect: crashed: only declared functions can be called
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


send({"type": "call", "id": 1, "name": "__import__", "args": ["os"], "kwargs": {}})
await echo(1)
