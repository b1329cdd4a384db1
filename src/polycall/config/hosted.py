"""`[hosted_tools]`: what the gateway serves in the place of a vendor that runs tools itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from polycall.config.reader import Reader

# What another reader of the address may take for another host or path.
_BAD = ("..", "\\", "@", "#", "%2e", "%2f", "%5c", "%25", "%00")


class HostedToolSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`mcp_servers` are addresses of MCP servers that clients may name; one may end with `*`.

    `web_search` is an address that answers JSON: `{query}` in it is the query, and without that it
    is asked by POST.  `steps` are the model's turns for one answer, `call_s` and `connect_s`
    seconds.  `changed_tools` says what becomes of a server's tool that is not what it was when the
    key first met it.
    """

    mcp_servers: list[str] = []
    web_search: str = ""
    web_search_headers: dict[str, str] = {}
    web_search_results: int = 8
    changed_tools: str = "refuse"  # or allow
    steps: int = 20
    call_s: float = 60.0
    connect_s: float = 15.0

    def may_reach(self, url: str) -> bool:
        """Whether clients may name this MCP server."""
        if any(part in url.lower() for part in _BAD) or not (url.isascii() and url.isprintable()):
            return False
        return any(
            url.startswith(pattern[:-1]) if pattern.endswith("*") else url == pattern
            for pattern in self.mcp_servers
        )


def read_hosted_tools(reader: Reader, tables: dict[str, Any]) -> HostedToolSettings:
    """The section, checked."""
    path = ("hosted_tools",)
    settings = reader.table(HostedToolSettings, tables.get("hosted_tools", {}), path)
    if settings is None:
        return HostedToolSettings()
    reader.check_numbers(settings, path)
    for pattern in settings.mcp_servers:
        parts = urlsplit(pattern)
        if parts.scheme not in ("http", "https") or not parts.netloc or not parts.path:
            reader.note(
                (*path, "mcp_servers"),
                f"{pattern!r} is no address with a path; write 'https://mcp.example.com/*'",
            )
        elif "*" in pattern[:-1] or any(part in pattern for part in _BAD):
            reader.note((*path, "mcp_servers"), f"{pattern!r} may have one '*', at its end")
    if settings.web_search and not settings.web_search.startswith(("http://", "https://")):
        reader.note((*path, "web_search"), "must be an address: https://...")
    if settings.changed_tools not in ("refuse", "allow"):
        reader.note((*path, "changed_tools"), "is 'refuse' or 'allow'")
    headers = {
        name: reader.secret(value, (*path, "web_search_headers", name))
        for name, value in settings.web_search_headers.items()
    }
    return replace(settings, web_search_headers=headers)
