# expect: crashed: with malformed arguments
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


send({"type": "call", "id": 1, "name": "echo", "args": {"0": 1}, "kwargs": []})
await echo(1)
