"""Doors of the gateway beside generations: OpenAPI documents and their answers, programs, files and
batches, pictures, sound, embeddings, the console, and token counts in other forms.

They have a gateway of their own, whose configuration is `config`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from bench import mcp_doors
from bench.mcp_doors import JSON, Answer

DOCUMENT_BYTES, ANSWER_BYTES, BODY_BYTES = 12_000_000, 4_000_000, 15_000_000
LIST_BYTES = 8_000_000
ROUNDS = 3  # a document is read once: each round has a server of its own
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_HEAD = (
    b"%b %b HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n%b"
    b"accept: application/json, text/event-stream\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
)
_YAML_BYTES = 2_000_000
_YAML_LINES = {
    "texts": b"- ab\n",
    "lists": b"- - ab\n",
    "mappings": b"- ab: c\n",
    "numbers": b"- 1:1\n",
    "a long text": b"- " + b"x" * 1_999_000 + b"\n",
}
_VALUES = {"lists": b"[],", "objects": b'{"a":1},', "numbers": b"100001,", "texts": b'"ab",'}


class SideDoor(NamedTuple):
    """Requests of one round each, and what the upstream answers at which paths."""

    name: str
    requests: Callable[[], list[bytes]]
    answers: Mapping[str, Callable[[], Answer]]


def _request(
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: bytes = b"",
    kind: bytes = b"application/json",
) -> bytes:
    return _HEAD % (method.encode(), path.encode(), headers, kind, len(body)) + body


def _made(make: Callable[[], bytes]) -> bytes:
    return _json(make())


def _many(value: bytes, size: int) -> bytes:
    return b"[%b]" % (value * (size // len(value))).rstrip(b",")


def _json(body: bytes) -> bytes:
    return _JSON % (len(body), body)


def _operation(name: str, **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": "s", "responses": {"200": {"description": "d"}}, **more}


def _document(paths: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/get": {"get": _operation("get")}, **paths},
        **more,
    }


def _filled(document: dict[str, Any], here: str, value: bytes) -> bytes:
    start, _, end = json.dumps(document).partition(f'"{here}"')
    return start.encode() + value + end.encode()


def _with_body(schema: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


def _documents() -> dict[str, Callable[[], bytes]]:
    """What an address may give for an OpenAPI document."""
    place = _document({"/x": {"get": _operation("x", description="HERE")}})
    shared = {"components": {"schemas": {"S": {"type": "object", "description": "HERE"}}}}
    refers = _with_body({"$ref": "#/components/schemas/S"})
    chain = {
        f"S{n}": {
            "properties": {"a": {"$ref": f"#/components/schemas/S{n + 1}"}},
            "title": "x" * 99,
        }
        for n in range(5_000)
    }
    chain["S5000"] = {"type": "object", "properties": {}, "title": "x"}
    at_chain = _with_body({"$ref": "#/components/schemas/S0"})
    deep = b'{"properties":{"a":' * 400 + b"{}" + b"}}" * 400
    return {
        "a long text": lambda: _filled(place, "HERE", b'"%b"' % (b"x" * DOCUMENT_BYTES)),
        **{
            f"small {name}": lambda value=value: _filled(
                place, "HERE", _many(value, DOCUMENT_BYTES)
            )
            for name, value in _VALUES.items()
        },
        "very deep nesting": lambda: _filled(place, "HERE", b"[" * 200_000 + b"]" * 200_000),
        "deep schemas": lambda: _filled(
            _document({f"/d{n}": {"post": _operation(f"d{n}", **_with_body({}))} for n in range(9)})
            | {"components": {"schemas": {"S": "HERE"}}},
            "HERE",
            deep,
        ),
        "many operations": lambda: json.dumps(
            _document({f"/p{n}": {"get": _operation(f"p{n}")} for n in range(9_000)})
        ).encode(),
        "too many operations": lambda: json.dumps(
            _document({f"/p{n}": {"get": _operation(f"p{n}")} for n in range(90_000)})
        ).encode(),
        "one schema of many operations": lambda: _filled(
            _document({f"/p{n}": {"post": _operation(f"p{n}", **refers)} for n in range(2_000)})
            | shared,
            "HERE",
            b'"%b"' % (b"x" * 1_000_000),
        ),
        "a long chain of many operations": lambda: json.dumps(
            _document({f"/p{n}": {"post": _operation(f"p{n}", **at_chain)} for n in range(500)})
            | {"components": {"schemas": chain}}
        ).encode(),
        "aliases of YAML": lambda: (
            b"openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths:\n  /x:\n"
            b"    get: {operationId: x, responses: {'200': {description: d}}}\nx-a0: &a0 [x]\n"
            + b"".join(
                b"x-a%d: &a%d [%b]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9))
                for n in range(1, 9)
            )
            + b"components: {schemas: {S: *a8}}\n"
        ),
        **{
            f"{kind} of YAML": lambda lines=lines: (
                b"openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths:\n  /x:\n"
                b"    get: {operationId: x, responses: {'200': {description: d}}}\nx-a:\n"
                + lines
                * (_YAML_BYTES // len(lines))
            )
            for kind, lines in _YAML_LINES.items()
        },
    }


def _names() -> dict[str, list[str]]:
    """Servers, one for each round, by the kind of their document."""
    return {
        kind: [f"d{place}-{number}" for number in range(ROUNDS)]
        for place, kind in enumerate(_documents())
    }


def config(root: str, runtime: str = "auto") -> str:
    """Servers of OpenAPI: one for calls, and one of each document for each round."""
    made = [f'[admin]\nenabled = true\n[programs]\nenabled = true\nruntime = "{runtime}"\n']
    for name in ("api", *(name for names in _names().values() for name in names)):
        where = name.partition("-")[0]
        made.append(
            f'[mcp.{name}]\nopenapi = "{root}/documents/{where}"\naddress = "{root}/api"\n'
            'ask_for = "nothing"\n'
        )
    return "".join(made) + mcp_doors.config(root)


def _rpc(method: str, path: str, params: dict[str, Any]) -> bytes:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _META}}
    headers = f"mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n"
    if name := params.get("name") or params.get("uri"):
        headers += f"mcp-name: {name}\r\n"
    return _request(path, json.dumps(body).encode(), headers=headers.encode())


_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def _calling(name: str, arguments: dict[str, Any], path: str = "/mcp/api") -> bytes:
    return _rpc("tools/call", path, {"name": name, "arguments": arguments})


_API = _document(
    {
        "/post": {"post": _operation("post", **_with_body({}))},
        "/text": {"get": _operation("text")},
    }
)


def _openapi_doors() -> Iterator[SideDoor]:
    for (kind, names), make in zip(_names().items(), _documents().values(), strict=True):
        yield SideDoor(
            f"document: {kind}",
            partial(_listing, names),
            {f"/documents/{names[0].partition('-')[0]}": partial(_made, make)},
        )
    answers: dict[str, Callable[[], bytes]] = {
        "a long text": lambda: b'"%b"' % (b"x" * (ANSWER_BYTES - 9)),
        "a wide text": lambda: b'"%b\xf0\x9f\x98\x80"' % (b"x" * (ANSWER_BYTES - 9)),
        "too long": lambda: b'"%b"' % (b"x" * 60_000_000),
        "very deep nesting": lambda: b"[" * 200_000 + b"]" * 200_000,
        "no JSON": lambda: b"x" * ANSWER_BYTES,
        **{
            f"small {name}": lambda value=value: _many(value, ANSWER_BYTES)
            for name, value in _VALUES.items()
        },
    }
    document: dict[str, Callable[[], bytes]] = {
        "/documents/api": lambda: _json(json.dumps(_API).encode())
    }
    for kind, make in answers.items():
        yield SideDoor(
            f"OpenAPI answer: {kind}",
            lambda: [_calling("api_get", {})] * ROUNDS,
            {**document, "/api/get": partial(_made, make)},
        )
    empty: Any = []
    arguments: dict[str, Any] = {
        "a long text": "x" * 4_000_000,
        "few lists": [empty] * 60_000,
        "small lists": [empty] * 99_000,
        "small numbers": [1] * 490_000,
        "small objects": [{"a": 1}] * 99_000,
        "deep": _nested(300),
    }
    for kind, value in arguments.items():
        yield SideDoor(
            f"OpenAPI arguments: {kind}",
            lambda value=value: [_calling("api_post", {"body": value})] * ROUNDS,
            {**document, "/api/post": lambda: _json(b"1")},
        )


def warming() -> SideDoor:
    """What loads the protocol's library, once for the process."""
    return _asking("a usual server", *mcp_doors.CALL, mcp_doors.usual)


