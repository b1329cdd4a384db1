"""Checks of an agent's arguments and a run's, made where the mistake is still in sight."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from polycall.agents.offer import offers
from polycall.errors import RequestError
from polycall.ir import ToolChoice
from polycall.loop import Limits
from polycall.settings import Settings, check_choice, request_fields
from polycall.tools import AbstractToolset, FunctionTool, WrappedToolset, tool
from polycall.tools.problems import near_miss
from polycall.tools.toolset import AnyTool, CombinedToolset

if TYPE_CHECKING:
    from polycall.agents.pausing import PausedRun

SETTINGS = frozenset(Settings.__annotations__)


def check_names(given: Iterable[str], known: Iterable[str], whose: str) -> None:
    """Refuse a name that is not one of `known`."""
    names = sorted(known)
    for name in given:
        if name not in names:
            meant = _ELSEWHERE.get(name, "")
            hint = near_miss(name, names) or f"; known: {', '.join(names)}"
            if meant in names:
                hint = f"; did you mean {meant!r}?"
            elif " " in meant:
                hint = f"; {meant}"
            raise RequestError(f"{whose} has no {name!r}{hint}")


# What other libraries call it, and what belongs to a run or to an agent.
_ELSEWHERE = {
    "api_key": "keys belong to a client: client=Client(keys={'openai': '...'})",
    "deps": "they belong to a run: agent.run(prompt, deps=...)",
    "functions": "tools",
    "history": "it belongs to a run: agent.run(prompt, history=...)",
    "output_schema": "output",
    "response_model": "output",
    "result_type": "output",
    "sub_agents": "handoffs",
    "system": "instructions",
    "system_message": "instructions",
    "system_prompt": "instructions",
}


def check_approve(approve: Any) -> None:
    """Refuse what can neither be asked nor pauses, before a call needs it."""
    if approve is not None and approve != "pause" and not callable(approve):
        raise RequestError(
            f"approve is 'pause' or a function of the request, not {approve!r}; to allow all, "
            "write approve=lambda request: True"
        )


def check_tasks(tasks: Any, *, pauses: bool) -> bool:
    """Whether tasks continue when their run has ended."""
    if tasks not in ("wait", "leave"):
        raise RequestError(f"tasks is 'wait' or 'leave', not {tasks!r}")
    if tasks == "leave" and pauses:
        raise RequestError(
            "a run that may pause continues elsewhere, and takes no tasks along that stay here; "
            "leave out tasks='leave' or approve='pause'"
        )
    return tasks == "leave"


def model_names(model: Any) -> str:
    """One model, or several to be tried in order, as a request names them."""
    is_list = isinstance(model, Iterable) and not isinstance(model, str)
    names: list[Any] = [*cast("Iterable[Any]", model)] if is_list else [model]
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise RequestError(f"model is 'provider/name', or a list of such names, not {name!r}")
    return ",".join(names)


def checked_settings(
    settings: Mapping[str, Any], toolsets: Iterable[AbstractToolset], whose: str
) -> dict[str, Any]:
    """Settings as fields of a request; refuses what an agent cannot be set to."""
    check_names(settings, SETTINGS, whose)
    fields = request_fields(settings, whose)
    choice: ToolChoice | None = fields.get("tool_choice")
    if choice is not None:
        names = {name for toolset in toolsets for name in toolset.tools}
        handing = {name for name in choice.names if name.startswith(("transfer_to_", "return_to_"))}
        check_choice(choice, names | handing)
    return fields


def listed(value: Any, name: str) -> list[Any]:
    """The things as a list; refuses one thing where a list of things is expected."""
    if isinstance(value, AbstractToolset):
        # It would be taken apart by iterating, and lose what is wrapped around it.
        return [value]
    if isinstance(value, str) or callable(value) or not isinstance(value, Iterable):
        shown = getattr(value, "__name__", "") or getattr(value, "name", "...")
        raise RequestError(f"{name} is a list; write {name}=[{shown}]")
    return [*cast("Iterable[Any]", value)]


def check_callers(toolsets: Iterable[AbstractToolset]) -> None:
    """Refuse tools that only programs may call where there will be none."""
    for toolset in toolsets:
        for each in toolset:
            if each.allowed_callers == ("code",):
                raise RequestError(
                    f"only programs may call {each.name!r} (allowed_callers); "
                    "write calling='code' or 'auto'"
                )


def open_to_programs(source: Any) -> Any:
    """A function, or a tool that does not say who may call it, open to programs and to calls."""
    if isinstance(source, CombinedToolset):  # a part of it may be a tree
        return CombinedToolset(map(open_to_programs, source.toolsets))
    if isinstance(source, AbstractToolset):
        return source if offers(source) else OpenedToolset(source)
    if not callable(source):
        return source
    made = cast("FunctionTool[..., Any]", source)
    if not isinstance(source, FunctionTool):
        made = tool(source)
    if made.allowed_callers or made.background:
        return made
    return dataclasses.replace(made, allowed_callers=("direct", "code"))


class OpenedToolset(WrappedToolset):
    """The same tools; those that do not say who may call them are open to programs, too."""

    def __init__(self, inner: AbstractToolset) -> None:
        super().__init__(inner)
        self._opened: dict[str, tuple[AnyTool, AnyTool]] = {}

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        return {name: self._open(name, each) for name, each in self.inner.tools.items()}

    def _open(self, name: str, each: AnyTool) -> AnyTool:
        known = self._opened.get(name)
        if known is None or known[0] is not each:
            known = self._opened[name] = (each, open_to_programs(each))
        return known[1]


def check_open(toolsets: Sequence[AbstractToolset]) -> None:
    """Refuse an agent that is to work by programs, with no tool that they could call."""
    plain = [each for each in toolsets if not offers(each)]
    tools = [each for toolset in plain for each in toolset]
    if any("code" in each.allowed_callers for each in tools):
        return
    if len(plain) < len(toolsets):
        raise RequestError(
            "calling='code' needs a tool that programs may call, and the tools of a tree are "
            "called directly, as they are found; give tools=[tree.branch('name')], or write "
            "calling='direct'"
        )
    names = ", ".join(repr(each.name) for each in tools) or "none at all"
    raise RequestError(
        f"calling='code' needs a tool that programs may call, and there is {names}; mark it "
        "with @tool(allowed_callers=['code']), or write calling='direct'"
    )


def check_limits(limits: Any) -> None:
    """Refuse malformed limits."""
    if limits is not None and not isinstance(limits, Limits):
        raise RequestError(f"limits is a Limits, such as Limits(steps=10), not {limits!r}")
    for name in ("steps", "tokens", "cost_usd", "parallel_calls", "wall_s") if limits else ():
        bound = getattr(limits, name)
        is_number = isinstance(bound, int | float | Decimal) and not isinstance(bound, bool)
        if bound is not None and not (is_number and bound > 0):
            raise RequestError(f"limits: {name} is a number above 0, not {bound!r}")


def check_parts(memory: Any, compaction: Any, limits: Any, client: Any) -> None:
    """Refuse what is none of these parts of an agent, such as a memory's path."""
    check_limits(limits)
    if memory is not None and not hasattr(memory, "toolset"):
        raise RequestError(f"memory is a Memory, such as Memory('memory.db'), not {memory!r}")
    if client is not None and (inspect.isclass(client) or not hasattr(client, "generate_request")):
        raise RequestError(
            f"client is a Client(), or a model of polycall.testing in its place, not {client!r}"
        )
    if compaction is not None and not hasattr(compaction, "tokens_max"):
        raise RequestError(
            f"compaction is a Compaction, such as Compaction(tokens_max=50_000), not {compaction!r}"
        )


