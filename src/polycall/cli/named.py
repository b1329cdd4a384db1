"""What the command line names by `MODULE:NAME`: tools and agents of the current folder."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from polycall.agents import Agent
from polycall.errors import RequestError
from polycall.tools import AbstractToolset, FunctionTool, Toolset
from polycall.tools.toolset import CombinedToolset


def load_tools(names: Iterable[str]) -> AbstractToolset:
    """The tools that `MODULE:NAME` names, from the current folder or what is installed.

    A toolset stays itself: what it does around its calls, and tools that it gets later.
    """
    found = load_toolsets(names)
    return found[0] if len(found) == 1 else CombinedToolset(found)


def load_toolsets(names: Iterable[str]) -> list[AbstractToolset]:
    """The same, each name's by itself: what is put together is no tree any more."""
    sys.path.insert(0, os.getcwd())
    try:
        return [_toolset_of(name) for name in names]
    finally:
        sys.path.remove(os.getcwd())


def _toolset_of(name: str) -> AbstractToolset:
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise RequestError(f"--tools takes MODULE:NAME, got {name!r}; such as weather:get_weather")
    try:
        module = imported(module_name.removesuffix(".py"))
    except ModuleNotFoundError as error:
        raise RequestError(f"--tools {name}: {error}; searched {Path.cwd()} first") from None
    value = getattr(module, attribute, None)
    if value is None:
        public = ", ".join(key for key in vars(module) if not key.startswith("_"))
        raise RequestError(f"--tools {name}: {module_name} has no {attribute!r}; it has {public}")
    if isinstance(value, AbstractToolset):
        return value
    if isinstance(value, list | tuple):
        return Toolset(cast("list[Any]", value))
    if isinstance(value, FunctionTool) or callable(value):
        return Toolset(cast("list[Any]", [value]))
    raise RequestError(f"--tools {name}: a {type(value).__name__} is neither tool nor function")


def named_agent(name: str, option: str) -> Agent[Any, Any]:
    """The agent at `MODULE:NAME`; `option` is how the command line calls it."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise RequestError(f"{option} takes MODULE:NAME, got {name!r}; such as hotel:host")
    path = Path(module_name)
    folder = str(Path.cwd() / path.parent)
    sys.path.insert(0, folder)
    try:
        module = imported(path.name.removesuffix(".py"))
        found = getattr(module, attribute, None)
    except ModuleNotFoundError as error:
        raise RequestError(f"{option} {name}: {error}; searched {folder} first") from None
    finally:
        sys.path.remove(folder)
    if not isinstance(found, Agent):
        agents = [each for each, value in vars(module).items() if isinstance(value, Agent)]
        known = ", ".join(agents) or "none"
        raise RequestError(
            f"{option} {name}: {module_name} has no agent {attribute!r}; its agents: {known}"
        )
    return found  # pyright: ignore[reportUnknownVariableType]


def imported(name: str) -> ModuleType:
    """The module; what it prints meanwhile is no result of the command."""
    with contextlib.redirect_stdout(sys.stderr):
        return importlib.import_module(name)
