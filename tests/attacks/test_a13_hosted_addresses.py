"""A13: an MCP server that a client names is below the address that the operator listed."""

from __future__ import annotations

import pytest

from polycall.config.hosted import HostedToolSettings

SETTINGS = HostedToolSettings(
    mcp_servers=["https://mcp.example.com/team/*", "https://b.example/mcp"]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example.com/team/%2e%2e/admin",
        "https://mcp.example.com/team/.%2E/admin",
        "https://mcp.example.com/team/..%2Fadmin",
        "https://mcp.example.com/team/x%2f%2e%2e%2fadmin",
        "https://mcp.example.com/team/%252e%252e/admin",
        "https://mcp.example.com/team/%5c..%5cadmin",
        "https://mcp.example.com/team/\uff0e\uff0e/admin",
        "https://mcp.example.com/team/a%00b",
        "https://mcp.example.com/team/\tx",
        "https://mcp.example.com.evil.example/team/x",
        "https://mcp.example.com@evil.example/team/x",
        "HTTPS://MCP.EXAMPLE.COM/team/x",
        "https://b.example/mcp/",
        "https://b.example/mcp?x=1",
        "http://b.example/mcp",
    ],
)
def test_a13_no_other_spelling_leaves_the_listed_path(url: str) -> None:
    assert not SETTINGS.may_reach(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example.com/team/x?key=a%20b",
        "https://mcp.example.com/team/",
        "https://b.example/mcp",
    ],
)
def test_what_is_listed_is_reached(url: str) -> None:
    assert SETTINGS.may_reach(url)
