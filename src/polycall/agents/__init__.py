"""Agents: a loop over function calls, and what is built of nothing but further functions.

agent.py       the agent; spec.py its settings; runner.py the steps of a run; run.py the result
context.py     what tools can read about the run; history.py a conversation between runs, as JSON
output.py      answers of a given type; tools whose result is the output
handoff.py     handing a conversation over and back
routing.py     choosing one of many agents, by a model or by a rule
approval.py    approvals of calls; approval_backend.py where they are requested and answered
journal.py     the record of a run; journaling.py answers from it, or adds to it
pausing.py     runs that stop, and continue elsewhere
task.py        one background task; tasks.py calls that continue while the model talks
guard.py       checks around an agent; compaction.py conversations that became too long
events.py      events of agents and tools; event_json.py events as typed JSON
growing.py     an output while it is written
programs.py    programs inside an agent; offer.py the tools that a step offers
database.py    SQLite and Postgres for everything that agents keep
instrumented_run.py  a run as observers see it; each model asked by its agent's client
sessions/      conversations that are kept
memory/        facts that are kept between runs
knowledge/     files that can be searched
tree/          many tools, of which the model sees few
model_written_tools/  tools that the model writes

Imports the public names of the floors below only, and could be a package of its own.  What an agent
can do without loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polycall._support.later import load_later
from polycall.agents.agent import Agent
from polycall.agents.approval_backend import ApprovalRequest
from polycall.agents.context import AgentContext
from polycall.agents.event_json import event_json, event_of
from polycall.agents.events import HandoffEvent, ProgressEvent, Resumed, TaskEvent
from polycall.agents.guard import Guarded
from polycall.agents.history import History
from polycall.agents.journal import RunDivergenceError
from polycall.agents.options import ResumeOptions, RunOptions
from polycall.agents.output import OutputError
from polycall.agents.pausing import Approval, PausedRun
from polycall.agents.routing import Router, by_words, triage
from polycall.agents.run import AgentEvent, AgentStream, Run, Stopped, SyncAgentStream, partial_run
from polycall.agents.spec import Handoff

if TYPE_CHECKING:
    from polycall.agents.knowledge import Knowledge, Passage
    from polycall.agents.memory import Injection, Memory
    from polycall.agents.model_written_tools import ToolStore, ToolVersion, WrittenTools
    from polycall.agents.sessions import (
        Compaction,
        Session,
        SessionConflictError,
        Sessions,
        summary_by,
    )
    from polycall.agents.tree import ToolTree

__all__ = [
    "Agent",
    "AgentContext",
    "AgentEvent",
    "AgentStream",
    "Approval",
    "ApprovalRequest",
    "Compaction",
    "Guarded",
    "Handoff",
    "HandoffEvent",
    "History",
    "Injection",
    "Knowledge",
    "Memory",
    "OutputError",
    "Passage",
    "PausedRun",
    "ProgressEvent",
    "ResumeOptions",
    "Resumed",
    "Router",
    "Run",
    "RunDivergenceError",
    "RunOptions",
    "Session",
    "SessionConflictError",
    "Sessions",
    "Stopped",
    "SyncAgentStream",
    "TaskEvent",
    "ToolStore",
    "ToolTree",
    "ToolVersion",
    "WrittenTools",
    "by_words",
    "event_json",
    "event_of",
    "partial_run",
    "summary_by",
    "triage",
]

_HOMES = {
    "polycall.agents.knowledge": "Knowledge Passage",
    "polycall.agents.memory": "Injection Memory",
    "polycall.agents.model_written_tools": "ToolStore ToolVersion WrittenTools",
    "polycall.agents.sessions": "Compaction Session SessionConflictError Sessions summary_by",
    "polycall.agents.tree": "ToolTree",
}

if not TYPE_CHECKING:  # a checker would take any name
    __getattr__, __dir__ = load_later(__name__, _HOMES)
