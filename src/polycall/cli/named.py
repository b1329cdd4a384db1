"""Tools and agents of the current folder that the command line names by `MODULE:NAME`."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from polycall.agents import Agent
from polycall.errors import RequestError
from polycall.tools import AbstractToolset, FunctionTool, Toolset
from polycall.tools.toolset import CombinedToolset


def load_tools(names: Iterable[str], option: str = "--tools") -> AbstractToolset:
    """The tools that `MODULE:NAME` names, from the current folder or what is installed.

    A toolset stays itself: what it does around its calls, and tools that it gets later.
    """
    found = load_toolsets(names, option)
    return found[0] if len(found) == 1 else CombinedToolset(found)


def load_toolsets(names: Iterable[str], option: str = "--tools") -> list[AbstractToolset]:
    """The same, each name's by itself: what is put together is no tree any more."""
    return [_toolset_of(name, option) for name in names]


def _toolset_of(name: str, option: str) -> AbstractToolset:
    module, value = named_value(name, option, "weather:get_weather")
    if value is None:
        public = ", ".join(key for key in vars(module) if not key.startswith("_"))
        head, _, attribute = name.partition(":")
        raise RequestError(f"{option} {name}: {head} has no {attribute!r}; it has {public}")
    if isinstance(value, AbstractToolset):
        return value
    if isinstance(value, list | tuple):
        return Toolset(cast("list[Any]", value))
    if isinstance(value, FunctionTool) or callable(value):
        return Toolset(cast("list[Any]", [value]))
    raise RequestError(f"{option} {name}: a {type(value).__name__} is neither tool nor function")


def named_agent(name: str, option: str) -> Agent[Any, Any]:
    """The agent that `MODULE:NAME` or `FOLDER/FILE.py:NAME` names, from the current folder."""
    module, found = named_value(name, option, "hotel:host")
    if not isinstance(found, Agent):
        agents = [each for each, value in vars(module).items() if isinstance(value, Agent)]
        head, _, attribute = name.partition(":")
        raise RequestError(
            f"{option} {name}: {head} has no agent {attribute!r}; "
            f"its agents: {', '.join(agents) or 'none'}"
        )
    return found  # pyright: ignore[reportUnknownVariableType]


def named_value(name: str, option: str, example: str) -> tuple[ModuleType, Any]:
    """The module that `MODULE:NAME` or `FOLDER/FILE.py:NAME` names, and its value of this name.

    Whatever the module prints while it loads goes to standard error.  Its folder stays importable,
    as a script's does: functions may import their neighbours when they run.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise RequestError(f"{option} takes MODULE:NAME, got {name!r}; such as {example}")
    path = Path(module_name)
    folder = str(Path.cwd() / path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(path.name.removesuffix(".py"))
    except ImportError as error:
        raise RequestError(f"{option} {name}: {error}; searched {folder} first") from None
    return module, getattr(module, attribute, None)
