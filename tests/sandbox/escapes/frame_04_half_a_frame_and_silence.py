# expect: timeout: a frame that never ends
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


os.write(channel, (1000).to_bytes(4, "big") + b'{"type": "call", ')
import time

time.sleep(1000)