def checked_count(value: Any, name: str, *, least: int = 1) -> int:
    """The number; refuses what is not a whole one from `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        bound = "above 0" if least else "from 0"
        raise RequestError(f"{name} is a whole number {bound}, not {value!r}")
    return value


def checked_text(value: Any, name: str) -> str:
    """The text; histories hold an agent's name, and what is no text could not be read again."""
    if not isinstance(value, str):
        raise RequestError(f"{name} is text, not {value!r}")
    return value


# Of the tables of sessions and durable runs; a task's name has its run's before it.
_ID_LENGTH_MAX = 300


def check_id(value: str, name: str) -> None:
    """Refuse an id that a database could not keep."""
    if len(value) > _ID_LENGTH_MAX or "\0" in value:
        raise RequestError(
            f"{name} has at most {_ID_LENGTH_MAX} characters, and none that are zero"
        )
    if value.encode("utf-8", "ignore").decode() != value:
        raise RequestError(f"{name} has half a character, which UTF-8 cannot hold: {value!r}")


def check_seconds(value: Any, name: str) -> None:
    """Refuse what is no time to wait."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value < math.inf):
        raise RequestError(f"{name} is a number of seconds above 0, not {value!r}")


def checked_instructions(value: Any) -> Any:
    """The instructions; refuses what is neither text nor a function."""
    if not isinstance(value, str) and not callable(value):
        raise RequestError(
            f"instructions are text, or a function of the context that gives some, not {value!r}"
        )
    return value


def check_no_session(paused: PausedRun) -> None:
    """Refuse a session's run, of which the session would otherwise know nothing."""
    if not hasattr(paused, "start"):
        raise RequestError(
            f"a run is resumed from run.paused or PausedRun.from_json(text), not from {paused!r}"
        )
    if paused.start.session:
        raise RequestError(
            f"the run {paused.start.run_id!r} belongs to the session {paused.start.session!r}, "
            "which keeps what it adds; write "
            f"await sessions.open({paused.start.session!r}).resume(agent, paused)"
        )


def checked_hooks(hooks: Any) -> list[Any]:
    """The hooks; refuses what cannot be called."""
    found = listed(hooks, "hooks")
    for each in found:
        if not callable(each):
            raise RequestError(f"hooks are functions of an event, not {each!r}")
    return found


def check_runnable(agent: Any, whose: str) -> None:
    """Refuse what is no agent and stands for none, such as an agent's name."""
    if not hasattr(agent, "run") or inspect.isclass(agent):
        raise RequestError(f"{whose} runs an agent, such as Agent('provider/model'), not {agent!r}")


def check_no_stand_in(source: Any) -> None:
    """Refuse what stands for an agent where others are to give it tasks."""
    if hasattr(source, "run_sync") and hasattr(source, "resume_stream"):
        raise RequestError(
            f"a {type(source).__name__} is for those who run an agent, and no agent can give it "
            "tasks; give the agent itself"
        )


def check_words(options: Any) -> None:
    """Refuse a run's options of another type."""
    check_seconds(options.get("approval_ttl_s"), "approval_ttl_s")
    settings = options.get("settings")
    if settings is not None and not isinstance(settings, Mapping):
        raise RequestError(
            f"settings are a dictionary, such as {{'temperature': 0.2}}, not {settings!r}"
        )
    user, variables = options.get("user", ""), options.get("variables", {})
    if not isinstance(user, str):
        raise RequestError(f"user is the text of an id, such as 'user-17', not {user!r}")
    check_id(user, "user")
    if not isinstance(variables, dict):
        raise RequestError(f"variables are a dictionary, such as {{'cart': []}}, not {variables!r}")
