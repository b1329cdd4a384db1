"""The arguments of one run: its prompt, and the options of `run`, `stream` and `resume`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeAlias

from typing_extensions import TypedDict, TypeVar

from polycall.agents.approval_backend import Approve
from polycall.agents.history import HistoryLike
from polycall.ir import JSON, Message
from polycall.loop import Limits
from polycall.settings import Settings, messages_of

DepsT = TypeVar("DepsT", default=Any)

Prompt: TypeAlias = "str | Message | list[Message]"
__all__ = ["DepsT", "Prompt", "ResumeOptions", "RunOptions", "messages_of"]


class RunOptions(TypedDict, Generic[DepsT], total=False):
    """The options of one run.

    `history` is that of an earlier run, in any of its forms.  `deps` is handed to tools by their
    context.  `variables` are shared by tools, instructions and the agents of a handoff.  `user`
    says whom memory belongs to.  `approve` is asked before calls of tools that need approval,
    nested ones included; with `"pause"` the run stops there instead, and `run.paused` is what
    `resume` continues, until `approval_ttl_s` is over.  `limits` and `model` come instead of the
    agent's, `settings` over its own; agents that it hands over to keep theirs.  With
    `tasks="leave"` the run ends when the model has answered: its background tasks continue in this
    process, and the next run with its history, or of its session, learns how they ended.
    """

    history: HistoryLike | None
    deps: DepsT
    variables: JSON
    user: str
    approve: Approve | Literal["pause"]
    approval_ttl_s: float
    limits: Limits
    model: str | Sequence[str]
    settings: Settings
    tasks: Literal["wait", "leave"]


class ResumeOptions(TypedDict, Generic[DepsT], total=False):
    """The options of a run that continues: all else is in the paused run."""

    deps: DepsT
    approval_ttl_s: float
    limits: Limits
