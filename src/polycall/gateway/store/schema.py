"""The tables, as numbered migrations.

A migration that has been released is never edited.  Words in braces are the database's own types.
"""

from __future__ import annotations

from collections.abc import Mapping

from polycall.errors import RequestError
from polycall.gateway.store.base import Operation, Query

# Each is a list of statements; its number is its place, from 1.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value {blob} NOT NULL)",
        """CREATE TABLE IF NOT EXISTS states (
            id TEXT NOT NULL, owner TEXT NOT NULL, created {real} NOT NULL, value {blob} NOT NULL,
            PRIMARY KEY (owner, id)
        ) {without_rowid}""",
        "CREATE INDEX IF NOT EXISTS states_created ON states (created)",
        """CREATE TABLE IF NOT EXISTS ledger (
            id TEXT PRIMARY KEY, created {real} NOT NULL, key TEXT NOT NULL, client TEXT NOT NULL,
            asked TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
            streamed {int} NOT NULL, status {int} NOT NULL, outcome TEXT NOT NULL,
            attempts {int} NOT NULL, input_tokens {int}, output_tokens {int}, cached_tokens {int},
            cache_write_tokens {int}, reasoning_tokens {int}, is_estimate {int} NOT NULL,
            cost_usd {money}, duration_ms {real} NOT NULL, first_ms {real}
        ) {without_rowid}""",
        "CREATE INDEX IF NOT EXISTS ledger_created ON ledger (created)",
    ),
    (
        "ALTER TABLE ledger ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE ledger ADD COLUMN worker TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE ledger ADD COLUMN calls {int}",
        "ALTER TABLE ledger ADD COLUMN warnings {int} NOT NULL DEFAULT 0",
        "CREATE INDEX ledger_key ON ledger (key_id, created)",
        """CREATE TABLE keys (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, models TEXT NOT NULL,
            requests_per_minute {int}, tokens_per_minute {int},
            budget_usd TEXT, budget_per TEXT NOT NULL,
            created {real} NOT NULL, expires {real}, revoked {real}
        )""",
        # A key has one secret, and during a rotation two; only digests of them are kept.
        """CREATE TABLE key_secrets (
            digest {blob} PRIMARY KEY, key_id TEXT NOT NULL, prefix TEXT NOT NULL,
            created {real} NOT NULL, expires {real}
        )""",
        # Raised by every change of a key: what a gateway looks at to notice one.
        "CREATE TABLE revisions (name TEXT PRIMARY KEY, number {int} NOT NULL)",
        "INSERT INTO revisions (name, number) VALUES ('keys', 0)",
        """CREATE TABLE counters (
            name TEXT NOT NULL, span TEXT NOT NULL, ends {real} NOT NULL,
            taken {int} NOT NULL, leased {int} NOT NULL,
            PRIMARY KEY (name, span)
        ) {without_rowid}""",
        """CREATE TABLE leases (
            name TEXT NOT NULL, span TEXT NOT NULL, holder TEXT NOT NULL, amount {int} NOT NULL,
            settled {real} NOT NULL, expires {real} NOT NULL,
            PRIMARY KEY (name, span, holder)
        ) {without_rowid}""",
    ),
    ("ALTER TABLE ledger ADD COLUMN error TEXT NOT NULL DEFAULT ''",),
    (
        "ALTER TABLE keys ADD COLUMN mcp TEXT NOT NULL DEFAULT 'null'",
        "ALTER TABLE keys ADD COLUMN mcp_default TEXT NOT NULL DEFAULT '[]'",
        # What no age removes: pins of tools' definitions, tokens of MCP servers.
        """CREATE TABLE kept (
            owner TEXT NOT NULL, name TEXT NOT NULL, changed {real} NOT NULL, value {blob} NOT NULL,
            PRIMARY KEY (owner, name)
        ) {without_rowid}""",
    ),
    (
        """CREATE TABLE corrections (
            id TEXT PRIMARY KEY, created {real} NOT NULL, value {blob} NOT NULL
        ) {without_rowid}""",
        "INSERT INTO revisions (name, number) VALUES ('corrections', 0)",
    ),
    (
        "ALTER TABLE keys ADD COLUMN team_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE keys ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE ledger ADD COLUMN team_id TEXT NOT NULL DEFAULT ''",
        # What the columns do not say of one request, as JSON; empty where they say all.
        "ALTER TABLE ledger ADD COLUMN details TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE teams (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, models TEXT NOT NULL,
            requests_per_minute {int}, tokens_per_minute {int},
            budget_usd TEXT, budget_per TEXT NOT NULL, created {real} NOT NULL, ended {real}
        )""",
        # `digest` is of the administrator's key; null for one who only signs in by links.
        """CREATE TABLE admins (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
            digest {blob} UNIQUE, prefix TEXT NOT NULL, created {real} NOT NULL, revoked {real}
        )""",
        """CREATE TABLE admin_tokens (
            digest {blob} PRIMARY KEY, admin_id TEXT NOT NULL, kind TEXT NOT NULL,
            created {real} NOT NULL, expires {real} NOT NULL
        )""",
        # Numbered without gaps, and each row's `chain` is a digest of it and of the row before.
        """CREATE TABLE audit (
            number {int} PRIMARY KEY, at {real} NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL,
            via TEXT NOT NULL, address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL,
            detail TEXT NOT NULL, chain TEXT NOT NULL
        )""",
        "{audit_unchanged}",
        "{audit_undeleted}",
        "INSERT INTO revisions (name, number) VALUES ('audit', 0)",
        # For the search of requests: each filter that is rare has an index in the order of time.
        "DROP INDEX ledger_created",
        # With what has no index of its own, so that testing it reads no row.
        "CREATE INDEX ledger_created ON ledger "
        "(created, id, status, outcome, provider, client, team_id, cost_usd)",
        "CREATE INDEX ledger_name ON ledger (key, created, id)",
        "CREATE INDEX ledger_model ON ledger (model, created, id)",
        "CREATE INDEX ledger_status ON ledger (status, created, id) WHERE status <> 200",
        "CREATE INDEX ledger_warned ON ledger (created, id) WHERE warnings > 0",
        "CREATE INDEX ledger_failed ON ledger "
        "(created, id, outcome, status, key, model, provider, client, error) "
        "WHERE outcome NOT IN ('ok', 'cached')",
        "CREATE INDEX ledger_team ON ledger (team_id, created) WHERE team_id <> ''",
    ),
    (
        # Of which keys' requests (all, where it is empty) the content is kept until when.
        """CREATE TABLE content_windows (
            id TEXT PRIMARY KEY, key TEXT NOT NULL, until {real} NOT NULL,
            keep_s {real} NOT NULL, role TEXT NOT NULL, created {real} NOT NULL
        ) {without_rowid}""",
        """CREATE TABLE contents (
            id TEXT PRIMARY KEY, created {real} NOT NULL, expires {real} NOT NULL,
            role TEXT NOT NULL, value {blob} NOT NULL
        )""",
        "CREATE INDEX contents_expires ON contents (expires)",
        "CREATE INDEX contents_created ON contents (created)",
        "INSERT INTO revisions (name, number) VALUES ('content', 0)",
    ),
)

VERSION = len(MIGRATIONS)


def migrate(words: Mapping[str, str]) -> Operation[None]:
    """Bring the database to this version; the engine holds a lock around it.

    Raises `RequestError` for a database that a newer polycall has changed.
    """
    yield Query("CREATE TABLE IF NOT EXISTS schema_version (number INTEGER NOT NULL)")
    rows = yield Query("SELECT number FROM schema_version")
    found = rows[0][0] if rows else 0
    if found > VERSION:
        raise RequestError(
            f"the store has schema {found}, and this polycall knows none above {VERSION}; "
            "a newer polycall has used it: upgrade this one, or give it another store"
        )
    for statements in MIGRATIONS[found:]:
        for statement in statements:
            yield Query(statement.format_map(words))
    if not rows:
        yield Query("INSERT INTO schema_version (number) VALUES (?)", (VERSION,))
    elif found < VERSION:
        yield Query("UPDATE schema_version SET number = ?", (VERSION,))
