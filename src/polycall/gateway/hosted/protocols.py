"""Hosted tools in clients' protocols: their declarations, and the parts that show their calls."""

from __future__ import annotations

import base64
import secrets
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from polycall.errors import MalformedRequestError, UnsupportedError
from polycall.gateway.hosted.compaction import CompactionSpec, asked_compaction
from polycall.gateway.hosted.web_search import Found, SearchSpec
from polycall.ir import JSON, Opaque, Part, Request, Tool, ToolCall, ToolResult

_RESPONSES, _ANTHROPIC = "openai-responses", "anthropic"


class McpSpec(Struct, frozen=True):
    """An MCP server as a request names it.  `allowed` are its tools, `None` for all."""

    label: str
    url: str
    headers: dict[str, str] = {}
    allowed: frozenset[str] | None = None
    blocked: frozenset[str] = frozenset()
    is_read_only: bool = False  # only tools that say they change nothing
    asks: bool = False  # for the client's consent, before every call
    asks_for: frozenset[str] = frozenset()
    never_asks_for: frozenset[str] = frozenset()

    def offers(self, name: str, *, is_read_only: bool) -> bool:
        """Whether the model may be offered a tool."""
        if name in self.blocked or (self.is_read_only and not is_read_only):
            return False
        return self.allowed is None or name in self.allowed

    def needs_consent(self, name: str) -> bool:
        """Whether a call of the tool waits for the client."""
        if name in self.asks_for:
            return True
        return self.asks and name not in self.never_asks_for


class Plan(Struct, frozen=True):
    """The parts of a request that are served here, and the request without them."""

    request: Request
    servers: list[McpSpec]
    search: SearchSpec | None = None
    compaction: CompactionSpec | None = None


class HostedProtocol(Protocol):
    """One client's protocol."""

    def plan(self, request: Request, *, has_mcp: bool, has_search: bool) -> Plan:
        """The parts of the request that are served here."""
        ...

    def listed(self, spec: McpSpec, definitions: list[JSON]) -> list[Part]:
        """The parts that show the client a server's tools."""
        ...

    def ran(
        self, spec: McpSpec, tool: str, call: ToolCall, result: ToolResult, *, consent: str = ""
    ) -> list[Part]:
        """The parts that show the client a call; `consent` is the request that it gave it to."""
        ...

    def asked(self, spec: McpSpec, tool: str, call: ToolCall, name: str) -> list[Part]:
        """The parts that ask the client before a call."""
        ...

    def compacted(self, summary: str, sealed: str) -> list[Part]:
        """The parts that show the client a summary; `sealed` is it for its key alone."""
        ...

    def searched(self, query: str, found: list[Found], error: str) -> list[Part]:
        """The parts that show the client a search."""
        ...


def _definition(tool: Tool, dialect: str) -> JSON:
    return tool.metadata.get(dialect, {}).get("definition", {}) if tool.kind == "hosted" else {}


def _names(value: Any) -> frozenset[str]:
    """Names of tools, in a list or an object with one."""
    if isinstance(value, dict):
        value = value.get("tool_names")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    items: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    return frozenset(item for item in items if isinstance(item, str))


def _object(value: Any) -> JSON:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise MalformedRequestError("expected text", path=path)
    return value


