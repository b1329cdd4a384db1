"""The promises of a server's tools on their results, and whether a result keeps them.

The protocol's library checks that with Python's regular expressions, and without a bound: one
pattern of a server's would hold the whole process for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

import mcp_types as types

from polycall.errors import ToolDefinitionError
from polycall.ir import JSON
from polycall.tools.validate import SchemaChecker


class Outputs:
    """The promises on one connection."""

    def __init__(self) -> None:
        self._schemas: dict[str, JSON] = {}

    def listed(self, tools: Iterable[types.Tool]) -> None:
        """These are the tools now."""
        self._schemas = {
            tool.name: tool.output_schema for tool in tools if tool.output_schema is not None
        }

    async def check(self, name: str, result: types.CallToolResult) -> None:
        """Raise `RuntimeError` for a result that its tool did not promise, as the library does."""
        schema = self._schemas.get(name)
        if schema is None or result.is_error:
            return
        if "structured_content" not in result.model_fields_set:
            raise RuntimeError(f"{name!r} has an output schema, and the result has no data")
        try:
            checker = SchemaChecker(schema, label=name)
        except ToolDefinitionError as error:
            raise RuntimeError(f"its output schema is not valid: {error}") from None
        if problem := checker.first_problem(result.structured_content):
            raise RuntimeError(f"it does not fit its output schema: {problem}")