def _asking(name: str, method: str, params: JSON, server: Callable[[], Answer]) -> SideDoor:
    asked = _rpc(method, "/mcp/far", params)
    return SideDoor(f"MCP server: {name}", lambda: [asked] * ROUNDS, {"/far": server})


def _server_doors() -> Iterator[SideDoor]:
    for kind, (method, params, server) in mcp_doors.asked().items():
        yield _asking(kind, method, params, server)
    for (kind, server), names in zip(mcp_doors.lists().items(), mcp_doors.names(), strict=True):
        path = f"/{names[0].partition('-')[0]}"
        yield SideDoor(f"MCP server lists {kind}", partial(_listing, names), {path: server})


def _listing(names: list[str]) -> list[bytes]:
    return [_rpc("tools/list", f"/mcp/{name}", {}) for name in names]


def _nested(depth: int) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = [made]
    return made


_PROGRAMS = {
    "a long code": "x = '" + "x" * 4_000_000 + "'",
    "many lines": "x = 1\n" * 580_000,
    "deep code": "x = " + "(" * 2_000 + "1" + ")" * 2_000,
    "endless output": "while True: print('x' * 100000)",
    "a long output": "print('x' * 20_000_000)",
    "a long value": "'x' * 20_000_000",
    "a value of many": "[[]] * 2_000_000",
    "a value of keys": "{str(n): n for n in range(300_000)}",
    "long arguments": "await api_post(body='x' * 20_000_000)",
    "arguments of many": "await api_post(body=[[]] * 900_000)",
    "many calls": "for n in range(100_000): await api_text()",
    "calls at once": "import asyncio\nawait asyncio.gather(*[api_text() for n in range(5_000)])",
    "long results": "x = [await api_get() for n in range(50)]",
    "long results of many": "x = [await api_many() for n in range(5)]",
    "a long error": "raise ValueError('x' * 20_000_000)",
}


