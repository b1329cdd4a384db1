"""Tools that models wrote, kept with all their versions."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import Struct

from polycall.agents.database import open_database

_SCHEMA = """
create table if not exists written_tools (
    number integer primary key,
    name text not null,
    version integer not null,
    description text not null,
    code text not null,
    tests text not null,
    author text not null,
    created real not null,
    revoked real,
    unique (name, version)
)
"""
_COLUMNS = "name, version, description, code, tests, author, created, revoked"


class ToolVersion(Struct, frozen=True):
    """One version of a tool.  `author` is the agent that wrote it, and for whom."""

    name: str
    version: int
    description: str
    code: str
    tests: str
    author: str
    created: float
    revoked: float | None = None


class ToolStore:
    """All versions, in a SQLite file or in memory.  What is revoked stays listed, and never runs.

    The newest version that is not revoked is the one in use.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._database = open_database(path, _SCHEMA, "written tools")

    def add(
        self, name: str, *, description: str, code: str, tests: str, author: str
    ) -> ToolVersion:
        """Keep a new version."""
        (row,) = self._database.rows(
            f"insert into written_tools ({_COLUMNS}) "  # noqa: S608 - our own constants
            "values (?, (select coalesce(max(version), 0) + 1 from written_tools "
            f"where name = ?), ?, ?, ?, ?, ?, null) returning {_COLUMNS}",
            (name, name, description, code, tests, author, time.time()),
        )
        return ToolVersion(*row)

    def in_use(self) -> list[ToolVersion]:
        """The version of each tool that is used, in the order in which the tools first came."""
        newest: dict[str, ToolVersion] = {}
        for version in self.versions():
            if version.revoked is None:
                newest[version.name] = version
        return list(newest.values())

    def versions(self, name: str = "") -> list[ToolVersion]:
        """All versions, of one tool or of all, oldest first."""
        rows = self._database.rows(
            f"select {_COLUMNS} from written_tools "  # noqa: S608 - our own constants
            "where ? in (name, '') order by number",
            (name,),
        )
        return [ToolVersion(*row) for row in rows]

    def revoke(self, name: str, version: int | None = None) -> int:
        """Take a version out of use, or all of a tool; how many those were."""
        with self._database.changing() as run:
            return run.execute(
                "update written_tools set revoked = ? "
                "where name = ? and revoked is null and coalesce(?, version) = version",
                (time.time(), name, version),
            ).rowcount

    def close(self) -> None:
        """Close the file."""
        self._database.close()
