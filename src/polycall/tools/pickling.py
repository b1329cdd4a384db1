"""Tools in a pickle: by their name where they are a module's own, else by their function.

A decorated function's name is the tool's, so that Python's own way of naming functions finds the
tool and refuses.  What checks arguments is made anew from the function.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polycall.tools.function_tool import FunctionTool


def reduced(tool: FunctionTool[..., Any]) -> tuple[Any, tuple[Any, ...]]:
    """The state that `pickle` keeps of a tool."""
    module = getattr(tool.function, "__module__", "")
    path = getattr(tool.function, "__qualname__", "")
    found = _at(module, path)
    if found is tool:
        return named, (module, path)
    is_decorated = getattr(found, "function", None) is tool.function
    function: Any = (module, path) if is_decorated else tool.function
    reader = sys.modules.get("polycall.tools.signature")
    is_derived = reader is not None and isinstance(tool.checker, reader.PydanticChecker)
    kept = {each.name: getattr(tool, each.name) for each in fields(tool) if each.init}
    del kept["function"], kept["slots"]
    if is_derived:
        del kept["checker"]
    return restored, (type(tool), function, is_decorated, kept)


def named(module: str, path: str) -> Any:
    """The tool that is a module's own."""
    importlib.import_module(module)
    return _at(module, path)


def restored(kind: type[Any], function: Any, is_decorated: bool, kept: dict[str, Any]) -> Any:
    """A tool of a function, as it was."""
    if is_decorated:
        function = named(*function).function
    if "checker" in kept:
        return kind(function=function, **kept)
    reader = importlib.import_module("polycall.tools.signature")
    checker = reader.describe_function(function, {}, name=kept["name"]).checker
    return kind(function=function, checker=checker, **kept)


def _at(module: str, path: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found
