"""Good traffic beside a crowd of bad requests: its latency, the ledger's rows, the memory.

    python -m bench.strangers                       # ten minutes of 10,000 bad requests a minute
    python -m bench.strangers --minutes 1 --good 50

A real `polycall serve` with one key runs in front of an upstream that answers at once.  First only
good requests come, then the same beside strangers, who send forty kinds of bad requests in turn:
without a key, with a wrong one, malformed, oversized, too slow, cut short.  Every client is a
process of its own.  What must hold: each good request is answered, its p99 moves by less than a
third, strangers leave no row in the ledger, and the process does not grow.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.doors import Upstream

KEY = "sk-good-client-0001"
CHAT = b"/v1/chat/completions"
P99_GROWTH_MAX = 4 / 3
GROWTH_MIB_MAX = 10.0


def _request(
    body: bytes, *, path: bytes = CHAT, method: bytes = b"POST", more: bytes = b""
) -> bytes:
    head = b"%b %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n"
    return head % (method, path, more, len(body)) + body


def kinds() -> dict[str, bytes]:
    """What strangers send, by name; each ends with the connection."""
    good = json.dumps({"model": "up/good", "messages": [{"role": "user", "content": "x"}]}).encode()
    key = b"authorization: Bearer %b\r\n"
    wrong = key % b"sk-wrong"
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    found = {
        "no key": _request(good),
        "a wrong key": _request(good, more=wrong),
        "an empty key": _request(good, more=key % b""),
        "a key in Korean": _request(good, more=key % "열쇠".encode()),
        "a key of 60 kB": _request(good, more=key % (b"k" * 60_000)),
        "two keys": _request(good, more=wrong + wrong),
        "a wrong key for Anthropic": _request(
            good, path=b"/v1/messages", more=b"x-api-key: no\r\n"
        ),
        "a wrong key for Google": _request(
            b"{}", path=b"/v1beta/models/m:generateContent", more=b"x-goog-api-key: no\r\n"
        ),
        "a wrong key in the address": _request(
            b"{}", path=b"/v1beta/models/m:generateContent?key=no"
        ),
        "responses": _request(good, path=b"/v1/responses"),
        "the list of models": _request(b"", path=b"/v1/models", method=b"GET"),
        "metrics": _request(b"", path=b"/metrics", method=b"GET"),
        "no such path": _request(good, path=b"/wp-login.php"),
        "a path upwards": _request(good, path=b"/v1/../../etc/passwd"),
        "a long path": _request(good, path=b"/" + b"a" * 9_000),
        "another method": _request(good, method=b"DELETE"),
        "a method that is none": _request(good, method=b"BREW"),
        "a proxy's CONNECT": b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(32),
        "HTTP/0.9": b"GET /\r\n",
        "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
        "two lengths": head + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "a length and chunks": head
        + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        "a length that is none": head + b"content-length: -1\r\n\r\n",
        "an unknown encoding": head + b"transfer-encoding: rot13\r\n\r\n",
        "a chunk that is none": head + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        "a header without a colon": head + b"nonsense\r\n\r\n",
        "a header with a null": head + b"x: a\0b\r\n\r\n",
        "a folded header": head + b"x: a\r\n b\r\n\r\n",
        "many headers": head + b"x: y\r\n" * 2_000 + b"\r\n",
        "a head that is cut": head + b"x",
        "a body that is cut": head + wrong + b"content-length: 999\r\n\r\n{",
        "a large body announced": head + wrong + b"content-length: 999999999999\r\n\r\n",
        "a bomb": _request(
            gzip.compress(b" " * 9_000_000, 9), more=wrong + b"content-encoding: gzip\r\n"
        ),
        "no JSON": _request(b"{", more=wrong),
        "deep JSON": _request(b"[" * 30_000, more=wrong),
        "bytes that are no text": _request(b"\xff\xfe" * 500, more=wrong),
        "an upgrade": head + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "nothing": b"",
    }
    assert len(found) == 40
    return found


def run_strangers(port: int, a_minute: float, seconds: float) -> int:
    """Send bad requests at a steady rate; how many were sent."""
    sending = list(kinds().values())
    source = random.Random(1)
    began = time.monotonic()
    sent = 0
    waiting: list[tuple[float, socket.socket]] = []
    while (now := time.monotonic()) < began + seconds:
        while waiting and waiting[0][0] < now:
            waiting.pop(0)[1].close()
        if sent < (now - began) * a_minute / 60:
            peer = socket.create_connection(("127.0.0.1", port), timeout=10)
            with contextlib.suppress(OSError):
                peer.sendall(sending[sent % len(sending)])
            # Some hang up at once, some read for a while, some stay.
            waiting.append((now + source.choice((0.0, 0.2, 2.0)), peer))
            waiting.sort(key=lambda each: each[0])
            sent += 1
        else:
            time.sleep(0.002)
    for _, peer in waiting:
        peer.close()
    return sent


def run_good(port: int, a_second: float, seconds: float) -> list[float]:
    """Milliseconds that each good request took; raises where one is not answered well."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"model": "up/good", "messages": [{"role": "user", "content": "hello"}]})
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    took: list[float] = []
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        if len(took) >= (now - began) * a_second:
            time.sleep(0.001)
            continue
        connection.request("POST", CHAT.decode(), body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise AssertionError(f"a good request was answered {answer.status}: {data[:200]!r}")
        took.append((time.monotonic() - now) * 1000)
    return took


@contextlib.contextmanager
def role(name: str, *arguments: float) -> Generator[subprocess.Popen[str]]:
    """A client of this kind, as a process of its own."""
    words = [str(each) for each in arguments]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.strangers", "--role", name, *words],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def result(process: subprocess.Popen[str]) -> Any:
    """What a client has seen."""
    output, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a client of the benchmark failed with status {process.returncode}")
    return json.loads(output)


def p99(took: list[float]) -> float:
    """The 99th percentile."""
    return sorted(took)[int(len(took) * 0.99)]


def main() -> int:
    """Run both phases and print what was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--bad", type=float, default=10_000.0, help="a minute")
    parser.add_argument("--good", type=float, default=50.0, help="a second")
    parser.add_argument("--role", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        name, port, rate, seconds = options.role
        run = run_good if name == "good" else run_strangers
        print(json.dumps(run(int(float(port)), float(rate), float(seconds))))
        return 0
    seconds = options.minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder), seconds, options.bad, options.good)


def _measure(folder: Path, seconds: float, bad: float, good: float) -> int:
    config = folder / "polycall.toml"
    config.write_text(
        f'[providers.up]\ndialect = "openai-chat"\nbase_url = "{Upstream().url}"\n'
        f'api_key = "sk-up-aaaaaaaa"\n[[keys]]\nkey = "{KEY}"\nname = "good"\n',
        encoding="utf-8",
    )
    program = Path(sys.executable).with_name("polycall")
    with subprocess.Popen(
        [program, "serve", "--config", config, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as served:
        assert served.stdout is not None
        port = int(served.stdout.readline().rsplit(":", 1)[1])
        try:
            with role("good", port, good, min(seconds, 60.0)) as client:
                before = result(client)
            with role("strangers", port, bad, 10.0) as warming:
                result(warming)
            resident = _resident_mib(served.pid)
            with (
                role("good", port, good, seconds) as client,
                role("strangers", port, bad, seconds) as strangers,
            ):
                during, sent = result(client), result(strangers)
            grown = _resident_mib(served.pid) - resident
        finally:
            served.send_signal(signal.SIGTERM)
    with contextlib.closing(sqlite3.connect(folder / "polycall.db")) as database:
        rows = database.execute("select count(*), sum(status = 200) from ledger").fetchone()
    asked = len(before) + len(during)
    print(f"bad requests    {sent} in {seconds:.0f} s")
    print(f"good requests   {len(during)}, all answered")
    print(f"p99 before      {p99(before):.2f} ms")
    print(f"p99 beside      {p99(during):.2f} ms")
    print(f"ledger          {rows[0]} rows, {rows[1]} of them 200; {asked} good requests were sent")
    print(f"memory          {grown:+.1f} MiB")
    is_well = (
        p99(during) <= p99(before) * P99_GROWTH_MAX
        and rows[0] == rows[1] == asked
        and grown <= GROWTH_MIB_MAX
    )
    print("holds" if is_well else "does not hold")
    return 0 if is_well else 1


def _resident_mib(pid: int) -> float:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