class ResponsesHosted:
    """OpenAI's Responses: `mcp` and `web_search` tools, items of their own."""

    def plan(self, request: Request, *, has_mcp: bool, has_search: bool) -> Plan:
        servers: list[McpSpec] = []
        search: SearchSpec | None = None
        kept: list[Tool] = []
        for position, tool in enumerate(request.tools):
            definition = _definition(tool, _RESPONSES)
            kind = str(definition.get("type", ""))
            if kind == "mcp" and has_mcp:
                servers.append(self._spec(definition, f"tools[{position}]"))
            elif kind.startswith("web_search") and has_search:
                filters: Any = definition.get("filters") or {}
                search = SearchSpec(
                    "web_search", _names(filters.get("allowed_domains") if filters else None)
                )
            else:
                kept.append(tool)
        request, compaction = asked_compaction(replace(request, tools=kept), _RESPONSES)
        return Plan(request, servers, search, compaction)

    def _spec(self, definition: JSON, path: str) -> McpSpec:
        label = _text(definition.get("server_label"), f"{path}.server_label")
        if definition.get("connector_id"):
            raise UnsupportedError(
                "connectors are OpenAI's own servers; name a server by 'server_url'",
                feature="connector_id",
                path=f"{path}.connector_id",
            )
        headers = {name: str(value) for name, value in _object(definition.get("headers")).items()}
        if token := definition.get("authorization"):
            headers["Authorization"] = f"Bearer {token}"
        allowed: Any = definition.get("allowed_tools")
        asks: Any = definition.get("require_approval", "always")
        always = asks.get("always") if isinstance(asks, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        never = asks.get("never") if isinstance(asks, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return McpSpec(
            label,
            _text(definition.get("server_url"), f"{path}.server_url"),
            headers,
            allowed=_names(allowed) if allowed else None,
            is_read_only=isinstance(allowed, dict) and allowed.get("read_only") is True,  # pyright: ignore[reportUnknownMemberType]
            asks=asks != "never" and not (isinstance(asks, dict) and always is not None),
            asks_for=_names(always),
            never_asks_for=_names(never),
        )

    def listed(self, spec: McpSpec, definitions: list[JSON]) -> list[Part]:
        tools = [
            {
                "name": each["name"],
                "description": each.get("description"),
                "input_schema": each.get("inputSchema", {}),
                "annotations": each.get("annotations"),
            }
            for each in definitions
        ]
        return [_item("mcpl", "mcp_list_tools", server_label=spec.label, tools=tools)]

    def ran(
        self, spec: McpSpec, tool: str, call: ToolCall, result: ToolResult, *, consent: str = ""
    ) -> list[Part]:
        error = (
            {"type": "tool_execution_error", "content": result.text} if result.is_error else None
        )
        return [
            _item(
                *("mcp", "mcp_call"),
                server_label=spec.label,
                name=tool,
                arguments=call.arguments_json,
                output=None if result.is_error else result.text,
                error=error,
                approval_request_id=consent or None,
                status="failed" if result.is_error else "completed",
            )
        ]

    def asked(self, spec: McpSpec, tool: str, call: ToolCall, name: str) -> list[Part]:
        data: JSON = {"id": name, "type": "mcp_approval_request", "server_label": spec.label}
        data.update(name=tool, arguments=call.arguments_json)
        return [Opaque(_RESPONSES, "mcp_approval_request", data)]

    def compacted(self, summary: str, sealed: str) -> list[Part]:
        del summary
        return [_item("cmp", "compaction", encrypted_content=sealed)]

    def searched(self, query: str, found: list[Found], error: str) -> list[Part]:
        sources = [{"type": "url", "url": each.url} for each in found]
        action = {"type": "search", "query": query, "queries": [query], "sources": sources}
        status = "failed" if error else "completed"
        return [_item("ws", "web_search_call", status=status, action=action)]


def _item(prefix: str, kind: str, **fields: Any) -> Opaque:
    data: JSON = {"id": f"{prefix}_{secrets.token_hex(16)}", "type": kind, **fields}
    return Opaque(_RESPONSES, kind, data)


class AnthropicHosted:
    """Anthropic's Messages: `mcp_servers` and `web_search_*`, blocks in the model's turn."""

    def plan(self, request: Request, *, has_mcp: bool, has_search: bool) -> Plan:
        options = request.provider_options.get(_ANTHROPIC, {})
        named: list[Any] = options.get("mcp_servers") or []
        servers: list[McpSpec] = []
        search: SearchSpec | None = None
        kept: list[Tool] = []
        sets: dict[str, JSON] = {}
        for tool in request.tools:
            definition = _definition(tool, _ANTHROPIC)
            kind = str(definition.get("type", ""))
            if kind == "mcp_toolset" and has_mcp:
                sets[str(definition.get("mcp_server_name"))] = definition
            elif kind.startswith("web_search_") and has_search:
                search = SearchSpec(
                    str(definition.get("name") or "web_search"),
                    _names(definition.get("allowed_domains")),
                    _names(definition.get("blocked_domains")),
                    definition.get("max_uses"),
                )
            else:
                kept.append(tool)
        if has_mcp:
            servers = [
                self._spec(each, sets, f"mcp_servers[{position}]")
                for position, each in enumerate(named)
            ]
            options = {key: value for key, value in options.items() if key != "mcp_servers"}
        request = replace(
            request,
            tools=kept,
            provider_options={**request.provider_options, _ANTHROPIC: options},
        )
        request, compaction = asked_compaction(request, _ANTHROPIC)
        return Plan(request, servers, search, compaction)

    def _spec(self, server: Any, sets: dict[str, JSON], path: str) -> McpSpec:
        if not isinstance(server, dict):
            raise MalformedRequestError("expected an object", path=path)
        given: JSON = server  # pyright: ignore[reportUnknownVariableType]
        name = _text(given.get("name"), f"{path}.name")
        headers: dict[str, str] = {}
        if token := given.get("authorization_token"):
            headers["Authorization"] = f"Bearer {token}"
        chosen: JSON = sets.get(name) or {}
        configs = _object(chosen.get("configs"))
        default = _object(chosen.get("default_config"))
        old = _object(given.get("tool_configuration"))
        enabled = {key for key in configs if _object(configs[key]).get("enabled") is True}
        allowed: frozenset[str] | None = None
        if default.get("enabled") is False or old.get("enabled") is False:
            allowed = frozenset(enabled)
        elif old.get("allowed_tools"):
            allowed = _names(old["allowed_tools"])
        off = {key for key in configs if _object(configs[key]).get("enabled") is False}
        url = _text(given.get("url"), f"{path}.url")
        return McpSpec(name, url, headers, allowed=allowed, blocked=frozenset(off))

    def listed(self, spec: McpSpec, definitions: list[JSON]) -> list[Part]:
        del spec, definitions
        return []

    def ran(
        self, spec: McpSpec, tool: str, call: ToolCall, result: ToolResult, *, consent: str = ""
    ) -> list[Part]:
        del consent
        name = f"mcptoolu_{secrets.token_hex(12)}"
        used: JSON = {"type": "mcp_tool_use", "id": name, "name": tool}
        used.update(server_name=spec.label, input=call.arguments or {})
        content = [{"type": "text", "text": result.text}]
        gave: JSON = {"type": "mcp_tool_result", "tool_use_id": name}
        gave.update(is_error=result.is_error, content=content)
        return [
            Opaque(_ANTHROPIC, "mcp_tool_use", used),
            Opaque(_ANTHROPIC, "mcp_tool_result", gave),
        ]

    def asked(self, spec: McpSpec, tool: str, call: ToolCall, name: str) -> list[Part]:
        raise AssertionError("this protocol asks for no consent")

    def compacted(self, summary: str, sealed: str) -> list[Part]:
        del sealed
        return [Opaque(_ANTHROPIC, "compaction", {"type": "compaction", "content": summary})]

    def searched(self, query: str, found: list[Found], error: str) -> list[Part]:
        name = f"srvtoolu_{secrets.token_hex(12)}"
        used: JSON = {"type": "server_tool_use", "id": name, "name": "web_search"}
        used["input"] = {"query": query}
        content: Any = [
            {
                "type": "web_search_result",
                "title": each.title,
                "url": each.url,
                "page_age": None,
                "encrypted_content": base64.b64encode(each.text.encode()).decode(),
            }
            for each in found
        ]
        if error:
            content = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
        gave: JSON = {"type": "web_search_tool_result", "tool_use_id": name, "content": content}
        return [
            Opaque(_ANTHROPIC, "server_tool_use", used),
            Opaque(_ANTHROPIC, "web_search_tool_result", gave),
        ]


PROTOCOLS: dict[str, HostedProtocol] = {
    _RESPONSES: ResponsesHosted(),
    _ANTHROPIC: AnthropicHosted(),
}
