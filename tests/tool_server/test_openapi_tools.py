"""An OpenAPI document's operations as tools: what is sent, and what comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from polycall.errors import ToolDefinitionError
from polycall.ir import Media, ToolCall, ToolResult
from polycall.tool_server import OpenAPITools, load_document
from polycall.tool_server.described import result_hint
from polycall.tools import execute
from polycall.transport.base import Deadlines, HTTPRequest


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def read(self, *, size_bytes_max: int) -> bytes:
        assert size_bytes_max > 0
        return self._body

    async def close(self) -> None:
        return


class Sent:
    """A transport that keeps what was sent."""

    def __init__(self) -> None:
        self.requests: list[HTTPRequest] = []
        self.answer = Answer(200, {"content-type": "application/json"}, b'{"ok": true}')

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> Answer:
        del deadlines
        self.requests.append(request)
        return self.answer

    async def close(self) -> None:
        return


def operation(kind: str, schema: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {kind: {"schema": schema}}}}


OBJECT = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "paths": {
        "/json": {"post": {"operationId": "json", **operation("application/json", OBJECT)}},
        "/form": {
            "post": {
                "operationId": "form",
                **operation("application/x-www-form-urlencoded", OBJECT),
            }
        },
        "/parts": {"post": {"operationId": "parts", **operation("multipart/form-data", OBJECT)}},
        "/text": {"put": {"operationId": "text", **operation("text/plain", {"type": "string"})}},
        "/same": {"get": {"operationId": "same"}},
        "/same/again": {"get": {"operationId": "sa me"}},
    },
}


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def api(sent: Sent) -> OpenAPITools:
    headers = {"Authorization": "Bearer key"}
    return OpenAPITools(DOCUMENT, "https://api.example.com/v1/", headers=headers, transport=sent)


async def called(api: OpenAPITools, name: str, **arguments: Any) -> ToolResult:
    return await execute(ToolCall("c", name, json.dumps(arguments)), api)


@pytest.mark.parametrize(
    ("name", "body", "kind", "data"),
    [
        ("json", {"name": "한글", "n": 1}, "application/json", '{"name":"한글","n":1}'),
        (
            "form",
            {"name": "a b&c", "n": 1},
            "application/x-www-form-urlencoded",
            "name=a+b%26c&n=1",
        ),
        ("text", "안녕", "text/plain", "안녕"),
    ],
)
async def test_bodies(  # noqa: PLR0917 - a table
    api: OpenAPITools, sent: Sent, name: str, body: Any, kind: str, data: str
) -> None:
    assert (await called(api, name, body=body)).text == '{"ok":true}'
    request = sent.requests[0]
    assert request.url == f"https://api.example.com/v1/{name}"
    assert request.headers["content-type"] == kind
    assert request.headers["authorization"] == "Bearer key"
    assert request.body.decode() == data


async def test_parts(api: OpenAPITools, sent: Sent) -> None:
    await called(api, "parts", body={"name": 'x"\r\nevil: 1', "n": 2})
    request = sent.requests[0]
    boundary = request.headers["content-type"].partition("boundary=")[2]
    assert request.body.count(boundary.encode()) == 3
    assert b'name="name"' in request.body


async def test_headers_by_function(sent: Sent) -> None:
    numbers = iter(range(9))

    async def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(numbers)}"}

    api = OpenAPITools(DOCUMENT, "https://api.example.com", headers=headers, transport=sent)
    await called(api, "same")
    await called(api, "same")
    assert [each.headers["authorization"] for each in sent.requests] == ["Bearer 0", "Bearer 1"]


@pytest.mark.parametrize(
    ("status", "kind", "body", "text", "is_error"),
    [
        (204, "", b"", '{"status":204}', False),
        (200, "text/plain", "안녕".encode(), "안녕", False),
        (200, "application/json", b"not json", "not json", False),
        (404, "application/json", b'{"message":"gone"}', "answered 404", True),
        (302, "", b"", "is not followed", True),
        (500, "text/html", b"<h1>" + b"x" * 10_000, "answered 500", True),
    ],
)
async def test_answers(  # noqa: PLR0917 - a table
    api: OpenAPITools, sent: Sent, status: int, kind: str, body: bytes, text: str, is_error: bool
) -> None:
    sent.answer = Answer(status, {"content-type": kind, "location": "https://evil"}, body)
    result = await called(api, "same")
    assert result.is_error is is_error
    assert text in result.text
    assert len(result.text) < 3_000


async def test_a_picture(api: OpenAPITools, sent: Sent) -> None:
    sent.answer = Answer(200, {"content-type": "image/png"}, b"\x89PNG\0")
    (part,) = (await called(api, "same")).content
    assert isinstance(part, Media)
    assert part.media_type == "image/png"


def test_names_are_told_apart() -> None:
    document = {
        "paths": {"/a": {"get": {"operationId": "x/y"}}, "/b": {"get": {"operationId": "x y"}}}
    }
    api = OpenAPITools(document, "https://api.example.com", transport=Sent())
    assert list(api.tools) == ["x_y", "x_y_get"]


@pytest.mark.parametrize("address", ["", "ftp://x", "https://", "x", "//host"])
def test_no_address(address: str) -> None:
    with pytest.raises(ToolDefinitionError):
        OpenAPITools(DOCUMENT, address)


async def test_documents_that_are_none(tmp_path: Path, sent: Sent) -> None:
    for text in ("", "[]", "{", "5", '"x"'):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(ToolDefinitionError):
            await load_document("d.json", tmp_path, sent)
    with pytest.raises(ToolDefinitionError):
        await load_document("missing.json", tmp_path, sent)
    (tmp_path / "d.yaml").write_text("paths:\n  /a:\n    get: {operationId: a}\n")
    assert "paths" in await load_document("d.yaml", tmp_path, sent)


def test_what_a_result_looks_like() -> None:
    user = {"type": "object", "properties": {"login": {"type": "string"}, "id": {}}}
    schema = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Issue"},
        "components": {
            "schemas": {
                "Issue": {
                    "type": "object",
                    "properties": {
                        "title": {"type": "string"},
                        "html_url": {"type": "string"},
                        "user": {"$ref": "#/components/schemas/User"},
                        "labels": {"type": "array", "items": {"type": "string"}},
                        "parent": {"$ref": "#/components/schemas/Issue"},
                    },
                },
                "User": user,
            }
        },
    }
    parent = "parent {title, user, labels, parent, ...}"
    shown = f"list of {{title, user {{login, id, ...}}, labels[], {parent}}}"
    assert result_hint(schema) == shown
    assert result_hint({"$ref": "#/nowhere"}) == ""
