"""Clients' keys and teams: what the API and `polycall keys` do, on the store."""

from __future__ import annotations

import secrets
import time
from decimal import Decimal
from typing import Any

from msgspec import UNSET

from polycall.admin.fields import KeyFields, LimitFields, checked_name
from polycall.errors import InvalidRequestError
from polycall.gateway.accounts.keys import new_key
from polycall.gateway.accounts.windows import window_at
from polycall.gateway.store import (
    TEAM_ID_HEAD,
    Actor,
    KeyRecord,
    KeyRow,
    KeySecret,
    Store,
    TeamRow,
)
from polycall.gateway.store import admin_operations as operations
from polycall.gateway.store.store import detail_of
from polycall.ir import JSON

GRACE_S = 86_400.0
_GRACE_S_MAX = 366 * 86_400.0


class KeyAdministration:
    """Does it as `by`, for the audit log.  Every answer is JSON; a secret is in it once."""

    def __init__(self, store: Store, by: Actor) -> None:
        self._store = store
        self._by = by

    async def create(self, fields: KeyFields) -> JSON:
        """A new key."""
        name = checked_name(fields.name)
        changes = await self._changes(fields)
        key, digest, prefix = new_key()
        now = time.time()
        row = KeyRow(id=f"key_{secrets.token_hex(8)}", name=name, created=now, **changes)
        secret = KeySecret(digest, row.id, prefix, now)
        await self._store.create_key(row, secret, by=self._by)
        return {**await self.show(row.id), "key": key}

    async def list(self) -> list[JSON]:
        """All keys, by name, revoked ones too."""
        _, records = await self._store.keys()
        return [key_json(record) for record in records]

    async def show(self, name: str) -> JSON:
        """One key, with what it has spent of its budget."""
        record = await self._store.find_key(name)
        shown = key_json(record)
        row = record.row
        if row.budget_usd is not None:
            shown["spent_usd"] = await self._spent(row.id, row.budget_per)
        return shown

    async def limit(self, name: str, fields: KeyFields) -> JSON:
        """Change limits."""
        if fields.name is not UNSET:
            raise InvalidRequestError("a key keeps its name: the ledger has it")
        changes = await self._changes(fields)
        if not changes:
            raise InvalidRequestError("nothing to change; give a limit")
        await self._store.change_key(name, changes, by=self._by)
        return await self.show(name)

    async def rotate(self, name: str, grace_s: float = GRACE_S) -> JSON:
        """A new secret; the old one works for `grace_s` more seconds."""
        if not 0 <= grace_s <= _GRACE_S_MAX:
            raise InvalidRequestError(f"grace_s is from 0 to {_GRACE_S_MAX:.0f}, not {grace_s:g}")
        key, digest, prefix = new_key()
        await self._store.rotate_key(name, digest, prefix, grace_s=grace_s, by=self._by)
        return {**await self.show(name), "key": key}

    async def revoke(self, name: str) -> JSON:
        """End a key for good."""
        await self._store.revoke_key(name, by=self._by)
        return await self.show(name)

    # Teams

    async def teams(self) -> list[JSON]:
        """All teams, with what each has spent."""
        rows = await self._store.look_up(operations.teams())
        _, records = await self._store.keys()
        counts = [record.row.team_id for record in records if record.row.revoked is None]
        return [{**await self._team_json(row), "keys": counts.count(row.id)} for row in rows]

    async def create_team(self, fields: KeyFields) -> JSON:
        """A new team."""
        name = checked_name(fields.name)
        row = TeamRow(
            id=f"{TEAM_ID_HEAD}{secrets.token_hex(8)}",
            name=name,
            created=time.time(),
            **LimitFields.changes(_limits_only(fields)),
        )
        operation = operations.create_team(row)
        await self._store.act(operation, self._by, "team.create", name, detail_of(row))
        return await self._team_json(row)

    async def change_team(self, name: str, fields: KeyFields) -> JSON:
        """Change limits of a team."""
        if fields.name is not UNSET:
            raise InvalidRequestError("a team keeps its name")
        changes = LimitFields.changes(_limits_only(fields))
        if not changes:
            raise InvalidRequestError("nothing to change; give a limit")
        operation = operations.change_team(name, changes)
        detail = detail_of(changes)
        row = await self._store.act(operation, self._by, "team.limit", name, detail)
        return await self._team_json(row)

    async def end_team(self, name: str) -> JSON:
        """End a team, and with it the use of its keys."""
        operation = operations.change_team(name, {"ended": time.time()})
        row = await self._store.act(operation, self._by, "team.end", name, {})
        return await self._team_json(row)

    async def _changes(self, fields: KeyFields) -> dict[str, Any]:
        changes = fields.changes()
        if fields.team is not UNSET:
            changes["team_id"] = ""
            if fields.team:
                team = await self._store.look_up(operations.find_team(fields.team))
                if team.ended is not None:
                    raise InvalidRequestError(f"the team {team.name!r} has ended")
                changes["team_id"] = team.id
        return changes

    async def _team_json(self, row: TeamRow) -> JSON:
        shown: JSON = {
            "id": row.id,
            "name": row.name,
            "status": "active" if row.ended is None else "ended",
            **_limits_json(row),
            "created": row.created,
            "ended": row.ended,
        }
        if row.budget_usd is not None:
            shown["spent_usd"] = await self._spent(row.id, row.budget_per)
        return shown

    async def _spent(self, owner_id: str, per: str) -> str:
        return _text(await self._store.spent_usd(owner_id, window_at(per, time.time()).starts))


def key_json(record: KeyRecord) -> JSON:
    """A key as JSON: everything but the key itself."""
    row = record.row
    return {
        "id": row.id,
        "name": row.name,
        "status": _status(record),
        "owner": row.owner,
        "team": None if record.team is None else record.team.name,
        **_limits_json(row),
        "mcp": None if row.mcp is None else list(row.mcp),
        "mcp_default": list(row.mcp_default),
        "created": row.created,
        "expires": row.expires,
        "revoked": row.revoked,
        "secrets": [
            {"prefix": secret.prefix, "created": secret.created, "expires": secret.expires}
            for secret in record.secrets
        ],
    }


def _limits_json(row: KeyRow | TeamRow) -> JSON:
    return {
        "models": list(row.models),
        "requests_per_minute": row.requests_per_minute,
        "tokens_per_minute": row.tokens_per_minute,
        "budget_usd": None if row.budget_usd is None else _text(row.budget_usd),
        "budget_per": row.budget_per,
    }


def _status(record: KeyRecord) -> str:
    row = record.row
    if row.revoked is not None:
        return "revoked"
    if record.team is not None and record.team.ended is not None:
        return "team ended"
    return "expired" if row.expires is not None and row.expires < time.time() else "active"


def _limits_only(fields: KeyFields) -> KeyFields:
    for name in ("owner", "team", "expires", "mcp", "mcp_default"):
        if getattr(fields, name) is not UNSET:
            raise InvalidRequestError(f"a team has no {name!r}")
    return fields


def _text(amount: Decimal) -> str:
    return f"{amount:f}"
