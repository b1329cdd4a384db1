"""Tools of the gateway's MCP servers, for the page that tries models."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from polycall._support import jsontext
from polycall.admin.fields import Query, read
from polycall.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.observability.contents import Cleaner
from polycall.gateway.store.audit_operations import record
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.admin.administration import Call
    from polycall.gateway.mcp.service import McpService

_TOOLS_MAX = 500


class CallTool(Struct, forbid_unknown_fields=True):
    """A call; `approved` where its tool needs a person's word, and the person gave it."""

    tool: str
    arguments: JSON
    approved: bool = False


def owner_of(call: Call) -> Owner:
    """Under whose name the administrator's own requests stand in the ledger."""
    return Owner(id=call.admin.id, name=f"console: {call.admin.name}")


async def list_servers(call: Call) -> JSON:
    """The servers, what is wrong with them, and their tools."""
    Query(call.query, frozenset())
    names = list(call.gateway.config.mcp)
    if not names:
        return {"servers": [], "tools": []}
    service = await _service(call)
    tools = await service.calls.offered(owner_of(call), names)
    servers: list[JSON] = []
    for name in names:
        member = service.hub.members[name]
        own = [full for full, each in tools.items() if each.member is member]
        notices = [str(notice) for notice in member.notices]
        shown: JSON = {"name": name, "tools": len(own), "error": member.error, "notices": notices}
        servers.append(shown)
    return {
        "servers": servers,
        "tools": [
            {
                "name": full,
                "server": each.member.name,
                "description": each.tool.description,
                "parameters": each.wire.input_schema,
                "needs_approval": bool(each.tool.needs_approval),
            }
            for full, each in list(tools.items())[:_TOOLS_MAX]
        ],
    }


async def call_tool(call: Call) -> JSON:
    """Make one call; it is in the audit log, and in the ledger like a client's."""
    fields = read(CallTool, call.body)
    if not call.gateway.config.mcp:
        raise InvalidRequestError("this gateway has no MCP servers; its operator adds [mcp.NAME]")
    calls, owner = (await _service(call)).calls, owner_of(call)
    offered = await calls.find(owner, list(call.gateway.config.mcp), fields.tool)
    if offered is None:
        reason = calls.withheld(owner, fields.tool)
        raise NotFoundError(reason or f"no MCP server has a tool {fields.tool!r:.200}")
    if offered.tool.needs_approval and not fields.approved:
        raise PermissionDeniedError(
            f"{fields.tool!r} needs a person's approval; nothing was run", code="needs_approval"
        )
    detail: JSON = {"arguments": Cleaner().clean(fields.arguments), "approved": fields.approved}
    act = record(call.by, "mcp.call", fields.tool, detail, now=time.time())
    await call.gateway.store.change(act)
    from polycall.gateway.mcp.calls import CallScope  # noqa: PLC0415 - loads the protocol's library

    scope = CallScope(owner, call.request.id)
    began = time.monotonic()
    outcome = await calls.call(offered, jsontext.encode(fields.arguments), scope)
    return {
        "text": outcome.result.text,
        "is_error": outcome.result.is_error,
        "duration_ms": round((time.monotonic() - began) * 1000, 1),
    }


async def _service(call: Call) -> McpService:
    return await call.gateway.mcp.opened()