def program_doors() -> Iterator[SideDoor]:
    """Programs over `/mcp`, on the tier of the configuration."""
    answers: dict[str, Callable[[], bytes]] = {
        "/documents/api": lambda: _json(
            json.dumps(
                {**_API, "paths": {**_API["paths"], "/many": {"get": _operation("many")}}}
            ).encode()
        ),
        "/api/get": lambda: _json(b'"%b"' % (b"x" * 3_900_000)),
        "/api/many": lambda: _json(_many(b"[],", 290_000)),
        "/api/text": lambda: _json(b'"x"'),
        "/api/post": lambda: _json(b"1"),
    }
    for kind, code in _PROGRAMS.items():
        yield SideDoor(
            f"program: {kind}",
            lambda code=code: [_calling("run", {"code": code}, "/mcp/api?mode=code")] * ROUNDS,
            answers,
        )


_BOUNDARY = b"----b"


def _form(*fields: tuple[bytes, bytes]) -> bytes:
    parts = [
        b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (_BOUNDARY, name, b'; filename="f"' if name == b"file" else b"", value)
        for name, value in fields
    ]
    return b"".join((*parts, b"--%b--\r\n" % _BOUNDARY))


def _resource_doors() -> Iterator[SideDoor]:
    form = b"multipart/form-data; boundary=" + _BOUNDARY
    chosen = b"polycall-provider: up\r\n"
    good: dict[str, Callable[[], bytes]] = {"/v1/": lambda: _json(b'{"id":"file-1"}')}
    uploads = {
        "a large file": _form((b"purpose", b"batch"), (b"file", b"x" * 60_000_000)),
        "a long line": _form((b"purpose", b"batch"), (b"file", b"{" + b"x" * 60_000_000)),
        "many parts": _form(*[(b"a", b"b")] * 500_000),
        "near boundaries": _form((b"file", (b"\r\n--" + _BOUNDARY[:-1]) * 4_000_000)),
    }
    for kind, body in uploads.items():
        for path in ("/v1/files", "/v1/audio/transcriptions"):
            sent = body if path == "/v1/files" else _form((b"model", b"up/good"))[:-9] + body
            yield SideDoor(
                f"upload at {path}: {kind}",
                lambda path=path, sent=sent: (
                    [_request(path, sent, headers=chosen, kind=form)] * ROUNDS
                ),
                good,
            )
    jobs = {
        "a long text": b'{"metadata":{"a":"%b"}}' % (b"x" * BODY_BYTES),
        "an endpoint": b'{"endpoint":"%b"}' % (b"x" * BODY_BYTES),
        "small lists": b'{"metadata":%b}' % _many(b"[],", BODY_BYTES),
        "few lists": b'{"metadata":%b}' % _many(b"[],", 290_000),
    }
    for kind, body in jobs.items():
        for path in ("/v1/batches", "/v1/fine_tuning/jobs"):
            yield SideDoor(
                f"job at {path}: {kind}",
                lambda path=path, body=body: [_request(path, body, headers=chosen)] * ROUNDS,
                good,
            )
    lists = {
        "a long text": b'{"data":[{"id":"%b"}]}' % (b"x" * LIST_BYTES),
        "many things": b'{"data":%b}' % _many(b'{"id":"file-1"},', LIST_BYTES),
        **{
            f"small {name}": b'{"data":%b}' % _many(value, LIST_BYTES)
            for name, value in _VALUES.items()
        },
    }
    for kind, body in lists.items():
        for path in ("/v1/files", "/v1/batches"):
            yield SideDoor(
                f"list at {path}: {kind}",
                lambda path=path: [_request(path, method="GET", headers=chosen)] * ROUNDS,
                {"/v1/": lambda body=body: _json(body)},
            )


