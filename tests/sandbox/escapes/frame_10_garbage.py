# expect: crashed: bytes that are no JSON
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


os.write(channel, (64).to_bytes(4, "big") + os.urandom(64))
await echo(1)
