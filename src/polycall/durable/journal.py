"""A run's journal, kept as the steps of its DBOS workflow.

DBOS knows a step by its number, which is the order in which steps begin; calls that run side by
side have no order that a replay would repeat.  So a step's name says what it is, all steps are read
when the run begins again, and new ones are numbered after them.
"""

from __future__ import annotations

from dbos import DBOS, DBOSClient
from dbos import error as errors

from polycall._support import jsontext
from polycall.agents.journal import Entry, Journal, Work
from polycall.durable.records import decoded
from polycall.loop import Abandoned

# What DBOS raises where this process may not continue.
LOST = (errors.DBOSWorkflowCancelledError, errors.DBOSWorkflowConflictIDError)


class StepJournal(Journal):
    """Each entry is a step: recorded once, and only by the process that has the run."""

    async def done(self, key: str, work: Work, *, has_steps: bool) -> Entry:
        try:
            if has_steps:
                # Steps do not hold steps: this one is the record of what is done.
                entry = await work()
                await DBOS.run_step_async({"name": key}, _given, jsontext.encode(entry))
                return entry

            async def step() -> str:
                return jsontext.encode(await work())

            text = await DBOS.run_step_async({"name": key, "preemptible": True}, step)
        except LOST as error:
            raise Abandoned(str(error)) from error
        return decoded(text, Entry)


async def load_journal(client: DBOSClient, run_id: str) -> StepJournal:
    """The journal of the run whose workflow this is called from."""
    steps = await client.list_workflow_steps_async(run_id)
    entries = {
        step["function_name"]: decoded(step["output"], Entry)
        for step in steps
        # A step that failed is done again: the model was out of reach, or a tool's code broke.
        if isinstance(step["output"], str)
    }
    last = max((step["function_id"] for step in steps), default=0)
    while last > 0 and DBOS.reserve_step().step_id < last:
        pass
    return StepJournal(run_id, entries)


async def _given(text: str) -> str:
    return text
