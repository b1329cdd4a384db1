"""A search of the web at the operator's address: SearXNG, Brave, Tavily, or any that answers so."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from polycall._support import jsontext
from polycall._support.urls import parts_of
from polycall.config.hosted import HostedToolSettings
from polycall.errors import PolycallError
from polycall.ir import Text, Tool, ToolCall, ToolResult
from polycall.transport.base import Deadlines, HTTPRequest, Transport

_BYTES_MAX = 4 * 2**20
_TEXT_CHARS_MAX = 2000
_LISTS = ("results", "web", "organic", "organic_results", "items", "data")
_TITLES, _URLS = ("title", "name"), ("url", "link", "href")
_TEXTS = ("content", "description", "snippet", "text", "summary")


class SearchSpec(Struct, frozen=True):
    """A search tool as a request declares it."""

    name: str = "web_search"
    allowed_domains: frozenset[str] = frozenset()
    blocked_domains: frozenset[str] = frozenset()
    uses_max: int | None = None

    def takes(self, url: str) -> bool:
        """Whether results of this address may be shown."""
        host = (parts_of(url).hostname or "").lower()

        def is_of(domain: str) -> bool:
            domain = domain.lower().partition("/")[0]
            return host == domain or host.endswith(f".{domain}")

        if any(map(is_of, self.blocked_domains)):
            return False
        return not self.allowed_domains or any(map(is_of, self.allowed_domains))


class Found(Struct, frozen=True):
    """One result."""

    title: str
    url: str
    text: str


def search_tool(spec: SearchSpec) -> Tool:
    """The function that the model is offered."""
    query = {"type": "string", "description": "What to look for, as one types it."}
    parameters = {"type": "object", "properties": {"query": query}, "required": ["query"]}
    return Tool(spec.name, "Search the web; gives titles, addresses and excerpts.", parameters)


@dataclass(eq=False, repr=False)
class WebSearch:
    """The searches of one answer."""

    spec: SearchSpec
    settings: HostedToolSettings
    transport: Transport

    def __post_init__(self) -> None:
        self._uses = 0

    @property
    def name(self) -> str:
        """The model's name for it."""
        return self.spec.name

    async def run(self, call: ToolCall) -> tuple[ToolResult, str, list[Found], str]:
        """The result for the model; and the query, what was found, and what went wrong."""
        query = (call.arguments or {}).get("query")
        error, found = "", list[Found]()
        if not isinstance(query, str) or not query.strip():
            query, error = "", "the query is missing; nothing was searched"
        elif self.spec.uses_max is not None and self._uses >= self.spec.uses_max:
            error = f"at most {self.spec.uses_max} searches are allowed; answer with what is there"
        else:
            self._uses += 1
            try:
                found = await self._found(query)
            except PolycallError as failure:
                error = f"the search failed: {failure}"[:300]
        text = error or _shown(found)
        result = ToolResult(call.id, [Text(text)], is_error=bool(error), name=call.name)
        return result, query, found, error

    async def _found(self, query: str) -> list[Found]:
        settings = self.settings
        headers = {"accept": "application/json", **settings.web_search_headers}
        url = settings.web_search
        if "{query}" in url:
            request = HTTPRequest(url.replace("{query}", quote(query)), headers, method="GET")
        else:
            headers["content-type"] = "application/json"
            request = HTTPRequest(url, headers, jsontext.encode_bytes({"query": query}))
        deadlines = Deadlines(settings.connect_s, settings.call_s, settings.call_s)
        http = await self.transport.open(request, deadlines)
        try:
            data = await http.read(size_bytes_max=_BYTES_MAX)
        finally:
            await http.close()
        if http.status != 200:
            raise PolycallError(f"the search engine answered with status {http.status}")
        try:
            value = jsontext.decode(data)
        except ValueError:
            raise PolycallError("the search engine did not answer with JSON") from None
        found = [each for each in _results(value) if self.spec.takes(each.url)]
        return found[: settings.web_search_results]


def _results(value: Any) -> list[Found]:
    """The results, wherever an engine puts them."""
    if isinstance(value, dict):
        for name in _LISTS:
            inner: Any = value.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if inner and (found := _results(inner)):
                return found
        return []
    entries: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    return [
        Found(_first(entry, _TITLES), url, _first(entry, _TEXTS)[:_TEXT_CHARS_MAX])
        for entry in entries
        if isinstance(entry, dict) and (url := _first(entry, _URLS))
    ]


def _first(entry: Any, names: tuple[str, ...]) -> str:
    return next((entry[name] for name in names if isinstance(entry.get(name), str)), "")


def _shown(found: list[Found]) -> str:
    if not found:
        return "nothing was found"
    day = time.strftime("%Y-%m-%d", time.gmtime())
    entries = [f"{each.title}\n{each.url}\n{each.text}".strip() for each in found]
    return f"Results of {day}:\n\n" + "\n\n".join(entries)
