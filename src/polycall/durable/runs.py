"""Runs and tasks in a database, without their agents: list, show, decide, resume, cancel."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import os
import secrets
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from dbos import DBOSClient, WorkflowHandleAsync, WorkflowStatus
from dbos import error as errors
from msgspec.structs import replace
from typing_extensions import TypedDict, Unpack

from polycall._support import jsontext
from polycall._support.blocking import runs_a_loop
from polycall.agents import Agent
from polycall.agents.approval_backend import Answered
from polycall.agents.checks import check_id, check_names
from polycall.agents.history import HistoryLike, load_history
from polycall.agents.journal import check_variables
from polycall.agents.options import Prompt, messages_of
from polycall.agents.pausing import Approval, ApprovalDecision, Start
from polycall.agents.synchronous import portal
from polycall.agents.task import TaskOrder, TaskStatus
from polycall.durable import approvals
from polycall.durable.database import Database
from polycall.durable.event_log import EventReader
from polycall.durable.records import (
    RUN_WORKFLOW,
    TASK_WORKFLOW,
    VERSION,
    JSONSerializer,
    RunCancelledError,
    RunFailedError,
    RunInfo,
    RunResult,
    RunState,
    TaskInfo,
    argument_of,
    decoded,
    error_of,
    state_of,
)
from polycall.durable.tasks import TASK_QUEUE, progress_of, status_of
from polycall.errors import RequestError
from polycall.instrumentation import carried
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.agents.sessions import Sessions
    from polycall.durable.synchronous import SyncRuns

AnyAgent: TypeAlias = Agent[Any, Any]

RUN_QUEUE = "polycall-runs"


class StartOptions(TypedDict, total=False):
    """The options of a new run; `run_id` is the caller's own name for it.

    With `stream` its models are asked for their answers as they come, for `handle.stream`.
    `session` is the id of a conversation in `sessions`: the run finds what was said there, and the
    process that finishes it adds what it said.
    """

    run_id: str
    stream: bool
    history: HistoryLike
    variables: JSON
    user: str
    session: str


class Runs:
    """The runs of a database.  `async with Runs(url) as runs`; it runs nothing itself."""

    def __init__(self, url: str, *, poll_s: float = 0.1, sessions: Sessions | None = None) -> None:
        self.database = Database(url)
        self.poll_s = poll_s
        self.sessions = sessions
        self._client: DBOSClient | None = None
        self._pid = os.getpid()

    def __enter__(self) -> SyncRuns[Runs]:
        """The same for code without an event loop: each method waited for."""
        return self._entered("SyncRuns")

    def __exit__(self, *_: object) -> None:
        portal().run(self.__aexit__())

    def _entered(self, kind: str) -> Any:
        name = type(self).__name__
        if runs_a_loop():
            raise RequestError(
                f"this thread runs an event loop: write 'async with {name}(...)' in an async "
                "function"
            )
        portal().run(self.__aenter__())
        # Loaded by those who need it: it is made of what is here.
        return getattr(importlib.import_module("polycall.durable.synchronous"), kind)(self)

    async def __aenter__(self) -> Runs:
        await asyncio.to_thread(self._connect)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._disconnect)

    @property
    def client(self) -> DBOSClient:
        """DBOS's own client, for what is not here."""
        if self._client is None:
            raise RequestError("nothing is connected yet; use `async with`")
        check_not_forked(self._pid)
        return self._client

    def _connect(self) -> None:
        self.database.check()
        self._client = self._open()

    def _open(self) -> DBOSClient:
        self.database.create()
        return DBOSClient(system_database_engine=self.database.engine, serializer=JSONSerializer())

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.destroy()
            self._client = None
        self.database.close()

    async def start(
        self, agent: AnyAgent | str, prompt: Prompt, **options: Unpack[StartOptions]
    ) -> RunHandle:
        """Begin a run, somewhere in the fleet.  The same `run_id` again is the same run."""
        start = await self._in_session(checked_start(agent, prompt, options))
        await self.client.enqueue_async(
            {
                "workflow_name": RUN_WORKFLOW,
                "queue_name": RUN_QUEUE,
                "workflow_id": start.run_id,
                "app_version": VERSION,
            },
            jsontext.encode(start),
        )
        return RunHandle(self, start.run_id)

    async def _in_session(self, start: Start) -> Start:
        """The beginning with what its session holds, if it has one and is new."""
        if not start.session:
            return start
        if self.sessions is None:
            raise RequestError(
                f"the run is of the session {start.session!r}, and there are no sessions here; "
                f"write {type(self).__name__}(..., sessions=Sessions(...))"
            )
        if await self._workflows(workflow_ids=[start.run_id], load_output=False):
            return start
        async with self.sessions.open(start.session).turn("whole") as turn:
            begun = await turn.begin_elsewhere(start)
        variables = {**begun.variables, **start.variables}
        return replace(begun, variables=variables, carried=start.carried, streams=start.streams)

    def handle(self, run_id: str) -> RunHandle:
        """A run that was begun before, here or elsewhere."""
        return RunHandle(self, run_id)

    async def result(self, run_id: str) -> RunResult:
        """The result of a finished run.

        Raises `RunFailedError` or `RunCancelledError` otherwise.
        """
        await self.show(run_id)
        workflow: WorkflowHandleAsync[str]
        workflow = await self.client.retrieve_workflow_async(run_id)
        try:
            text = await workflow.get_result(polling_interval_sec=self.poll_s)
        except errors.DBOSAwaitedWorkflowCancelledError:
            raise RunCancelledError(f"run {run_id!r} was cancelled") from None
        except errors.DBOSException as error:
            raise RunFailedError(str(error)) from None
        return cast("RunResult", decoded(text, RunResult))

    async def list(
        self, *, state: RunState | None = None, limit: int = 100
    ) -> builtins.list[RunInfo]:
        """The newest runs first."""
        _check_limit(limit)
        rows = await self._workflows(name=RUN_WORKFLOW, limit=None if state else limit)
        waiting = await asyncio.to_thread(approvals.waiting, self.database)
        found = [_run(row, waiting.get(row.workflow_id, [])) for row in rows]
        return [each for each in found if state is None or each.state == state][:limit]

    async def unfinished(self, session: str) -> builtins.list[RunInfo]:
        """The runs of a session that are not over, the newest first: to join, or to cancel."""
        if self.sessions is None:
            raise RequestError(
                f"there are no sessions here; write {type(self).__name__}(sessions=)"
            )
        begun = await self.sessions.open(session).waiting()
        rows = await self._workflows(workflow_ids=begun, load_output=False) if begun else []
        states = [row for row in rows if state_of(row) in ("queued", "running")]
        waiting = await asyncio.to_thread(approvals.waiting, self.database)
        return [_run(row, waiting.get(row.workflow_id, [])) for row in states]

    async def show(self, run_id: str) -> RunInfo:
        """One run; `RequestError` where there is none."""
        rows = await self._workflows(name=RUN_WORKFLOW, workflow_ids=[run_id])
        if not rows:
            raise RequestError(f"there is no run {run_id!r}")
        waiting = await asyncio.to_thread(approvals.waiting, self.database)
        return _run(rows[0], waiting.get(run_id, []))

    async def steps(self, run_id: str) -> builtins.list[tuple[str, float]]:
        """The steps of a run, in order: their names, and the seconds that each took."""
        steps = await self.client.list_workflow_steps_async(run_id, load_output=False)
        return [
            (
                step["function_name"],
                ((step["completed_at_epoch_ms"] or 0) - (step["started_at_epoch_ms"] or 0)) / 1000,
            )
            for step in steps
        ]

    async def tasks(self, run_id: str = "", *, limit: int | None = 100) -> builtins.list[TaskInfo]:
        """The newest tasks first, of one run or of all; without a `limit`, each of them."""
        _check_limit(limit)
        prefix = f"{run_id}.task_" if run_id else None
        rows = await self._workflows(name=TASK_WORKFLOW, workflow_id_prefix=prefix, limit=limit)
        return await asyncio.to_thread(self._tasks, rows)

    async def task(self, task_id: str) -> TaskInfo:
        """One task, by `RUN.TASK`; `RequestError` where there is none."""
        rows = await self._workflows(name=TASK_WORKFLOW, workflow_ids=[task_id])
        if not rows:
            raise RequestError(f"there is no task {task_id!r}; a task is known as RUN.TASK")
        return (await asyncio.to_thread(self._tasks, rows))[0]

    async def approvals(self, run_id: str) -> builtins.list[Approval]:
        """The approvals that a run waits for."""
        made = await asyncio.to_thread(approvals.waiting, self.database)
        return made.get(run_id, [])

    async def allow(
        self,
        run_id: str,
        approval_id: str,
        *,
        always: bool = False,
        arguments: JSON | None = None,
        digest: str = "",
    ) -> None:
        """Let a call run; with `always`, each further one of its agent and tool.

        With `arguments` it runs with those instead of the model's.  With `digest`, only if the
        approval still has the one that it had when it was looked at.
        """
        own = await self._digest(run_id, approval_id, digest)
        decision = ApprovalDecision(allowed=True, always=always, arguments=arguments, digest=own)
        await self._decide(run_id, approval_id, decision)

    async def answer(
        self, run_id: str, approval_id: str, result: Any, *, is_error: bool = False
    ) -> None:
        """Give a call this result, which is JSON, instead of running it."""
        own = await self._digest(run_id, approval_id, "")
        decision = ApprovalDecision(allowed=True, result=Answered(result, is_error), digest=own)
        await self._decide(run_id, approval_id, decision)

    async def _digest(self, run_id: str, approval_id: str, seen: str) -> str:
        """The digest of an open approval; `RequestError` where another one was `seen`."""
        waiting = {each.id: each for each in await self.approvals(run_id)}
        found = waiting.get(approval_id)
        # An approval that is not open is refused by the database, in words of its own.
        own = "" if found is None else found.digest
        if found is not None and seen and seen != own:
            raise RequestError(
                f"the approval {approval_id!r} has the digest {own!r} now, not {seen!r}; "
                "look at it again"
            )
        return own

    async def deny(self, run_id: str, approval_id: str, reason: str = "") -> None:
        """Refuse a call; the model reads the reason."""
        await self._decide(run_id, approval_id, ApprovalDecision(allowed=False, reason=reason))

    async def cancel(self, run_id: str) -> None:
        """Stop a run and its tasks; a step under way is cut off."""
        if (await self.show(run_id)).state in ("finished", "failed", "cancelled"):
            return
        await self.client.cancel_workflow_async(run_id)
        await self._cancel_tasks(run_id)

    async def resume(self, run_id: str) -> None:
        """Let a run that was cancelled, or failed, continue from its last step, wherever."""
        info = await self.show(run_id)
        if info.state == "finished":
            raise RequestError(f"run {run_id!r} is over: it has {info.state}")
        if info.state == "failed":
            await asyncio.to_thread(self.database.reopen, run_id)
        if info.state in ("cancelled", "failed"):
            await self.client.resume_workflow_async(run_id, queue_name=RUN_QUEUE)

    async def cancel_task(self, task_id: str) -> None:
        """Stop a task."""
        await self.task(task_id)
        await self.client.cancel_workflow_async(task_id)

    async def resume_task(self, task_id: str) -> None:
        """Let a task that was cancelled run again, in any process of the fleet."""
        info = await self.task(task_id)
        if info.state != "cancelled":
            raise RequestError(f"task {task_id!r} is {info.state}; only a cancelled one is resumed")
        known = [queue.name for queue in await self.client.list_queues_async()]
        own = f"polycall-task-{info.tool}"
        name = own if own in known else TASK_QUEUE
        await self.client.resume_workflow_async(task_id, queue_name=name)

    async def _cancel_tasks(self, run_id: str) -> None:
        """Stop all tasks of a run that are not over."""
        for each in await self.tasks(run_id, limit=None):
            if each.state in ("queued", "running"):
                await self.client.cancel_workflow_async(each.id)

    async def _decide(self, run_id: str, approval_id: str, decision: ApprovalDecision) -> None:
        await asyncio.to_thread(approvals.decide, self.database, run_id, approval_id, decision)

    async def _workflows(self, **filters: Any) -> builtins.list[WorkflowStatus]:
        try:
            return await self.client.list_workflows_async(sort_desc=True, **filters)
        except errors.DBOSException as error:
            raise RequestError(f"the runs could not be read: {error}") from None

    def _tasks(self, rows: builtins.list[WorkflowStatus]) -> builtins.list[TaskInfo]:
        progress = progress_of(self.database, [row.workflow_id for row in rows]) if rows else {}
        return [_task(row, progress.get(row.workflow_id, (0.0, ""))) for row in rows]


