"""The schema of a tool's parameters for a wire that takes a plain object at the root."""

from __future__ import annotations

from polycall.ir import JSON, Tool
from polycall.schema.root import object_schema
from polycall.translation.wire import Losses


def plain_root(tool: Tool, dialect: str, losses: Losses) -> JSON:
    """The parameters of a tool that has some, with one object at the root.

    A tool of the wire's own clients stays as it was written: the vendor judges it.
    """
    assert tool.parameters is not None
    if not tool.parameters or dialect in tool.metadata:
        return tool.parameters
    root = object_schema(tool.parameters)
    if root is not tool.parameters:
        losses.adjust("parameters", f"those of {tool.name!r} are written as one plain object")
    return root
