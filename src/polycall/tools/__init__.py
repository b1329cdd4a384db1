"""Tools: Python functions, or schemas with handlers, that a model can call.

function_tool.py  one tool: `@tool`, `tool_from_schema`
toolset.py     tools that belong together, and the wrappers around them
execute.py     the one path of all calls
signature.py   schemas from signatures (pydantic; loaded with the first tool)
validate.py    arguments checked before anything runs; mending.py, relaxed.py what is mended
results.py     what a tool returned, as parts that a model can read
"""

from polycall.tools.context import EndRun, ToolContext
from polycall.tools.execute import Executor, ToolStats, execute
from polycall.tools.function_tool import FunctionTool, tool, tool_from_schema
from polycall.tools.toolset import AbstractToolset, Toolset, WrappedToolset

__all__ = [
    "AbstractToolset",
    "EndRun",
    "Executor",
    "FunctionTool",
    "ToolContext",
    "ToolStats",
    "Toolset",
    "WrappedToolset",
    "execute",
    "tool",
    "tool_from_schema",
]