_PLAIN: dict[str, bytes] = {
    "/v1/images/generations": b'{"model":"up/good","prompt":%b}',
    "/v1/audio/speech": b'{"model":"up/good","voice":"v","input":%b}',
    "/v1/moderations": b'{"model":"up/good","input":%b}',
    "/v1/completions": b'{"model":"up/good","prompt":%b}',
    "/v1/embeddings": b'{"model":"up/good","input":%b}',
    "/v1/rerank": b'{"model":"up/good","query":"x","documents":[%b]}',
}


def _passed_doors() -> Iterator[SideDoor]:
    text, lists = b'"%b"' % (b"x" * BODY_BYTES), _many(b"[],", BODY_BYTES)
    for path, body in _PLAIN.items():
        for kind, value in (("a long text", text), ("small lists", lists)):
            yield SideDoor(
                f"{path}: {kind}",
                lambda path=path, data=body % value: [_request(path, data)] * ROUNDS,
                {"/v1/": lambda: _json(b'{"data":[]}')},
            )
        values = {
            "a long text": b'"%b"' % (b"x" * 20_000_000),
            "small lists": _many(b"[],", 20_000_000),
            "numbers": _many(b"0.0123456,", 20_000_000),
            "many vectors": _many(b'{"embedding":[0.1]},', 20_000_000),
        }
        for kind, value in values.items():
            for field in ("data", "usage", "results"):
                yield SideDoor(
                    f"{path} answers {field}: {kind}",
                    lambda path=path, data=body % b'"x"': [_request(path, data)] * ROUNDS,
                    {
                        "/v1/": lambda value=value, field=field: _json(
                            b'{"object":"list","%b":%b}' % (field.encode(), value)
                        )
                    },
                )


