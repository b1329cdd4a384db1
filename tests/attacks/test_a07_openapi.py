"""A7: what a model gives as a parameter stays in its place of an OpenAPI operation's request."""

from __future__ import annotations

import json
import posixpath
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.agents import ToolTree
from polycall.agents.tree.load import Operation
from polycall.errors import ToolError
from polycall.ir import JSON, ToolCall
from polycall.tools import execute

DELETE = Operation(
    "DELETE", "/accounts/{account}/items/{id}", {"account": "path", "id": "path", "q": "query"}
)
MIXED = Operation(
    "GET", "/v{version}/files/{name}.{ext}", dict.fromkeys(("version", "name", "ext"), "path")
)
HEADERS = Operation(
    "GET",
    "/a",
    {"X-Trace": "header", "session": "cookie", "lang": "cookie", "Authorization": "header"},
)

OUTSIDE = [
    *("..", ".", "", "...", " ", ". .", "..;", "..;x=1", ";a"),
    *("%2e%2e", "%2E.", "%252e%252e", "%25252e%2e", "%2e"),
    *("a/b", "../x", "/", "a%2fb", "a%252Fb", "..%2f..", "\\", "..\\", "a%5cb", "%255c"),
    *("‥", "．．", "a／b", "℀", "＼", "。。".replace("。", "．")),
    *("a\rb", "a\nb", "a\x00b", "%0d%0a", "%00", "a\x85b", "\u2028"),
    "%25252525252525252e",
    # What some servers drop, cut off, or read in spellings of their own.
    *(".\u200b.", "..\u200d", "\xad..", "\ufe0f", ".\u2060.\u061c", "%e2%80%8b.."),
    *("%c0%ae%c0%ae", "%u002e%u002e", "..%c0%af..", "%e0%80%ae.", "%25c0%25ae", "a%c1%9cb"),
    *("..?x", "..#x", ". ?", "..%3fa=1"),
]


@pytest.mark.parametrize("value", OUTSIDE, ids=ascii)
@pytest.mark.parametrize("name", ["account", "id"])
def test_a07_a_value_that_leaves_its_segment_is_refused_by_the_parameters_name(
    name: str, value: str
) -> None:
    arguments = {"account": "me", "id": "7", name: value}
    with pytest.raises(ToolError, match=f"the parameter '{name}'"):
        DELETE.url(arguments)


@pytest.mark.parametrize(
    "value",
    [
        "7",
        "a b",
        "서울",
        "a..b",
        "..a",
        "100%",
        "a;b",
        "x.tar.gz",
        "%",
        "é",
        "#7",
        "what?",
        "\u0938\u094d\u200d\u0930",
        "%u",
        "a%c3%a9",
    ],
)
def test_a07_other_values_stay_as_they_are(value: str) -> None:
    url = DELETE.url({"account": "me", "id": value, "q": "../x\r\n&a=1"})
    parts = urlsplit(url)
    assert [unquote(part) for part in parts.path.split("/")] == [
        "",
        "accounts",
        "me",
        "items",
        value,
    ]
    assert parts.query == "q=..%2Fx%0D%0A%26a%3D1"


def test_a07_a_parameter_with_allow_reserved_takes_slashes_between_names() -> None:
    operation = Operation("GET", "/files/{path}", {"path": "path"}, slashes=frozenset({"path"}))
    assert operation.url({"path": "src/a b.py"}) == "/files/src%2Fa%20b.py"
    for value in ("src/../a", "/etc", "a//b", "a/", "a/%2e%2e/b", "a\\b", "a/.;x/b"):
        with pytest.raises(ToolError, match="'path'"):
            operation.url({"path": value})


def test_a07_a_missing_value_is_said_and_numbers_pass() -> None:
    with pytest.raises(ToolError, match="'id' is missing"):
        DELETE.url({"account": "me"})
    with pytest.raises(ToolError, match="'id' is missing"):
        DELETE.url({"account": "me", "id": None})
    assert DELETE.url({"account": 3, "id": True}) == "/accounts/3/items/true"


@pytest.mark.parametrize(
    "arguments",
    [
        {"version": "1", "name": ".", "ext": ""},
        {"version": "1", "name": "", "ext": "."},
        {"version": "1", "name": "", "ext": ""},
    ],
)
def test_a07_values_that_are_harmless_alone_make_no_dots_together(arguments: JSON) -> None:
    with pytest.raises(ToolError, match="not a segment"):
        MIXED.url(arguments)
    assert MIXED.url({"version": "1", "name": "a", "ext": ""}) == "/v1/files/a."


@given(st.text(), st.text())
def test_a07_law_whatever_the_values_the_path_keeps_its_shape(account: str, name: str) -> None:
    try:
        url = DELETE.url({"account": account, "id": name})
    except ToolError:
        return
    path = urlsplit(url).path
    for _ in range(3):
        assert path.count("/") == 4
        assert posixpath.normpath(path) == path
        path = unquote(path)


CUTS = [
    "a\r\nX-Admin: 1",
    "a\nb",
    "a\rb",
    "a\x00b",
    "a\x0bb",
    "\u010a",
    "서울",
    "a\x85b",
    "\u2028x",
]


@pytest.mark.parametrize("value", CUTS, ids=ascii)
def test_a07_headers_and_cookies_take_one_line_each(value: str) -> None:
    for name in ("X-Trace", "session"):
        with pytest.raises(ToolError, match=f"'{name}'"):
            HEADERS.headers({name: value})


@pytest.mark.parametrize("value", ["a; admin=1", "a,b", 'a"b', "a b", "a\\b"])
def test_a07_a_cookies_value_is_one_cookie(value: str) -> None:
    with pytest.raises(ToolError, match="'session'"):
        HEADERS.headers({"session": value})


def test_a07_headers_and_cookies_are_sent_and_a_key_is_no_parameter() -> None:
    given = {"X-Trace": "a b", "session": "s1", "lang": "ko", "Authorization": "Bearer x"}
    assert HEADERS.headers(given) == {"X-Trace": "a b", "Cookie": "session=s1; lang=ko"}


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "transfer-encoding", "Cookie", "X\r\nY", "a b"]
)
def test_a07_no_parameter_sets_a_header_that_frames_or_addresses(name: str) -> None:
    with pytest.raises(ToolError, match="may not set"):
        Operation("GET", "/a", {name: "header"}).headers({name: "1"})


async def test_a07_a_tool_of_a_document_reports_the_refusal_and_sends_nothing() -> None:
    sent: list[str] = []

    async def send(operation: Operation, arguments: JSON) -> Any:
        sent.append(operation.url(arguments))
        return "done"

    document = {
        "openapi": "3.1.0",
        "paths": {
            "/accounts/{account}/items/{id}": {
                "delete": {
                    "operationId": "remove",
                    "tags": ["items"],
                    "parameters": [
                        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                        for name in ("account", "id")
                    ],
                }
            }
        },
    }
    tree = ToolTree.from_openapi(document, send)
    for value in ("..", "%2e%2e", "a/b"):
        arguments = json.dumps({"account": "me", "id": value})
        result = await execute(ToolCall("c", "items.remove", arguments), tree)
        assert result.is_error
        assert "'id'" in result.text
    assert sent == []
    good = await execute(ToolCall("c", "items.remove", '{"account": "me", "id": "7"}'), tree)
    assert (good.text, sent) == ("done", ["/accounts/me/items/7"])
