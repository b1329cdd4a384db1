"""`Durable`: agents whose runs outlive the process, on one machine or on many."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from dbos import DBOS, DBOSConfig, SetWorkflowID
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import Unpack

from polycall._support import jsontext
from polycall.agents.agent import Agent, everyone
from polycall.agents.checks import check_seconds, listed
from polycall.agents.options import Prompt
from polycall.agents.pausing import Start
from polycall.agents.run import Run
from polycall.agents.task import TaskOrder
from polycall.agents.tasks import BackgroundToolset, run_task
from polycall.durable.approvals import DatabaseApprovalBackend
from polycall.durable.event_log import EventLog, EventReader, RunStream
from polycall.durable.journal import load_journal
from polycall.durable.lease import Lease, new_executor_id
from polycall.durable.records import (
    RUN_WORKFLOW,
    TASK_WORKFLOW,
    VERSION,
    JSONSerializer,
    RunResult,
    decoded,
)
from polycall.durable.runs import (
    RUN_QUEUE,
    AnyAgent,
    RunHandle,
    Runs,
    StartOptions,
    check_not_forked,
    checked_start,
)
from polycall.durable.tasks import TASK_QUEUE, DurableTasks, Reporter, queue_of
from polycall.errors import RequestError
from polycall.loop import Abandoned
from polycall.tools import AbstractToolset, ToolContext

if TYPE_CHECKING:
    from polycall.agents.sessions import Sessions
    from polycall.durable.synchronous import SyncDurable

_logger = logging.getLogger("polycall.durable")


class Durable(Runs):
    """Runs agents so that no run is lost with its process.

    `url` is `sqlite:///FILE`, or `postgresql://...` for several processes on several machines; they
    must have the same `agents`.  A process that dies is taken over from by the others, or by
    itself when it comes back, within `lease_s` (at once, where both are on one machine).  `deps`
    is what tools get as `context.deps`; `sessions` keep the conversations of runs that name one.
    `runs_max` and `tasks_max` bound what one process does at
    a time.  DBOS is one to a process, and so is this.
    """

    def __init__(
        self,
        url: str,
        *,
        agents: Iterable[AnyAgent],
        name: str = "polycall",
        deps: Any = None,
        lease_s: float = 10.0,
        poll_s: float = 0.1,
        runs_max: int = 100,
        tasks_max: int = 100,
        approval_ttl_s: float | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__(url, poll_s=poll_s, sessions=sessions)
        bounds: list[tuple[str, Any]] = [
            ("lease_s", lease_s),
            ("poll_s", poll_s),
            ("runs_max", runs_max),
            ("tasks_max", tasks_max),
        ]
        for what, value in bounds:
            if isinstance(value, bool) or not (isinstance(value, int | float) and value > 0):
                raise RequestError(f"{what} is above 0, not {value!r}")
        self.agents = everyone(_agents(agents))
        self.deps = deps
        self.executor_id = new_executor_id()
        self._name = name
        self._lease_s = lease_s
        self._runs_max = runs_max
        self._tasks_max = tasks_max
        check_seconds(approval_ttl_s, "approval_ttl_s")
        self._approval_ttl_s = approval_ttl_s
        self._working: set[asyncio.Task[Any]] = set()
        self._streams: dict[str, RunStream] = {}
        self._is_closing = False

    def __enter__(self) -> SyncDurable:
        return self._entered("SyncDurable")

    async def __aenter__(self) -> Durable:
        global _current  # noqa: PLW0603 - DBOS itself is one to a process
        if _current is not None:
            check_not_forked(_current._pid)
            raise RequestError("there is a Durable in this process already; close it first")
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        config: DBOSConfig = {
            "name": self._name,
            "system_database_engine": self.database.engine,
            "application_version": VERSION,
            "executor_id": self.executor_id,
            "serializer": JSONSerializer(),
            "log_level": "WARNING",
            # Nothing here waits for DBOS's messages, so they need no connection of their own.
            "use_listen_notify": False,
        }
        bounds = self._bounds()
        DBOS(config=config)
        _current = self
        try:
            await super().__aenter__()
            await self._make_queues(bounds)
            # In this thread: DBOS runs workflows on the loop that it finds here.
            DBOS.launch()
            lease = self._lease = Lease(
                self.database,
                self.client,
                self.executor_id,
                lease_s=self._lease_s,
                on_lost=self._stop_work,
            )
            await lease.begin()
        except BaseException:
            await self._destroy()
            raise
        self._keeping = asyncio.create_task(lease.keep(), name="polycall lease")
        self._keeping.add_done_callback(self._lease_ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop working; what is not finished continues elsewhere, or here after a restart."""
        self._is_closing = True
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        working = set(self._working)
        self._stop_work()
        if working:
            await asyncio.wait(working)
        await self._destroy(self._lease)

    async def start(
        self, agent: AnyAgent | str, prompt: Prompt, **options: Unpack[StartOptions]
    ) -> RunHandle:
        """Begin a run, somewhere in the fleet.  The same `run_id` again is the same run."""
        self._check_known(agent)
        return await super().start(agent, prompt, **options)

    def stream(
        self, agent: AnyAgent | str, prompt: Prompt, **options: Unpack[StartOptions]
    ) -> RunStream:
        """Begin a run in this process, whatever `runs_max` says, and hear its events.

        The same `run_id` again is the same run, wherever it is: its events come from the first.
        """
        self._check_known(agent)
        start = checked_start(agent, prompt, {**options, "stream": options.get("stream", True)})
        return RunStream(start, self._begin, self._streamed, self._rejoined)

    async def _begin(self, stream: RunStream) -> bool:
        """Begin the run here; false where it was begun before."""
        run_id = stream.run_id
        if await self._is_known(stream.start) or run_id in self._streams:
            return False
        stream.start = await self._in_session(stream.start)
        self._streams[run_id] = stream
        with SetWorkflowID(run_id):
            await DBOS.start_workflow_async(_run, jsontext.encode(stream.start))
        if (await self.show(run_id)).executor != self.executor_id:
            # Somebody else was quicker.
            del self._streams[run_id]
            return False
        return True

    async def _is_known(self, start: Start) -> bool:
        known = await self._workflows(workflow_ids=[start.run_id], load_output=False)
        if not known:
            return False
        agent = (await self.show(start.run_id)).agent
        if agent != start.agent:
            raise RequestError(
                f"run {start.run_id!r} was begun before, of the agent {agent!r}, and not of "
                f"{start.agent!r}; take another run_id"
            )
        return True

    async def _streamed(self, run_id: str) -> RunResult:
        self._check_open(run_id)
        return await self.result(run_id)

    def _rejoined(self, run_id: str, after: int) -> EventReader:
        self._check_open(run_id)
        return EventReader(self, run_id, after=after)

    def _check_open(self, run_id: str) -> None:
        if self._is_closing:
            raise RequestError(f"run {run_id!r} continues elsewhere, or here after a restart")

    def _check_known(self, agent: AnyAgent | str) -> None:
        name = agent if isinstance(agent, str) else getattr(agent, "name", agent)
        if name not in self.agents:
            raise RequestError(f"there is no agent {name!r} here; known: {', '.join(self.agents)}")

    # What the workflows do.

    async def follow_run(self, text: str) -> str:
        """Do a run, from its beginning along what is known of it."""
        start = cast("Start", decoded(text, Start))
        agent = self.agents.get(start.agent)
        if agent is None:
            raise RequestError(f"there is no agent {start.agent!r} in this process")
        journal = await load_journal(self.client, start.run_id)
        approvals = DatabaseApprovalBackend(
            self.database, start.run_id, ttl_s=self._approval_ttl_s, poll_s=self.poll_s
        )
        heard = self._streams.get(start.run_id)
        await approvals.load()
        tasks = DurableTasks(self.client, self.database, start.run_id, poll_s=self.poll_s)
        with self._at_work():
            try:
                stream = agent.follow(
                    start,
                    journal=journal,
                    approvals=approvals,
                    tasks=tasks,
                    deps=self.deps,
                    stream=start.streams,
                )
                async with EventLog(self.database, start.run_id) as log, stream:
                    async for event in stream:
                        if await log.add(event) and heard is not None:
                            await heard.heard(event, log.position)
            except Abandoned as lost:
                if (await self.show(start.run_id)).state == "cancelled":
                    # Calls that were under way may have begun further ones meanwhile.
                    await self._cancel_tasks(start.run_id)
                # To DBOS in its own words, so that it leaves the run to its holder.
                raise lost.__cause__ or lost from None
            finally:
                if heard is not None:
                    heard.ended()
                    self._streams.pop(start.run_id, None)
        if start.session and self.sessions is not None:
            async with self.sessions.open(start.session).turn("whole") as turn:
                await turn.end_elsewhere(start, stream.run)
        # Nobody will hear of those that are not over.
        await self._cancel_tasks(start.run_id)
        return jsontext.encode(_result(stream.run))

    async def do_task(self, text: str) -> str:
        """Do a background task, in one step."""
        order = cast("TaskOrder", decoded(text, TaskOrder))
        toolset = self._toolset(order)
        task_id = DBOS.workflow_id or order.id
        context: ToolContext[Any] = ToolContext(deps=self.deps)

        async def step() -> str:
            report = Reporter(self.database, task_id)
            result = await run_task(order, toolset, context, report)
            return jsontext.encode(result)

        with self._at_work():
            return await DBOS.run_step_async({"name": order.call.name, "preemptible": True}, step)

    def _toolset(self, order: TaskOrder) -> AbstractToolset:
        agent = self.agents.get(order.agent)
        for toolset in agent.toolsets if agent else ():
            if isinstance(toolset, BackgroundToolset) and order.call.name in toolset:
                return toolset.inner
        raise RequestError(
            f"the agent {order.agent!r} of this process has no tool {order.call.name!r}"
        )

    @contextmanager
    def _at_work(self) -> Generator[None]:
        task = asyncio.current_task()
        assert task is not None
        if self._is_closing:
            raise asyncio.CancelledError
        self._working.add(task)
        try:
            yield
        finally:
            self._working.discard(task)

    def _lease_ended(self, keeping: asyncio.Task[None]) -> None:
        if not keeping.cancelled() and (error := keeping.exception()) is not None:
            # Others will take over, so nothing may continue here.
            _logger.error("the lease is not kept any more: work stops", exc_info=error)
            self._is_closing = True
            self._stop_work()

    def _stop_work(self) -> None:
        for task in self._working:
            task.cancel()

    def _connect(self) -> None:
        client = self._open()
        # Queues that are there before DBOS looks for them are served at once.
        client._sys_db.run_migrations()  # pyright: ignore[reportPrivateUsage]
        self._client = client

    def _bounds(self) -> dict[str, int]:
        """The queues of tools that are bounded over the whole fleet."""
        bounds: dict[str, int] = {}
        tools = [tool for agent in self.agents.values() for each in agent.toolsets for tool in each]
        for tool in tools:
            bound = tool.concurrency
            if bound is not None and bounds.setdefault(queue_of(tool), bound) != bound:
                raise RequestError(f"two tools named {tool.name!r} differ in their concurrency")
        return bounds

    async def _make_queues(self, bounds: dict[str, int]) -> None:
        await self._make_queue(RUN_QUEUE, each=self._runs_max)
        await self._make_queue(TASK_QUEUE, each=self._tasks_max)
        for name, bound in bounds.items():
            await self._make_queue(name, together=bound)

    async def _make_queue(
        self, name: str, *, each: int | None = None, together: int | None = None
    ) -> None:
        """A queue of which each process, and all together, run so many at a time."""
        await self.client.register_queue_async(
            name,
            worker_concurrency=each,
            global_concurrency=together,
            polling_interval_sec=self.poll_s,
            on_conflict="always_update",
        )

    async def _destroy(self, lease: Lease | None = None) -> None:
        global _current  # noqa: PLW0603
        # In a thread: DBOS's own threads may wait for this loop while they end.
        await asyncio.to_thread(DBOS.destroy)
        # DBOS has put its own pool of threads under this loop, and closed it.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        _current = None
        try:
            if lease is not None:
                await asyncio.to_thread(lease.end)
        except SQLAlchemyError as error:
            _logger.warning("the lease could not be given back, and will run out: %s", error)
        finally:
            await super().__aexit__()


def _agents(agents: Iterable[AnyAgent]) -> list[AnyAgent]:
    found = listed(agents, "agents")
    for each in found:
        if not isinstance(each, Agent):
            raise RequestError(f"a durable run is of an Agent, not of {each!r}")
    return found


def _result(run: Run[Any]) -> RunResult:
    # Plain data: a model of pydantic, a dataclass and the like become what they are in JSON.
    output = None if run.value is None else jsontext.decode(to_json(run.value))
    return RunResult(
        reason=run.reason,
        text=run.text,
        history=run.history,
        usage=run.usage,
        cost=run.cost,
        agents=run.agents,
        problem=run.problem,
        output=output,
    )


_current: Durable | None = None


def _durable() -> Durable:
    if _current is None:
        raise asyncio.CancelledError
    return _current


@DBOS.workflow(name=RUN_WORKFLOW)
async def _run(text: str) -> str:
    return await _durable().follow_run(text)


@DBOS.workflow(name=TASK_WORKFLOW)
async def _task(text: str) -> str:
    return await _durable().do_task(text)
