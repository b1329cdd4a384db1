"""Captured requests and answers: capture is on for a time, and each look is logged."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from msgspec import Struct, to_builtins

from polycall.admin.fields import Query, read
from polycall.admin.people import check_role
from polycall.config import is_key_name
from polycall.config.admin import ContentSettings
from polycall.errors import InvalidRequestError, NotFoundError
from polycall.gateway.store import content_operations as operations
from polycall.gateway.store.content_operations import ContentWindow
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.admin.administration import Call


class SwitchOn(Struct, forbid_unknown_fields=True):
    """Keep the content of a key's requests, or of all, for so many seconds from now on."""

    for_s: float
    key: str = ""


class SwitchOff(Struct, forbid_unknown_fields=True):
    """Keep no more; with `remove`, remove what was kept."""

    remove: bool = False


async def show(call: Call) -> JSON:
    """Whether content is kept, of whom, and until when."""
    Query(call.query, frozenset())
    settings = call.settings.content
    if settings is None:
        return {"configured": False, "windows": []}
    found = await call.gateway.store.look_up(operations.windows(time.time()))
    return {
        "configured": True,
        **to_builtins(settings),
        "windows": [{"key": each.key, "until": each.until, "role": each.role} for each in found],
        "kept": await call.gateway.store.look_up(operations.counted_contents()),
    }


async def switch_on(call: Call) -> JSON:
    """Keep content from now on."""
    settings, fields = _settings(call), read(SwitchOn, call.body)
    if not 0 < fields.for_s <= settings.on_s:
        raise InvalidRequestError(f"for_s is above 0, at most {settings.on_s:g} ([admin.content])")
    if fields.key and not is_key_name(fields.key):
        raise InvalidRequestError(f"{fields.key!r:.200} is no key's name")
    now = time.time()
    window = ContentWindow(
        id=secrets.token_hex(8),
        key=fields.key,
        until=now + fields.for_s,
        keep_s=settings.keep_s,
        role=settings.role,
        created=now,
    )
    detail = {"for_s": fields.for_s, "keep_s": settings.keep_s, "role": settings.role}
    store, operation = call.gateway.store, operations.open_window(window)
    await store.act(operation, call.by, "content.on", fields.key or "all keys", detail)
    return await show(call)


async def switch_off(call: Call) -> JSON:
    """Keep no more."""
    fields = read(SwitchOff, call.body)
    operation = operations.close_windows(removes=fields.remove)
    detail = {"remove": fields.remove}
    removed = await call.gateway.store.act(operation, call.by, "content.off", "", detail)
    return {**await show(call), "removed": removed}


async def look(call: Call) -> JSON:
    """The content of one request; that it was looked at is written down first."""
    Query(call.query, frozenset())
    name, store = call.names["request"], call.gateway.store
    found = await store.look_up(operations.load_content(name, time.time()))
    if found is None:
        raise NotFoundError(f"no content of request {name!r:.200} is kept", code="no_content")
    expires, role, value = found
    check_role(call.admin, role)
    content = call.gateway.contents.unlock(name, value)
    if content is None:
        raise NotFoundError("the content was locked with another secret", code="no_content")
    again = operations.load_content(name, time.time())
    await store.act(again, call.by, "content.look", name, {})
    return {
        "expires": expires,
        "client": content.client,
        "request": content.request,
        "answer": content.answer,
        "is_request_cut": content.is_request_cut,
        "is_answer_cut": content.is_answer_cut,
    }


def _settings(call: Call) -> ContentSettings:
    settings = call.settings.content
    if settings is None:
        raise InvalidRequestError(
            "this gateway keeps no content; its operator allows it with [admin.content]",
            code="no_content",
        )
    return settings
