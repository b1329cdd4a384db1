# expect: crashed: the length is checked before anything is kept
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


os.write(channel, (1 << 31).to_bytes(4, "big"))
while True:
    os.write(channel, b"x" * 65536)
