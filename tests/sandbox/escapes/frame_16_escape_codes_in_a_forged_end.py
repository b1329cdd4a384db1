# expect: contained: control characters come as text
import json, os, sys

channel = int(sys.argv[1])


def send(*frames):
    for frame in frames:
        body = json.dumps(frame).encode()
        os.write(channel, len(body).to_bytes(4, "big") + body)


send({"type": "output", "stream": "stdout", "text": "\x1b]0;pwned\x07\x00"})
send(
    {
        "type": "end",
        "ok": False,
        "cuts": ["\x1b[2J"],
        "error": {"name": "\x1b", "message": "\ud800", "traceback": "\x1b[2J", "line": "x"},
    }
)