def _count_doors() -> Iterator[SideDoor]:
    lists = _many(b"[],", BODY_BYTES // 4 * 3 - 3_000_000)
    hidden = b'{"messages":[{"role":"user","content":%b}],"max_tokens":9}'
    claude = "/model/anthropic.claude-3-haiku-20240307-v1:0/count-tokens"
    for kind, value in (("small lists", lists), ("a long text", b'"%b"' % (b"x" * 9_000_000))):
        body = b'{"input":{"invokeModel":{"body":"%b"}}}' % base64.b64encode(hidden % value)
        yield SideDoor(
            f"counted in base64: {kind}", lambda body=body: [_request(claude, body)] * ROUNDS, {}
        )
    bodies = {
        "/v1/messages/count_tokens": _CHAT.replace(b"up/good", b"anthropic/x"),
        "/v1/responses/input_tokens": b'{"model":"responses/x","input":%b}',
        "/v1beta/models/gemini/x:countTokens": b'{"contents":[{"parts":[{"text":%b}]}]}',
    }
    for path, body in bodies.items():
        data = body % (b'"%b"' % (b"x" * BODY_BYTES))
        answers = {"/": lambda: _json(b'{"input_tokens":9,"totalTokens":9}')}
        yield SideDoor(
            f"counted by the provider at {path}",
            lambda path=path, data=data: [_request(path, data)] * ROUNDS,
            answers,
        )
        arguments = {
            "a long text": b'"%b"' % (b"x" * 900_000),
            "small lists": _many(b"[],", 900_000),
        }
        for kind, value in arguments.items():
            yield SideDoor(
                f"a count of {kind} at {path}",
                lambda path=path, data=body % b'"x"': [_request(path, data)] * ROUNDS,
                {"/": lambda value=value: _json(b'{"input_tokens":%b,"totalTokens":1}' % value)},
            )


def _console_doors(admin_key: str) -> Iterator[SideDoor]:
    admin = f"authorization: Bearer {admin_key}\r\n".encode()
    text, lists = b'"%b"' % (b"x" * BODY_BYTES), _many(b"[],", BODY_BYTES)
    for method, path, body in (
        ("POST", "/admin/v1/keys", b'{"name":%b}'),
        ("POST", "/admin/v1/teams", b'{"name":%b}'),
        ("POST", "/admin/v1/mcp/call", b'{"name":"api_post","arguments":{"body":%b}}'),
        ("POST", "/admin/v1/sign-in", b'{"link":%b}'),
        ("POST", "/admin/v1/try/v1/chat/completions", _CHAT),
        ("POST", "/admin/v1/try/v1/messages", _CHAT),
    ):
        for kind, value in (
            ("a long text", text),
            ("small lists", lists),
            ("a text of 60 kB", text[:60_000] + b'"'),
        ):
            yield SideDoor(
                f"console {path}: {kind}",
                lambda method=method, path=path, data=body % value: (
                    [_request(path, data, method=method, headers=admin)] * ROUNDS
                ),
                {"/": lambda: _json(b"{}")},
            )
    for path in (
        "/admin/v1/requests?limit=1000",
        "/admin/v1/usage?since=-86400",
        "/admin/v1/mcp",
        "/admin/v1/models",
        "/admin/v1/audit?limit=200",
        "/admin/v1/requests?text=" + "x" * 60_000,
    ):
        yield SideDoor(
            f"console {path[:40]}",
            lambda path=path: [_request(path, method="GET", headers=admin)] * ROUNDS,
            {},
        )


_CHAT = b'{"model":"up/good","max_tokens":9,"messages":[{"role":"user","content":%b}]}'


def side_doors(admin_key: str) -> Iterator[SideDoor]:
    """All of them; the key is an administrator's."""
    yield from _openapi_doors()
    yield from _server_doors()
    yield from program_doors()
    yield from _resource_doors()
    yield from _passed_doors()
    yield from _count_doors()
    yield from _console_doors(admin_key)
