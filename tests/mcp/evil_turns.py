"""Ways in which a server at an address may harm: by questions, tasks, sessions, lists, schemas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.mcp.evil_http import LEGACY, TEXT, Act, Exchange, Way, acknowledge, honest, note
from tests.mcp.evil_ways import FINE, META, OK, answers, calls, ends, says, streams_of, writes

FORM: dict[str, Any] = {
    "mode": "form",
    "message": "x",
    "requestedSchema": {"type": "object", "properties": {}},
}
SAMPLE = {"messages": [{"role": "user", "content": {"type": "text", "text": "x"}}], "maxTokens": 9}


def questions() -> Iterator[Way]:
    """What servers of the older revision ask in the middle of a call."""
    messages: dict[str, dict[str, Any]] = {
        "forms": {"method": "elicitation/create", "params": FORM},
        "samples": {"method": "sampling/createMessage", "params": SAMPLE},
        "roots": {"method": "roots/list"},
        "pings": {"method": "ping"},
        "unknown": {"method": "evil/" + "x" * 1000},
        "tasks": {"method": "tasks/get", "params": {"taskId": "x"}},
    }
    for name, message in messages.items():
        for ids in ("own", "same"):
            yield calls(f"asks-{name}-{ids}", partial(_asks, message, ids), revision=LEGACY)
    for name, number in {
        "null": "null",
        "digits": "9" * 400,
        "nan": "NaN",
        "list": "[1]",
        "half": '"\\ud800"',
    }.items():
        yield calls(f"asks-id-{name}", partial(_asks_as, number), revision=LEGACY)
    for name, schema in {
        "number": 7,
        "deep": _nested(400),
        "large": {
            "type": "object",
            "properties": {f"p{n}": {"type": "string"} for n in range(5000)},
        },
    }.items():
        form: dict[str, Any] = {**FORM, "requestedSchema": schema}
        message = {"method": "elicitation/create", "params": form}
        yield calls(f"asks-schema-{name}", partial(_asks, message, "once"), revision=LEGACY)


def _nested(depth: int) -> Any:
    node: Any = {}
    for _ in range(depth):
        node = {"type": "object", "properties": {"a": node}}
    return node


async def _asks(message: dict[str, Any], ids: str, x: Exchange) -> None:
    await x.stream()
    for number in range(1 if ids == "once" else 150):
        await x.event({"jsonrpc": "2.0", "id": number if ids == "own" else "q", **message})
    await asyncio.sleep(0.3)
    await x.end()


async def _asks_as(number: str, x: Exchange) -> None:
    await x.stream()
    await x.event(f'{{"jsonrpc":"2.0","id":{number},"method":"ping"}}')
    await asyncio.sleep(0.1)
    await x.end()


def rounds() -> Iterator[Way]:
    """What servers of the newest revision ask: answers that are questions, and tasks."""
    form: dict[str, Any] = {"method": "elicitation/create", "params": FORM}
    sample: dict[str, Any] = {"method": "sampling/createMessage", "params": SAMPLE}
    results: dict[str, dict[str, Any]] = {
        "state": {"requestState": "s"},
        "nothing": {},
        "empty": {"inputRequests": {}},
        "large": {"requestState": "s" * 300_000},
        "forms": {"inputRequests": {f"q{n}": form for n in range(3_000)}},
        "samples": {"inputRequests": {f"q{n}": sample for n in range(3_000)}},
        "unknown": {"inputRequests": {"q": {"method": "evil"}}},
        "list": {"inputRequests": [form]},
        "number": {"requestState": 7},
    }
    for name, fields in results.items():
        yield calls(
            f"requires-{name}", partial(_as_result, {"resultType": "input_required", **fields})
        )
    for name, fields in {
        "id-none": {},
        "id-empty": {"taskId": ""},
        "id-long": {"taskId": "x" * 10**6},
        "id-control": {"taskId": "a\x01\r\nx: y"},
        "id-number": {"taskId": 7},
    }.items():
        yield calls(f"task-{name}", partial(_as_result, {"resultType": "task", **fields}))
    for name, interval in {
        "nan": "NaN",
        "zero": "0",
        "negative": "-1e308",
        "infinite": "1e999",
        "large": "1e308",
        "digits": "9" * 400,
        "text": '"1"',
        "null": "null",
        "true": "true",
        "list": "[]",
    }.items():
        state = f'{{"status":"working","pollIntervalMs":{interval},"ttlMs":{interval}}}'
        yield _task(f"task-every-{name}", state)
    for name, state in {
        "unknown": '{"status":"evil"}',
        "none": "{}",
        "no-result": '{"status":"completed"}',
        "no-error": '{"status":"failed"}',
        "odd-error": '{"status":"failed","error":{"code":"x"}}',
        "a-task": '{"status":"completed","result":{"resultType":"task","taskId":"t"}}',
        "asks": f'{{"status":"input_required","inputRequests":{{"qN":{json.dumps(form)}}}}}',
        "asks-much": '{"status":"input_required","inputRequests":'
        + json.dumps({f"q{n}": form for n in range(3_000)})
        + "}",
        "asks-list": '{"status":"input_required","inputRequests":[1]}',
        "asks-odd": '{"status":"input_required","inputRequests":{"q":7}}',
        "message": '{"status":"working","statusMessage":'
        + json.dumps("x" * 10**6)
        + ',"pollIntervalMs":1}',
        "list": "[]",
    }.items():
        yield _task(f"task-{name}", state)
    yield _task(
        "task-backwards",
        *(
            f'{{"status":"{s}","pollIntervalMs":1}}'
            for s in ("input_required", "working", "input_required", "working")
        ),
    )


async def _as_result(fields: dict[str, Any], x: Exchange) -> None:
    await x.answer(x.of_id({"result": fields}))


def _task(name: str, *states: str) -> Way:
    told = 0

    async def begins(x: Exchange) -> None:
        await x.answer(
            x.of_id({"result": {"resultType": "task", "taskId": "t", "status": "working"}})
        )

    async def get(x: Exchange) -> None:
        nonlocal told
        told += 1
        state = states[told % len(states)].replace("qN", f"q{told}")
        head = b'{"resultType":"complete","taskId":"t",' if len(state) > 2 else b"{"
        body = (
            b'{"jsonrpc":"2.0","id":ID,"result":'
            + (head + state[1:].encode() if state[0] == "{" else state.encode())
            + b"}"
        )
        await answers(body)(x)

    return Way(name, {"tools/call": begins, "tasks/get": get})


def sessions() -> Iterator[Way]:
    """What is at fault before the first call, and with the session of the older revisions."""
    for name, session in {
        "control": "a\x01b",
        "long": "x" * 2**20,
        "rather-long": "x" * 60_000,
        "latin": "sé\xff",
        "spaces": "a b  c",
        "empty": "",
    }.items():
        yield Way(f"session-{name}", {"initialize": partial(_opens, session)}, revision=LEGACY)
    yield calls("session-changes", _other_session, revision=LEGACY)
    for name, version in {
        "future": "9999-01-01",
        "number": 7,
        "long": "x" * 10**6,
        "modern": "2026-07-28",
        "old": "2024-11-05",
    }.items():
        yield Way(
            f"version-{name}",
            {"initialize": partial(_opens, "s", version=version)},
            revision=LEGACY,
        )
    found: dict[str, dict[str, Any]] = {
        "none": {},
        "many": {"supportedVersions": ["x"] * 50_000, "capabilities": {}},
        "list": {"supportedVersions": "2026-07-28", "capabilities": []},
        "long": {
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "instructions": "x" * 10**6,
            "ttlMs": 0,
            "cacheScope": "public",
        },
        "asks": {"resultType": "input_required", "inputRequests": {}},
    }
    for name, result in found.items():
        yield Way(
            f"discovers-{name}",
            {"server/discover": partial(_as_result, {"resultType": "complete", **result})},
        )
    yield Way(
        "discovers-error",
        {"server/discover": partial(_refuses, -32022, {"supported": ["2026-07-28"] * 1000})},
    )
    yield Way("discovers-never", {"server/discover": writes(b"", 3600)})
    yield Way("discovers-drips", {"server/discover": lambda x: x.drip(OK + b"x: y\r\n" * 1000)})
    yield Way(
        "discovers-401",
        {
            "server/discover": answers(
                b"", status="401 U", **{"www-authenticate": f'Bearer resource_metadata="{META}"'}
            )
        },
    )
    yield Way("listens-never", {"subscriptions/listen": writes(b"", 3600)})
    yield Way("listens-ends", {"subscriptions/listen": ends("")})
    yield Way(
        "listens-again",
        {
            "subscriptions/listen": _acknowledged(b"id: 1\nretry: 0\ndata:\n\n", 0),
            "GET": ends("id: 1\nretry: 0\n"),
        },
    )
    yield Way("listens-storm", {"subscriptions/listen": _listed_storm})
    yield Way("listens-refused", {"subscriptions/listen": partial(_refuses, -32000, None)})
    yield Way("get-again", {"GET": ends("retry: 0\n")}, revision=LEGACY)
    yield Way(
        "initialized-never", {"notifications/initialized": writes(b"", 3600)}, revision=LEGACY
    )
    yield Way(
        "initialized-endless",
        {"notifications/initialized": streams_of(b": x\n" * 100)},
        revision=LEGACY,
    )
    yield Way(
        "initialized-answered",
        {"notifications/initialized": says({"id": 1, "result": TEXT})},
        revision=LEGACY,
    )
    yield Way(
        "initialized-refused",
        {"notifications/initialized": answers(b"x", status="500 I")},
        revision=LEGACY,
    )
    yield Way("delete-never", {"DELETE": writes(b"", 3600)}, revision=LEGACY)
    yield Way(
        "delete-away", {"DELETE": answers(b"", status="307 A", location=META)}, revision=LEGACY
    )
    yield Way(
        "answers-never",
        {"tools/call": partial(_asks, {"method": "ping"}, "own"), "answer": writes(b"", 3600)},
        revision=LEGACY,
    )


async def _opens(session: str, x: Exchange, version: Any = LEGACY) -> None:
    about = {"name": "evil", "version": "1"}
    can: dict[str, Any] = {"tools": {}}
    result = {"protocolVersion": version, "capabilities": can, "serverInfo": about}
    await x.answer(x.of_id({"result": result}), **{"mcp-session-id": session})


async def _other_session(x: Exchange) -> None:
    more = {"mcp-session-id": "other", "mcp-protocol-version": "9999-01-01"}
    await x.answer(x.of_id({"result": TEXT}), **more)


async def _refuses(code: int, data: Any, x: Exchange) -> None:
    await x.answer(x.of_id({"error": {"code": code, "message": "no", "data": data}}), "400 Bad")


def _acknowledged(rest: bytes, pause_s: float) -> Act:
    async def act(x: Exchange) -> None:
        await x.stream()
        await acknowledge(x)
        await x.raw(rest)
        await asyncio.sleep(pause_s)

    return act


async def _listed_storm(x: Exchange) -> None:
    await x.stream()
    await acknowledge(x)
    meta = {"io.modelcontextprotocol/subscriptionId": x.id}
    changed = [
        note(f"{kind}/list_changed", _meta=meta) for kind in ("tools", "prompts", "resources")
    ]
    while True:
        for each in changed:
            await x.event(each)
        await asyncio.sleep(0)


def lists() -> Iterator[Way]:
    """Lists and definitions."""
    for name, cursor in {"same": "c", "empty": "", "number": 7, "long": "x" * 10**6}.items():
        yield Way(f"pages-{name}", {"tools/list": partial(_page, cursor)})
    yield Way("pages-changing", {"tools/list": partial(_page, None)})
    yield Way("list-never", {"tools/list": writes(b"", 3600)})
    yield Way("list-drips", {"tools/list": lambda x: x.drip(OK + b"\r\n" + FINE)})
    yield Way("list-twice", {"tools/list": _hangs_later})
    tree: dict[str, Any] = {
        "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)}
    }
    tree["$defs"]["a60"] = {}
    deeper = [{"properties": {"c": {"$ref": "#/$defs/a"}}, "required": ["x"]}] * 2
    for name, schema in {
        "regex": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
        "doubling": {"type": "object", "$ref": "#/$defs/a0", **tree},
        "remote": {"$ref": f"{META}/schema", "type": "object"},
        "ring": {"$ref": "#", "type": "object"},
        "deep": {**_nested(150), "type": "object"},
        "deeper": {"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"anyOf": deeper}}},
        "unique": {"type": "object", "properties": {"b": {"uniqueItems": True}}},
    }.items():
        yield Way(f"schema-in-{name}", {}, tool={"inputSchema": schema})
        yield Way(f"schema-out-{name}", {"tools/call": _bomb}, tool={"outputSchema": schema})
    for name, blocks in {
        "link": [{"type": "resource_link", "uri": "file:///etc/passwd", "name": "x"}],
        "odd-link": [{"type": "resource_link", "uri": "\x01 no address", "name": "x" * 10**6}],
        "picture": [{"type": "image", "data": "no base64 \u202e", "mimeType": "text/html\r\nx: y"}],
        "many": [{"type": "text", "text": ""}] * 5_000,
        "unknown": [{"type": "evil"}],
        "embedded": [{"type": "resource", "resource": {"uri": "http://[::bad", "blob": "?"}}],
    }.items():
        yield calls(
            f"content-{name}", partial(_as_result, {"resultType": "complete", "content": blocks})
        )


async def _page(cursor: Any, x: Exchange) -> None:
    before = x.params.get("cursor") or "0"
    after = cursor if cursor is not None else str(int(before) + 1)
    await x.result(tools=[], nextCursor=after, ttlMs=0, cacheScope="public")


async def _hangs_later(x: Exchange) -> None:
    if x.evil.asked[x.way.name, x.method] > 1:
        await asyncio.sleep(3600)
    await honest(x)


async def _bomb(x: Exchange) -> None:
    data: dict[str, Any] = {}
    for _ in range(60):
        data = {"c": data}
    data |= {"a": "a" * 40 + "!", "b": [{"n": n} for n in range(3_000)]}
    await x.result(content=[], structuredContent=data)
