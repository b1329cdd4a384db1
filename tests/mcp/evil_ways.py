"""Ways in which a server at an address may harm: by bodies, by heads, by streams."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.mcp.evil_http import TEXT, Act, Exchange, Way, note

META = "http://169.254.169.254/latest/meta-data"


def calls(name: str, act: Act, **more: Any) -> Way:
    """A way of answering a call."""
    return Way(name, {"tools/call": act}, **more)


def answers(body: bytes, **more: str) -> Act:
    async def act(x: Exchange) -> None:
        await x.answer(body.replace(b"ID", json.dumps(x.id).encode()), **more)

    return act


def says(message: dict[str, Any]) -> Act:
    """A JSON answer that is not what was asked for."""

    async def act(x: Exchange) -> None:
        await x.answer({"jsonrpc": "2.0", **message})

    return act


def writes(data: bytes, pause_s: float = 0.0) -> Act:
    async def act(x: Exchange) -> None:
        await x.raw(data)
        await asyncio.sleep(pause_s)

    return act


_RESULT = b'{"jsonrpc":"2.0","id":ID,"result":{"resultType":"complete","content":[%s]%s}}'
FINE = _RESULT % (b'{"type":"text","text":"fine"}', b"")
CONTENT = _RESULT % (b"", b',"structuredContent":%s')
_NOTE = b'data: {"jsonrpc":"2.0","method":"notifications/%s","params":%s}\n\n'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def bodies() -> Iterator[Way]:
    """Answers whose body is none of the protocol."""
    for kind in ("text/html", "", "application/octet-stream", "application/jsonx\t;;", "x" * 5_000):
        yield calls(
            f"type-{kind[:9].strip() or 'none'}".replace("/", "-"), answers(FINE, kind=kind)
        )
    for name, body in {
        "empty": b"",
        "null": b"null",
        "number": b"7",
        "batch": b"[" + FINE + b"]",
        "latin": FINE.replace(b"fine", b"fin\xe9"),
        "utf16": FINE.decode().encode("utf-16"),
        "half": FINE.replace(b"fine", rb"\ud800"),
        "nan": CONTENT % b'{"a":NaN}',
        "infinite": CONTENT % b'{"a":-Infinity}',
        "exponent": CONTENT % b'{"a":1e999}',
        "digits": CONTENT % (b'{"a":' + b"9" * 6_000 + b"}"),
        "long": CONTENT % (b'{"a":' + b"9" * 400 + b"}"),
        "deep": CONTENT % (b"[" * 100_000 + b"]" * 100_000),
        "dense": CONTENT % (b"[" + b"[]," * 300_000 + b"1]"),
        "twice": FINE + FINE,
        "same-key": b'{"id":99,' + FINE[1:],
        "bom": b"\xef\xbb\xbf" + FINE,
        "both": FINE[:-1] + b',"error":{"code":1,"message":"no"}}',
        "no-version": FINE.replace(b'"jsonrpc":"2.0",', b""),
        "other-type": FINE.replace(b'"complete"', b'"evil"'),
        "no-content": b'{"jsonrpc":"2.0","id":ID,"result":{"resultType":"complete"}}',
        "list-result": b'{"jsonrpc":"2.0","id":ID,"result":[]}',
        "error-text": b'{"jsonrpc":"2.0","id":ID,"error":"no"}',
        "error-code": b'{"jsonrpc":"2.0","id":ID,"error":{"code":1e99,"message":"no"}}',
        "error-data": b'{"jsonrpc":"2.0","id":ID,"error":{"code":-32042,"message":"x","data":7}}',
        "id-float": FINE.replace(b"ID", b"ID.5"),
        "id-null": FINE.replace(b"ID", b"null"),
        "id-other": FINE.replace(b"ID", b"424242"),
        "id-text": FINE.replace(b"ID", b'"nobody"'),
        "id-list": FINE.replace(b"ID", b"[ID]"),
        "id-none": FINE.replace(b'"id":ID,', b""),
    }.items():
        yield calls(f"body-{name}", answers(body))
    yield calls("body-notification", says(note("message", level="info", data="x")))
    asks: dict[str, Any] = {
        "method": "elicitation/create",
        "params": {"message": "x", "requestedSchema": {}},
    }
    yield calls("body-request", says({"id": 1, **asks}))


def heads() -> Iterator[Way]:
    """Answers whose head, framing or pace is at fault."""
    for status in ("201 C", "202 A", "204 N", "205 R", "206 P", "304 N", "299 X"):
        yield calls(f"status-{status[:3]}", answers(FINE, status=status))
    for status in (
        "400 B",
        "401 U",
        "402 P",
        "403 F",
        "404 N",
        "405 M",
        "410 G",
        "429 T",
        "500 I",
        "503 S",
    ):
        more = {"retry-after": "999999999", "www-authenticate": 'Bearer error="invalid_token"'}
        yield calls(
            f"status-{status[:3]}", answers(b"x" * 10**6, status=status, kind="text/plain", **more)
        )
    for status in ("301", "302", "303", "307", "308"):
        yield calls(f"away-{status}", answers(b"", status=f"{status} Away", location=META))
    for name, place in {
        "file": "file:///etc/passwd",
        "user": "http://user:pass@127.0.0.1:1/",
        "relative": "//169.254.169.254/",
        "other": "/elsewhere",
        "control": "/\x01",
        "long": "/" + "x" * 60_000,
        "none": "",
        "port": "http://127.0.0.1:99999999/",
        "itself": "?",
    }.items():
        yield calls(f"away-{name}", answers(b"", status="307 Away", location=place))
    for coding in ("gzip", "br", "identity, gzip", "x"):
        body = gzip.compress(b"\0" * 10**6)
        yield calls(
            f"coding-{coding.replace(', ', '-')}", answers(body, **{"content-encoding": coding})
        )
    for name, data in {
        "garbage": b"\x16\x03\x01\x02\x00" * 100,
        "http09": b"<html>hello</html>",
        "status": b"HTTP/1.1 2000 OK\r\n\r\n",
        "closed": b"",
        "short": OK + b"content-length: 100\r\n\r\n{",
        "lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
        "negative": OK + b"content-length: -1\r\n\r\n{}",
        "chunk": OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "coded": OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "long-head": OK + b"x: " + b"y" * 2**20 + b"\r\n\r\n",
        "upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
        "null-head": OK + b"x: a\0b\r\n\r\n{}",
    }.items():
        yield calls(f"raw-{name}", writes(data))
    yield calls("never", writes(b"", 3600))
    yield calls("stalls", writes(OK + b"content-length: 100\r\n\r\n{", 3600))
    yield calls("endless-head", _floods(OK, b"x: y\r\n" * 100))
    yield calls("endless-early", _floods(b"", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 100))
    yield calls("endless-body", _floods(OK + b"\r\n", b" " * 65_536))
    yield calls(
        "endless-chunks", _floods(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 500)
    )
    yield calls("drips-head", lambda x: x.drip(OK + b"x: y\r\n" * 1000))
    yield calls("drips-body", lambda x: x.drip(OK + b"\r\n" + FINE))


def _floods(head: bytes, again: bytes) -> Act:
    async def act(x: Exchange) -> None:
        await x.raw(head)
        await x.flood(again)

    return act


def streams() -> Iterator[Way]:
    """Answers as streams of events."""
    for name, again in {
        "comments": b": x\n" * 1000,
        "blank": b"\n" * 5000,
        "ids": b"id: 1\n\n" * 1000,
        "line": b"x" * 65_536,
        "data": b"data: x\n" * 5000,
        "data-event": b"data: x\n\n" * 1000,
        "fields": b"event: x\n" * 5000,
        "returns": b"\r" * 5000,
        "nothing": _NOTE % (b"x", b"{}") * 300,
        "listed": _NOTE % (b"tools/list_changed", b"{}") * 300,
        "updated": _NOTE % (b"resources/updated", b'{"uri":"x://y"}') * 300,
        "logged": _NOTE % (b"message", b'{"level":"error","data":"x"}') * 300,
        "answers": b'data: {"jsonrpc":"2.0","id":424242,"result":{}}\n\n' * 300,
    }.items():
        yield calls(f"stream-{name}", streams_of(again))
    for name, head in {
        "plain": "",
        "id": "id: 1\n",
        "at-once": "id: 1\nretry: 0\n",
        "negative": "id: 1\nretry: -5\n",
        "late": f"id: 1\nretry: {10**18}\n",
        "overflow": f"id: 1\nretry: {'9' * 400}\n",
        "digits": f"id: 1\nretry: {'9' * 6000}\n",
        "odd-id": "id: 가\x01\nretry: 0\n",
        "long-id": f"id: {'x' * 10**6}\nretry: 0\n",
    }.items():
        yield Way(f"ends-{name}", {"tools/call": ends(head), "GET": ends(head)})
    for name, text in {
        "garbage": "{",
        "nan": (CONTENT % b'{"a":NaN}').decode(),
        "null": "null",
        "batch": "[]",
        "no-event": '{"jsonrpc":"2.0"}',
    }.items():
        yield calls(f"event-{name}", _one_event(text))
    yield calls("event-others-first", _others_first)
    yield calls("event-twice", _twice)
    yield calls("event-kind", _one_event('{"jsonrpc":"2.0","id":ID,"result":{}}', "event: evil\n"))
    for name, progress in {
        "nan": "NaN",
        "infinite": "1e999",
        "large": "1e308",
        "digits": "9" * 400,
        "text": '"x"',
        "true": "true",
        "backwards": "-1",
    }.items():
        yield calls(f"progress-{name}", partial(_progresses, progress))
    yield calls("progress-others", _others_progress)
    yield calls("cancels", _cancels)


def streams_of(again: bytes) -> Act:
    async def act(x: Exchange) -> None:
        await x.stream()
        await x.flood(again)

    return act


def ends(head: str) -> Act:
    async def act(x: Exchange) -> None:
        await x.stream()
        await x.raw(f"{head}data:\n\n".encode())

    return act


def _one_event(text: str, head: str = "") -> Act:
    async def act(x: Exchange) -> None:
        await x.stream()
        await x.event(text.replace("ID", json.dumps(x.id)), head)
        await asyncio.sleep(0.1)

    return act


async def _others_first(x: Exchange) -> None:
    await x.stream()
    for number in range(50):
        await x.event({"jsonrpc": "2.0", "id": number, "result": TEXT})
    await x.end()


async def _twice(x: Exchange) -> None:
    await x.stream()
    await x.end()
    await x.end(content=[{"type": "text", "text": "again"}])


async def _progresses(progress: str, x: Exchange) -> None:
    await x.stream()
    token = json.dumps(x.params.get("_meta", {}).get("progressToken"))
    for total in ("1", "0", "NaN", progress):
        await x.event(
            '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":'
            f'{token},"progress":{progress},"total":{total},"message":"x"}}}}'
        )
    await x.end()


async def _others_progress(x: Exchange) -> None:
    await x.stream()
    for token in (*range(100), "x", None, 1.5, [1], "1"):
        await x.event(note("progress", progressToken=token, progress=0.5))
    await x.end()


async def _cancels(x: Exchange) -> None:
    await x.stream()
    for number in (*range(100), x.id, None, "x"):
        await x.event(note("cancelled", requestId=number, reason="evil"))
    await x.end()
