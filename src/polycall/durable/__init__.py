"""Runs that outlive their process: agents on DBOS, in SQLite or Postgres.

durable.py     `Durable`: runs agents, and takes over what dead processes left
runs.py        `Runs`: what there is, without agents: list, show, decide, resume, cancel
event_log.py   the events of a run that works here, kept for readers in any process
records.py     runs, tasks and approvals as plain data
journal.py     a run's journal, kept as the steps of a DBOS workflow
approvals.py   approvals that are requested and answered in the database
tasks.py       background tasks of any process of the fleet
lease.py       who is alive, and who takes over whom
database.py    the engine, and the tables that DBOS does not have

Needs the extra `polycall[durable]`; nothing else imports this package.
"""

from importlib.util import find_spec

if find_spec("dbos") is None:
    raise ModuleNotFoundError("durable runs need DBOS; install 'polycall[durable]'", name="dbos")

from polycall.durable.durable import Durable
from polycall.durable.event_log import EventReader, RunStream
from polycall.durable.records import RunCancelledError, RunFailedError, RunInfo, RunResult, TaskInfo
from polycall.durable.runs import RunHandle, Runs

__all__ = [
    "Durable",
    "EventReader",
    "RunCancelledError",
    "RunFailedError",
    "RunHandle",
    "RunInfo",
    "RunResult",
    "RunStream",
    "Runs",
    "TaskInfo",
]
