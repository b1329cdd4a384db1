# expect: contained: a frame that is small as text and large as objects
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


body = (
    b'{"type": "call", "id": 1, "name": "echo", "kwargs": {}, "args": [' + b"{}," * 300_000 + b"1]}"
)
os.write(channel, len(body).to_bytes(4, "big") + body)
await echo(1)
