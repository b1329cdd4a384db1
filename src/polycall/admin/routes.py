"""All routes of the administration: method, path, role, and what OpenAPI says of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct, json
from msgspec.structs import replace

from polycall.admin import contents, ledger, openid, providers, runs, tools
from polycall.admin.fields import KeyFields, Query, checked_name, read
from polycall.admin.keys import GRACE_S, KeyAdministration
from polycall.admin.people import (
    checked_role,
    cookie,
    make_admin,
    make_link,
    new_admin_key,
    session_of,
)
from polycall.errors import NotFoundError
from polycall.gateway.store import AdminRow
from polycall.gateway.store import admin_operations as operations
from polycall.gateway.store.audit_operations import check, entries, record
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.admin.administration import Call

_AUDIT_MAX = 200
_NUMBERS_MAX = 2**53  # of acts; what every database and JSON reader takes
# What of an administrator's own request is nothing to a provider.
_OWN_HEADERS = (b"authorization", b"cookie", b"x-polycall-csrf", b"origin", b"referer")


class SignIn(Struct, forbid_unknown_fields=True):
    """The secret of a link."""

    link: str


class AdminFields(Struct, forbid_unknown_fields=True):
    """A new administrator; with `key`, one that programs can use."""

    name: str
    role: str
    key: bool = False


class RotateFields(Struct, forbid_unknown_fields=True):
    """The fields of a rotation: for how many seconds the old secret still works."""

    grace_s: float = GRACE_S


class Nothing(Struct, forbid_unknown_fields=True):
    """No fields."""


async def _sign_in(call: Call) -> JSON:
    link = read(SignIn, call.body).link
    admin, session = await call.people.sign_in(call.request, link, call.settings)
    call.headers.append((b"set-cookie", cookie(call.settings, session)))
    return {"name": admin.name, "role": admin.role}


async def _ways_in(call: Call) -> JSON:
    Query(call.query, frozenset())
    found = call.settings.openid
    return {"openid": None if found is None else found.label}


async def _sign_out(call: Call) -> JSON:
    await call.people.sign_out(call.request, call.settings, call.by)
    call.headers.append((b"set-cookie", cookie(call.settings, b"")))
    return {"status": "signed out"}


async def _me(call: Call) -> JSON:
    shown: JSON = {"name": call.admin.name, "role": call.admin.role, "via": call.by.via}
    if call.by.via == "session":
        shown["csrf"] = call.people.csrf(session_of(call.request, call.settings))
    return shown


def _keys(call: Call) -> KeyAdministration:
    return KeyAdministration(call.gateway.store, call.by)


async def _list_keys(call: Call) -> JSON:
    configured: list[JSON] = [
        {
            "name": key.name,
            "status": "in the configuration",
            "models": list(key.models),
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_minute": key.tokens_per_minute,
            "budget_usd": None if key.budget_usd is None else f"{key.budget_usd:f}",
            "budget_per": key.budget_per,
            "expires": key.expires,
        }
        for key in call.gateway.config.keys
    ]
    return {"keys": await _keys(call).list(), "configured": configured}


async def _create_key(call: Call) -> JSON:
    return await _keys(call).create(read(KeyFields, call.body))


async def _show_key(call: Call) -> JSON:
    return await _keys(call).show(call.names["key"])


async def _limit_key(call: Call) -> JSON:
    return await _keys(call).limit(call.names["key"], read(KeyFields, call.body))


async def _rotate_key(call: Call) -> JSON:
    return await _keys(call).rotate(call.names["key"], read(RotateFields, call.body).grace_s)


async def _revoke_key(call: Call) -> JSON:
    read(Nothing, call.body)
    return await _keys(call).revoke(call.names["key"])


async def _list_teams(call: Call) -> JSON:
    return {"teams": await _keys(call).teams()}


async def _create_team(call: Call) -> JSON:
    return await _keys(call).create_team(read(KeyFields, call.body))


async def _limit_team(call: Call) -> JSON:
    return await _keys(call).change_team(call.names["team"], read(KeyFields, call.body))


async def _end_team(call: Call) -> JSON:
    read(Nothing, call.body)
    return await _keys(call).end_team(call.names["team"])


def admin_json(row: AdminRow) -> JSON:
    """An administrator as JSON."""
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "prefix": row.prefix,
        "created": row.created,
        "revoked": row.revoked,
    }


async def _list_admins(call: Call) -> JSON:
    rows = await call.gateway.store.look_up(operations.admins())
    return {"admins": [admin_json(row) for row in rows]}


async def _create_admin(call: Call) -> JSON:
    fields = read(AdminFields, call.body)
    store, name = call.gateway.store, checked_name(fields.name)
    row = await make_admin(store, name, checked_role(fields.role), call.by)
    if not fields.key:
        return {**admin_json(row), "link": await make_link(store, row, call.by)}
    key, digest, prefix = new_admin_key()
    operation = operations.set_admin_key(row.id, digest, prefix)
    row = await store.act(operation, call.by, "admin.key", name, {"prefix": prefix})
    return {**admin_json(row), "key": key}


async def _revoke_admin(call: Call) -> JSON:
    read(Nothing, call.body)
    operation = operations.revoke_admin(call.names["admin"], time.time())
    store = call.gateway.store
    row = await store.act(operation, call.by, "admin.revoke", call.names["admin"], {})
    return admin_json(row)


async def _audit(call: Call) -> JSON:
    query = Query(call.query, frozenset({"before", "limit"}))
    before = query.count("before", _NUMBERS_MAX, _NUMBERS_MAX)
    rows = await call.gateway.store.look_up(entries(before, query.count("limit", 50, _AUDIT_MAX)))
    shown = [row._asdict() for row in rows]
    return {"acts": shown, "next": rows[-1].number if rows and rows[-1].number > 1 else None}


async def _check_audit(call: Call) -> JSON:
    problem = await call.gateway.store.ask(call.admin.id, check)
    return {"whole": not problem, "problem": problem}


async def _try(call: Call) -> JSON:
    for name in _OWN_HEADERS:
        call.request.headers.pop(name, None)
    act = record(call.by, "try", call.names["rest"], {}, now=time.time())
    await call.gateway.store.change(act)
    if not await call.gateway.generate(call.request, call.names["rest"], tools.owner_of(call)):
        raise NotFoundError(
            f"nothing generates at {call.names['rest']!r:.200}; try /v1/chat/completions",
            code="unknown_url",
        )
    return {}


class Route(Struct, frozen=True):
    """One route.  `role` is the least that may use it; empty for those who sign in."""

    method: str
    path: str
    role: str
    handler: Callable[[Any], Awaitable[Any]]
    summary: str
    body: type[Struct] | None = None
    query: tuple[str, ...] = ()
    streams: bool = False  # the handler answers by itself


_HEAD = "/admin/v1"
_ROUTES = (
    Route("POST", "/sign-in", "", _sign_in, "turn a link into a session", SignIn),
    Route("GET", "/sign-in", "", _ways_in, "how people sign in here"),
    Route(
        "GET",
        "/openid/begin",
        "",
        openid.begin,
        "send the browser to the provider of OpenID Connect",
        streams=True,
    ),
    Route(
        "GET",
        openid.CALLBACK.removeprefix(_HEAD),
        "",
        openid.callback,
        "take who comes back from the provider",
        query=("code", "state", "iss", "error", "error_description"),
        streams=True,
    ),
    Route("POST", "/sign-out", "reader", _sign_out, "end the session"),
    Route("GET", "/me", "reader", _me, "who is signed in, and the token for changes"),
    Route("GET", "/keys", "reader", _list_keys, "clients' keys"),
    Route("POST", "/keys", "operator", _create_key, "make a key, shown once", KeyFields),
    Route("GET", "/keys/{key}", "reader", _show_key, "one key and what it has spent"),
    Route("PATCH", "/keys/{key}", "operator", _limit_key, "change limits of a key", KeyFields),
    Route("POST", "/keys/{key}/rotate", "operator", _rotate_key, "a new secret", RotateFields),
    Route("POST", "/keys/{key}/revoke", "operator", _revoke_key, "end a key for good", Nothing),
    Route("GET", "/teams", "reader", _list_teams, "teams and what they have spent"),
    Route("POST", "/teams", "operator", _create_team, "make a team", KeyFields),
    Route("PATCH", "/teams/{team}", "operator", _limit_team, "change limits", KeyFields),
    Route("POST", "/teams/{team}/end", "operator", _end_team, "end a team", Nothing),
    Route(
        "GET",
        "/requests",
        "reader",
        ledger.search_requests,
        "search the ledger, newest first; `next` is the cursor of the next page",
        query=ledger.SEARCH_FIELDS,
    ),
    Route("GET", "/requests/{request}", "reader", ledger.one_request, "one request, whole"),
    Route(
        "GET",
        "/requests/{request}/content",
        "reader",
        contents.look,
        "what was asked and answered, where that is kept and for whom; each look is written down",
    ),
    Route("GET", "/content", "reader", contents.show, "of whom content is kept"),
    Route(
        "POST",
        "/content",
        "owner",
        contents.switch_on,
        "keep content for a time, as far as the configuration allows",
        contents.SwitchOn,
    ),
    Route(
        "POST",
        "/content/off",
        "owner",
        contents.switch_off,
        "keep no more content",
        contents.SwitchOff,
    ),
    Route(
        "GET",
        "/usage",
        "reader",
        ledger.usage_series,
        "requests, tokens, cost and latency over time",
        query=ledger.SERIES_FIELDS,
    ),
    Route("GET", "/live", "reader", providers.live, "what all workers do now"),
    Route("GET", "/providers", "reader", providers.list_providers, "health and breakers"),
    Route("GET", "/models", "reader", providers.list_models, "models, prices, profiles"),
    Route("GET", "/programs", "reader", runs.list_programs, "programs of clients"),
    Route(
        "POST",
        "/programs/{program}/cancel",
        "operator",
        runs.cancel_program,
        "give up a program that waits",
        Nothing,
    ),
    Route("GET", "/runs", "reader", runs.list_runs, "durable runs", query=("state", "limit")),
    Route("GET", "/runs/{run}", "reader", runs.show_run, "one run: steps, tasks, open approvals"),
    Route("POST", "/runs/{run}/allow", "operator", runs.allow, "let a call run", runs.Allow),
    Route("POST", "/runs/{run}/deny", "operator", runs.deny, "refuse a call", runs.Deny),
    Route("POST", "/runs/{run}/cancel", "operator", runs.cancel, "stop a run", Nothing),
    Route("POST", "/runs/{run}/resume", "operator", runs.resume, "let a run continue", Nothing),
    Route(
        "POST",
        "/try{rest}",
        "operator",
        _try,
        "a generation by any protocol, in the ledger under the administrator's name",
        streams=True,
    ),
    Route("GET", "/mcp", "reader", tools.list_servers, "MCP servers and their tools"),
    Route(
        "POST",
        "/mcp/call",
        "operator",
        tools.call_tool,
        "call a tool of an MCP server",
        tools.CallTool,
    ),
    Route("GET", "/admins", "owner", _list_admins, "administrators"),
    Route("POST", "/admins", "owner", _create_admin, "make one", AdminFields),
    Route("POST", "/admins/{admin}/revoke", "owner", _revoke_admin, "end one", Nothing),
    Route("GET", "/audit", "reader", _audit, "what administrators did", query=("before", "limit")),
    Route("GET", "/audit/check", "reader", _check_audit, "whether the log is whole"),
)
ROUTES = tuple(replace(route, path=_HEAD + route.path) for route in _ROUTES)


def openapi_paths() -> JSON:
    """The routes, as OpenAPI has them."""
    paths: JSON = {}
    for route in ROUTES:
        names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        operation: JSON = {
            "summary": route.summary,
            "operationId": f"admin-{len(paths)}-{route.method.lower()}",
            "tags": ["administration"],
            "x-polycall-role": route.role or "nobody",
            "responses": {"200": {"description": "JSON"}, **_ERRORS},
            "parameters": [
                *({**_TEXT, "name": name, "in": "path", "required": True} for name in names),
                *({**_TEXT, "name": name, "in": "query"} for name in route.query),
            ],
        }
        if "{rest}" in route.path:
            operation["parameters"] = [{**_TEXT, "name": "rest", "in": "path", "required": True}]
        if route.body is not None and route.body is not Nothing:
            # One schema each, whole: the document has no others to refer to.
            (schema,), parts = json.schema_components([route.body])
            schema = parts[route.body.__name__] if "$ref" in schema else schema
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }
        if not route.role:
            operation["security"] = []
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return paths


_TEXT: JSON = {"schema": {"type": "string"}}
_ERRORS: JSON = {
    "401": {"description": "nobody is signed in, and there is no administrator's key"},
    "403": {"description": "the role is too small, or another site sent the request"},
    "404": {"description": "not here, or not for this machine"},
    "429": {"description": "too many wrong keys or links"},
}
