"""The parts of the protocol's library that it does not promise to keep, and who uses them.

Another version that has one no more is told here, by the part and the place.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from anyio import create_memory_object_stream
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import StreamableHTTPTransport
from mcp.server.session import ServerSession

import polycall
from polycall.mcp import OAuth
from polycall.mcp.http_transport import HttpTransport
from polycall.mcp.sign_in import SignIn

SRC = Path(polycall.__file__).parent
STREAMS = "mcp.client._transport"
# By the place: the owner of each part, and its names; what is made anew there has the same name.
USED: dict[str, dict[str, list[str]]] = {
    "mcp/guard.py": {
        "AsyncHTTPTransport": ["_pool"],
        "AsyncHTTPTransport._pool": ["_network_backend"],
    },
    "mcp/http_transport.py": {
        "StreamableHTTPTransport": [
            *("_in_flight_posts", "_prepare_headers", "_resolve_abandoned_request"),
            *("_handle_post_request", "_handle_json_response", "_handle_sse_event"),
            "_handle_reconnection",
        ],
        STREAMS: ["TransportStreams"],
        "mcp.shared._context_streams": ["create_context_streams"],
        "mcp.shared._httpx_utils": ["sse_within_origin"],
    },
    "mcp/open_requests.py": {STREAMS: ["TransportStreams"]},
    "mcp/process.py": {STREAMS: ["TransportStreams", "ReadStream"]},
    "mcp/pieces.py": {
        "ClientSession": [
            *("_dispatcher", "_absorb_tool_listing", "_x_mcp_header_maps", "_tool_output_schemas"),
        ],
        "mcp.client.session": ["_later_revision_fields"],
    },
    "mcp/sign_in.py": {
        "OAuthClientProvider": [
            *("_initialized", "_initialize", "_add_auth_header", "_perform_authorization"),
            *("_refresh_token", "_handle_refresh_response"),
        ],
    },
    "mcp/stdio.py": {
        STREAMS: ["TransportStreams"],
        "mcp.client.stdio": [
            *("_create_platform_compatible_process", "_get_executable_command"),
            *("_stop_server_process", "_drain_stdout"),
        ],
    },
    "mcp/tasks.py": {"ClientSession": ["_dispatcher", "_stamp"]},
    "gateway/mcp/log_messages.py": {"ServerSession": ["_connection"]},
    "gateway/mcp/subscriptions.py": {"ServerSession": ["_connection"]},
}
FOLDERS = ("mcp", "gateway/mcp", "tool_server")


def owner_of(name: str) -> Any:
    """A module, or something whose attributes are those of the class."""
    match name:
        case "ClientSession":
            writing, reading = create_memory_object_stream[Any](0)
            with writing, reading:
                return ClientSession(reading, writing)
        case "OAuthClientProvider":
            return OAuth().auth("https://h/mcp")
        case "StreamableHTTPTransport":
            return StreamableHTTPTransport("https://h/mcp")
        case "ServerSession":
            named = re.findall(r"self\.(_\w+) = ", inspect.getsource(ServerSession.__init__))
            return SimpleNamespace(**dict.fromkeys(named))
        case "AsyncHTTPTransport":
            return httpx2.AsyncHTTPTransport()
        case "AsyncHTTPTransport._pool":
            return vars(httpx2.AsyncHTTPTransport())["_pool"]
        case _:
            return importlib.import_module(name)


PARTS = [
    (place, owner, part)
    for place, owners in USED.items()
    for owner, parts in owners.items()
    for part in parts
]


@pytest.mark.parametrize(("place", "owner", "part"), PARTS)
def test_the_library_has_the_part_and_the_place_uses_it(place: str, owner: str, part: str) -> None:
    assert hasattr(owner_of(owner), part), f"{owner} has no {part!r} any more: see {place}"
    assert part in (SRC / place).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "ours", "library"),
    [
        ("mcp/http_transport.py", HttpTransport, StreamableHTTPTransport),
        ("mcp/sign_in.py", SignIn, OAuthClientProvider),
    ],
)
def test_what_is_made_anew_is_the_librarys(place: str, ours: type, library: type) -> None:
    named = {name for name in vars(ours) if re.match("_[a-z]", name)}
    assert {each for each in named if callable(getattr(library, each, None))} <= named_at(place)


@pytest.mark.parametrize(
    "place",
    [str(each.relative_to(SRC)) for name in FOLDERS for each in sorted((SRC / name).glob("*.py"))],
)
def test_no_other_part_is_used(place: str) -> None:
    """Whatever has a name of the library's own, and none that the same file gives."""
    text = (SRC / place).read_text(encoding="utf-8")
    tree = list(ast.walk(ast.parse(text)))
    given = {each for node in tree for each in _given(node)}
    used = {node.attr for node in tree if isinstance(node, ast.Attribute)}
    hidden = {name for name in used if re.match("_[a-z]", name)} - given - {"_replace"}
    modules = {
        node.module
        for node in tree
        if isinstance(node, ast.ImportFrom) and re.match(r"mcp\.(\w+\.)*_", node.module or "")
    }
    assert hidden | modules <= named_at(place) | USED.get(place, {}).keys()


def _given(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.Attribute(ctx=ast.Store()) if ast.unparse(node.value) in ("self", "made"):
            yield node.attr
        case _:
            pass


def named_at(place: str) -> set[str]:
    return {name for names in USED.get(place, {}).values() for name in names}


def test_only_the_minor_version_that_was_tried_is_taken() -> None:
    text = (SRC.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    wanted = tomllib.loads(text)["project"]["optional-dependencies"]["mcp"]
    major, minor = version("mcp").split(".")[:2]
    assert wanted == [f"mcp>={major}.{minor},<{major}.{int(minor) + 1}"]