class RunHandle:
    """A run, wherever it is."""

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self.run_id = run_id

    async def result(self) -> RunResult:
        """The result of the finished run.

        Raises `RunFailedError` or `RunCancelledError` otherwise.
        """
        return await self._runs.result(self.run_id)

    def stream(self, *, after: int = 0) -> EventReader:
        """Its events from any process: those after number `after`, and then as they come.

        A run that was begun with `stream=True`, or by `durable.stream`, has its answers word by
        word; else they come whole.
        """
        return EventReader(self._runs, self.run_id, after=after)

    async def info(self) -> RunInfo:
        """The run's present state."""
        return await self._runs.show(self.run_id)

    async def cancel(self) -> None:
        """Stop it, and its tasks."""
        await self._runs.cancel(self.run_id)


def checked_start(agent: AnyAgent | str, prompt: Prompt, options: StartOptions) -> Start:
    """The beginning of a run, as the process that continues it can read it."""
    check_names(options, StartOptions.__annotations__, "a durable run")
    name = agent if isinstance(agent, str) else getattr(agent, "name", None)
    run_id = options.get("run_id") or f"run_{secrets.token_hex(8)}"
    variables = options.get("variables") or {}
    user = options.get("user", "")
    session = options.get("session", "")
    for what, value, kind in (
        ("the name of an agent", name, str),
        ("run_id", run_id, str),
        ("user", user, str),
        ("session", session, str),
        ("variables", variables, dict),
    ):
        if not isinstance(value, kind):
            raise RequestError(f"{what} is a {kind.__name__}, not {value!r}")
    for what, value in (("a run_id", run_id), ("user", user), ("a session's id", session)):
        check_id(value, what)
    if session and options.get("history"):
        raise RequestError("a session brings its history; give session or history, not both")
    history = load_history(options.get("history") or [])
    start = Start.of(str(name), run_id, history, messages_of(prompt), user)
    start = replace(
        start,
        variables={**start.variables, **variables},
        carried=carried(),
        streams=bool(options.get("stream")),
        session=session,
    )
    check_variables(start.variables)
    if not start.messages and not session:
        raise RequestError("there is nothing to answer: prompt and history are empty")
    return start


