# expect: crashed, or cut: a value nested without end
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


body = b'{"type": "end", "ok": true, "cuts": [], "value": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
os.write(channel, len(body).to_bytes(4, "big") + body)
