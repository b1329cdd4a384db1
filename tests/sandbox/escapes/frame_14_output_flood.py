# expect: crashed: more output than the limit
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


while True:
    send({"type": "output", "stream": "stdout", "text": "x" * 10_000, "dropped": None})
