"""Tools that a vendor defines and the client runs, as functions for other models, read from a file.

A tool of a table has words `about` it and `fields`: those of its arguments, with a `!` where they
are required, or the name of a schema that has the same.  A field is a JSON Schema, which may have
`fields` as well, or short for one:

| a field | is |
|---|---|
| `"integer"` | the schema of this name in `schemas`, or a type |
| `"integer: how many"` | the same, with words for the model |
| `["up", "down"]` | one of these words |
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, cast

from polycall.ir import JSON


class ToolTables:
    """The tools in the file of a package, by table."""

    def __init__(self, package: str, name: str) -> None:
        source = files(package) / f"{name}.toml"
        self._tables: JSON = tomllib.loads(source.read_text(encoding="utf-8"))
        self._schemas: JSON = self._tables["schemas"]

    def members(self, table: str) -> dict[str, tuple[str, JSON]]:
        """The tools of a table: what is said about each, and its parameters."""
        rows: dict[str, JSON] = self._tables[table]
        return {name: (row["about"], self._parameters(row)) for name, row in rows.items()}

    def _parameters(self, row: JSON) -> JSON:
        fields: Any = row.get("fields", {})
        if isinstance(fields, str):
            fields = self._schemas[fields]["fields"]
        return {
            "type": "object",
            "properties": {
                name.removesuffix("!"): self._schema(field) for name, field in fields.items()
            },
            "required": [name[:-1] for name in fields if name.endswith("!")],
        }

    def _whole(self, schema: JSON) -> JSON:
        made = {key: value for key, value in schema.items() if key != "fields"}
        if "items" in schema:
            made["items"] = self._schema(schema["items"])
        return {**self._parameters(schema), **made} if "fields" in schema else made

    def _schema(self, field: Any) -> JSON:
        if isinstance(field, list):
            return {"type": "string", "enum": field}
        if isinstance(field, dict):
            return self._whole(cast("JSON", field))
        name, _, words = field.partition(": ")
        schema = self._schema(self._schemas[name]) if name in self._schemas else {"type": name}
        return {**schema, "description": words} if words else schema
