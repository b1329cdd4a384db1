# expect: crashed: NaN, infinity and lies about the time
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


body = b'{"type": "wait", "number": 1, "now": NaN, "for": -Infinity}'
os.write(channel, len(body).to_bytes(4, "big") + body)
await echo(1)
