"""The OpenAPI document: routes, keys, headers.  Bodies are the vendors' own, so they are named.

What it says of each path is in `openapi.toml`.
"""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files
from typing import Any

from polycall.ir import JSON
from polycall.voices.routes import ROUTES as SESSION_ROUTES

_TABLES = files("polycall.gateway.catalogue") / "openapi.toml"


@functools.cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_TABLES.read_text(encoding="utf-8"))


def document(administration: JSON | None = None) -> JSON:
    """The document, as served; `administration` are the paths of who administers the gateway."""
    paths: JSON = {}
    for path, (summary, name) in _tables()["generations"].items():
        paths[path] = {"post": _operation(summary, name, path, is_generation=True)}
    for path, summary in _tables()["mcp"].items():
        paths[path] = {"post": _operation(summary, f"mcp-{len(paths)}", path)}
    for path, summary in _tables()["counts"].items():
        paths[path] = {"post": _operation(summary, f"count-{len(paths)}", path)}
    for path, methods in _tables()["kept"].items():
        paths[path] = {
            method: _operation(summary, f"{method}-{len(paths)}", path)
            for method, summary in methods.items()
        }
    for path, summary in _tables()["forwarded"].items():
        paths[path] = {"post": _operation(summary, f"forward-{len(paths)}", path)}
    for path, summary in _tables()["lookups"].items():
        paths[path] = {"get": _operation(summary, f"get-{len(paths)}", path)}
    for path in SESSION_ROUTES:
        operation = _operation("a WebSocket to a realtime voice", f"session-{len(paths)}", path)
        operation["responses"] = {"101": {"description": "the protocol's frames, both ways"}}
        paths[path] = {"get": operation}
    for path, summary in _tables()["open"].items():
        operation = _operation(summary, f"open-{len(paths)}", path)
        paths[path] = {"get": {**operation, "security": []}}
    paths |= administration or {}
    schemes: JSON = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "x-goog-api-key": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
        "key": {"type": "apiKey", "in": "query", "name": "key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "polycall", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": schemes},
        "security": [{name: []} for name in schemes],
    }


def _operation(summary: str, name: str, path: str, *, is_generation: bool = False) -> JSON:
    operation: JSON = {
        "summary": summary,
        "operationId": name,
        "responses": {"200": {"description": "the answer, in the protocol's own shape"}},
    }
    parameters: list[JSON] = []
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("model", "server", "id", "item")
        if f"{{{name}}}" in path
    ]
    if is_generation:
        parameters += [
            {"name": key, "in": "header", "description": text, "schema": {"type": "string"}}
            for key, text in _tables()["request_headers"].items()
        ]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
        operation["responses"]["200"]["headers"] = {
            key: {"description": text, "schema": {"type": "string"}}
            for key, text in _tables()["response_headers"].items()
        }
        operation["responses"] |= {
            code: {"description": text} for code, text in _tables()["errors"].items()
        }
    if parameters:
        operation["parameters"] = parameters
    return operation
