# expect: contained: turns that nobody reads do not pile up
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


number = 0
send({"type": "call", "id": 1, "name": "echo", "args": ["x" * 100_000], "kwargs": {}})
while True:
    number += 1
    send({"type": "wait", "number": number, "now": 0, "for": 0})