def check_not_forked(pid: int) -> None:
    """`RequestError` in a child of the process that opened the database."""
    if pid != os.getpid():
        raise RequestError(
            f"the runs were opened in the process {pid}, from which this one was forked; fork "
            "before they are opened, or start the process by 'spawn'"
        )


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise RequestError(f"limit is above 0, not {limit}")


def _start_of(row: WorkflowStatus) -> tuple[Start | None, str]:
    """The beginning of a run, or why it is unreadable: one such run does not hide the others."""
    try:
        return (decoded(argument_of(row), Start), "") if row.input else (None, "")
    except RequestError as error:
        return None, str(error)


def _run(row: WorkflowStatus, approvals: list[Approval]) -> RunInfo:
    start, problem = _start_of(row)
    users = [message for message in start.messages if message.role == "user"] if start else []
    state = state_of(row)
    return RunInfo(
        id=row.workflow_id,
        agent=start.agent if start else "",
        state="waiting" if approvals and state == "running" else state,
        prompt=users[-1].text if users else "",
        created_at=(row.created_at or 0) / 1000,
        updated_at=(row.updated_at or 0) / 1000,
        executor=row.executor_id or "",
        error=error_of(row) or problem,
        approvals=approvals if state in ("running", "queued") else [],
    )


def _task(row: WorkflowStatus, progress: tuple[float, str]) -> TaskInfo:
    order, problem = None, ""
    try:
        order = decoded(argument_of(row), TaskOrder) if row.input else None
        status = status_of(row.workflow_id, order.call.name if order else "", row, progress)
    except RequestError as error:
        # One that is unreadable does not hide the others.
        problem = str(error)
        status = TaskStatus(row.workflow_id, "", "failed", message=problem)
    tool = order.call.name if order else ""
    return TaskInfo(
        id=row.workflow_id,
        run_id=row.workflow_id.rpartition(".")[0],
        tool=tool,
        state=status.state,
        progress=status.progress,
        message=status.message,
        arguments=(order.call.arguments or {}) if order else {},
        result=status.result.text if status.result else "",
        created_at=(row.created_at or 0) / 1000,
        updated_at=(row.updated_at or 0) / 1000,
        executor=row.executor_id or "",
    )
