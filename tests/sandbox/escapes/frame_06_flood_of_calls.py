# expect: crashed: the host counts as well
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


number = 0
while True:
    number += 1
    send({"type": "call", "id": number, "name": "slow_tool", "args": [100_000], "kwargs": {}})
