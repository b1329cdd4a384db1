"""Documents of OpenAPI and what their addresses answer: bounded by what they take to read."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polycall.agents.tree.load import openapi_operations
from polycall.errors import ToolDefinitionError, ToolError
from polycall.ir import ToolCall
from polycall.tool_server import OpenAPITools, load_document
from polycall.tools import execute, results
from tests.tool_server.test_openapi_tools import Answer, Sent

JSON_KIND = {"content-type": "application/json"}
SCHEMAS = "#/components/schemas/"


def document(paths: dict[str, Any], schemas: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": paths, "components": {"schemas": schemas or {}}}


def asking(name: str, schema: Any) -> dict[str, Any]:
    return {
        "post": {
            "operationId": name,
            "requestBody": {"content": {"application/json": {"schema": schema}}},
        }
    }


async def called(body: bytes) -> Any:
    sent = Sent()
    sent.answer = Answer(200, JSON_KIND, body)
    made = OpenAPITools(
        document({"/get": {"get": {"operationId": "get"}}}), "http://x", transport=sent
    )
    return await made["get"].run({}, None)  # pyright: ignore[reportArgumentType]


HEAVY = {
    "lists": b"[%b[]]" % (b"[]," * 200_000),
    "objects": b'[%b{"a":1}]' % (b'{"a":1},' * 110_000),
    "numbers": b"[%b1]" % (b"1," * 510_000),
    "texts": b'{"a":[%b""]}' % (b'"",' * 510_000),
}


@pytest.mark.parametrize("case", HEAVY)
async def test_a20_an_answer_of_too_many_values_fails_its_call(case: str) -> None:
    with pytest.raises(ToolError, match="GET /get answered more than can be taken"):
        await called(HEAVY[case])


async def test_a_long_answer_of_few_values_is_taken() -> None:
    assert await called(b'{"a":"%b"}' % (b"[" * 1_000_000)) == {"a": "[" * 1_000_000}


@pytest.mark.parametrize(
    "value", [[[]] * 5000, [{"a": 1}] * 5000, ["x"] * 5000, [None, True, 1.5] * 2000, {"a": [[]]}]
)
def test_plain_data_is_not_asked_whether_it_is_a_picture(
    monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    asked: list[Any] = []

    class Protocol(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            asked.append(instance)
            return False

    class Picture(metaclass=Protocol):
        pass

    monkeypatch.setattr(results, "_DisplaysPNG", Picture)
    monkeypatch.setattr(results, "_Picture", Picture)
    assert json.loads(results.result_parts(value)[0].text) == value  # pyright: ignore
    assert asked == []


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a20_long_arguments_are_checked_in_a_thread(size: int) -> None:
    sent = Sent()
    body = {"type": "array", "items": {"type": "integer"}}
    made = OpenAPITools(document({"/p": asking("p", body)}), "http://x", transport=sent)
    inner, threads = made["p"].check, set[str]()

    def check(arguments_json: str) -> Any:
        threads.add(threading.current_thread().name)
        return inner(arguments_json)

    object.__setattr__(made["p"], "check", check)
    arguments = json.dumps({"body": [1] * size})
    assert not (await execute(ToolCall("c", "p", arguments), made)).is_error
    assert (threading.main_thread().name in threads) == (size == 10)


# Documents


def counting_moves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many components are made of how many."""
    from polycall.agents.tree import load

    made: list[int] = []
    inner = load._Schemas._moved

    def moved(self: Any, schema: Any) -> Any:
        made.append(1)
        return inner(self, schema)

    monkeypatch.setattr(load._Schemas, "_moved", moved)
    return made


def test_a20_a_schema_of_many_operations_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counting_moves(monkeypatch)
    chain: dict[str, Any] = {
        f"S{n}": {"properties": {"next": {"$ref": f"{SCHEMAS}S{n + 1}"}}} for n in range(300)
    }
    chain["S300"] = {"properties": {"first": {"$ref": f"{SCHEMAS}S0"}}}
    paths = {f"/p{n}": asking(f"p{n}", {"$ref": f"{SCHEMAS}S0"}) for n in range(50)}
    found = openapi_operations(document(paths, chain), Sent())  # pyright: ignore[reportArgumentType]
    assert len(made) == 50 + 301
    for each in found:
        assert list(each.tool.parameters["$defs"]) == [f"S{n}" for n in range(301)]
        assert each.tool.parameters["properties"]["body"] == {"$ref": "#/$defs/S0"}


def test_a20_operations_of_long_parameters_are_left_out() -> None:
    long = {"type": "object", "description": "x" * 5000}
    schemas = {"L": long, "A": {"properties": {"a": {"$ref": f"{SCHEMAS}L"}}}, "S": {}}
    paths = {f"/{name}": asking(name, {"$ref": f"{SCHEMAS}{name}"}) for name in ("L", "A", "S")}
    made = OpenAPITools(document(paths, schemas), "http://x", definition_bytes_max=4000)
    assert list(made.tools) == ["S"]
    assert made.left_out == ["POST /A", "POST /L"]
    assert len(OpenAPITools(document(paths, schemas), "http://x").tools) == 3


def test_a20_a_document_has_at_most_ten_thousand_operations() -> None:
    paths = {f"/p{n}": {"get": {}, "put": {}} for n in range(5001)}
    with pytest.raises(ToolDefinitionError, match="more than 10,000 operations"):
        openapi_operations(document(paths), Sent())  # pyright: ignore[reportArgumentType]


def yaml_of(levels: int) -> bytes:
    lines = ["openapi: 3.1.0", "paths: {}", "a0: &a0 [x]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    return "\n".join(lines).encode()


BAD: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b'{"a":[%b[]]}' % (b"[]," * 300_000),
    "numbers": lambda: b'{"a":[%b1]}' % (b"1," * 1_100_000),
    "long YAML": lambda: b"a: " + b"x" * 3_000_000,
    "aliases": lambda: yaml_of(9),
    "deep": lambda: b"[" * 100_000,
    "deep YAML": lambda: b"a: " + b"[" * 3000,
}


@pytest.mark.parametrize("case", BAD)
async def test_a20_a_document_from_elsewhere_is_refused_before_it_is_made(
    case: str, tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    sent = Sent()
    sent.answer = Answer(200, JSON_KIND, BAD[case]())
    with pytest.raises(ToolDefinitionError, match="http://x/openapi"):
        await asyncio.wait_for(load_document("http://x/openapi", tmp_path, sent), 60)


async def test_a_file_is_the_operators_own(tmp_path: Path) -> None:
    lists = b'{"openapi":"3.1.0","x":[%b[]]}' % (b"[]," * 300_000)
    (tmp_path / "a.json").write_bytes(lists)
    assert len((await load_document("a.json", tmp_path, Sent()))["x"]) == 300_001
