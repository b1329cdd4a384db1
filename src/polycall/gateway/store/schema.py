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
