"""The bytes of a streamed answer; what happens when its reader leaves, or is asked to approve."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Literal, Protocol, TypeAlias, cast

import msgspec
from msgspec import Struct
from typing_extensions import TypeVar

from polycall._support import jsontext
from polycall.agents import AgentStream, Approval, ApprovalRequest, PausedRun, event_json
from polycall.errors import RequestError
from polycall.ir import JSON
from polycall.loop import RunEnd
from polycall.web.events import Encoder, Waiting, words_for_browser

SSE_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # proxies that would hold the stream back
}
VERCEL_HEADERS = {**SSE_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}

# `cancel` stops the run, `leave` lets it continue to its end; a function is called, and decides.
OnLeave: TypeAlias = Literal["cancel", "leave"] | Callable[[], Awaitable[None]]

# What becomes of an answer whose durable run waits for a person: it continues, or it ends.
OnApproval: TypeAlias = Literal["event", "interrupt"]

# Runs whose reader has left: each ends by its own limits.
_left: set[asyncio.Task[None]] = set()
_BREAKS = re.compile(r"[\r\n]")


class Events(Protocol):
    """A stream of a run's events: of an agent, a session, or a durable run."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...

    async def __anext__(self) -> Any: ...


async def sse(
    stream: Events,
    *,
    approvals: Approvals | None = None,
    on_leave: OnLeave = "cancel",
) -> AsyncGenerator[bytes]:
    """Server-Sent Events: `event` is the type, `data` the typed JSON of docs/events.md.

    `id` is the event's number.  Of a durable run a reader continues from there after a break: give
    `handle.stream(after=int(last_event_id))`.  The last event is `end` with the reason, or
    `error` with words.  Without `approvals` nobody can answer, and calls that need it are refused.
    """
    number = 0
    reason = ""
    async with aclosing(_events(stream, approvals, on_leave)) as events:
        async for event in events:
            if isinstance(event, BaseException):
                yield _event("error", {"message": words_for_browser(event)})
                return
            if isinstance(event, RunEnd):
                reason = event.reason
            number = getattr(stream, "position", number + 1)
            data = event_json(event)
            yield _event(data["type"], data, number)
    yield _event("end", {"reason": reason})


async def encoded(
    stream: Events,
    encoder: Encoder,
    *,
    approvals: Approvals | None,
    on_leave: OnLeave,
    on_approval: OnApproval,
    last: bytes = b"",
) -> AsyncGenerator[bytes]:
    """A run in the format of `encoder`, each object as one event."""
    if on_approval not in ("event", "interrupt"):
        raise RequestError(f"on_approval is 'event' or 'interrupt', not {on_approval!r}")
    for data in encoder.start():
        yield _data(data)
    reason = ""
    waiting: list[Waiting] = []
    interrupts = on_approval == "interrupt"
    async with aclosing(_events(stream, approvals, on_leave, interrupts=interrupts)) as events:
        async for event in events:
            if interrupts and isinstance(event, Approval):
                position = getattr(stream, "position", 0)
                asked = durable_id(getattr(stream, "run_id", ""), position, event.id)
                waiting, reason = [Waiting(asked, event)], "paused"
                break
            if isinstance(event, BaseException):
                for data in encoder.failed(words_for_browser(event)):
                    yield _data(data)
                yield last
                return
            if isinstance(event, RunEnd):
                reason = event.reason
            for data in encoder.feed(event):
                yield _data(data)
    if isinstance(stream, AgentStream):
        run = cast("AgentStream[Any]", stream).run
        reason = reason or run.reason
        waiting = [Waiting(each.id, each) for each in run.paused.waiting] if run.paused else []
    for data in encoder.end(waiting, reason):
        yield _data(data)
    if last:
        yield last


async def _events(
    stream: Events, approvals: Approvals | None, on_leave: OnLeave, *, interrupts: bool = False
) -> AsyncGenerator[Any]:
    """The events, and an error as the last of them; looks after a reader that leaves.

    With `interrupts` a durable run's approval is the last.
    """
    if on_leave not in ("cancel", "leave") and not callable(on_leave):
        raise RequestError(f"on_leave is 'cancel', 'leave' or a function, not {on_leave!r}")
    asked: list[ApprovalRequest] = []
    is_over = False
    await stream.__aenter__()
    try:
        while True:
            try:
                event = await anext(stream)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - said to the reader, and logged
                is_over = True
                yield error
                return
            if isinstance(event, ApprovalRequest):
                if approvals is None:
                    event.deny("nobody can be asked: this stream takes no approvals")
                else:
                    approvals.add(event)
                    asked.append(event)
            is_over = interrupts and isinstance(event, Approval)
            yield event
            if is_over:
                return
        is_over = True
    finally:
        await _left_by(stream, on_leave, approvals, asked, is_over=is_over)


async def _left_by(
    stream: Events,
    on_leave: OnLeave,
    approvals: Approvals | None,
    asked: list[ApprovalRequest],
    *,
    is_over: bool,
) -> None:
    """Decide on the run after its reader has finished or left."""
    if is_over or on_leave == "cancel":
        await stream.__aexit__(None, None, None)
        return
    if callable(on_leave):
        await stream.__aexit__(None, None, None)
        await on_leave()
        return
    for request in asked:
        if approvals is not None:
            approvals.drop(request)
    task = asyncio.create_task(_to_its_end(stream), name="a run whose reader has left")
    _left.add(task)
    task.add_done_callback(_left.discard)


async def _to_its_end(stream: Events) -> None:
    try:
        async for event in stream:
            if isinstance(event, ApprovalRequest):
                event.deny("the person who was asked has left")
    except Exception as error:  # noqa: BLE001 - nobody reads it any more, but for the log
        words_for_browser(error)
    finally:
        await stream.__aexit__(None, None, None)


def _event(kind: str, data: JSON, number: int | None = None) -> bytes:
    head = "" if number is None else f"id: {number}\n"
    name = _BREAKS.sub("", kind)
    return f"{head}event: {name}\ndata: ".encode() + jsontext.encode_bytes(data) + b"\n\n"


def _data(data: JSON) -> bytes:
    return b"data: " + jsontext.encode_bytes(data) + b"\n\n"


StreamT_co = TypeVar("StreamT_co", covariant=True)


class Verdict(Struct, frozen=True):
    """A person's answer to an approval."""

    allowed: bool
    reason: str = ""


class Approvals:
    """Requests of runs that continue in this process, until each is answered.

    Give it to the function that streams a run; a later request answers by `answer`.  An id is
    that of the approval event.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, ApprovalRequest] = {}

    def add(self, request: ApprovalRequest) -> None:
        """Keep a request until it is answered."""
        self._waiting[request.call_id] = request

    def answer(self, approval_id: str, verdict: Verdict) -> None:
        """Answer a request; `RequestError` where none of this id waits."""
        request = self._waiting.pop(approval_id, None)
        if request is None:
            known = ", ".join(map(repr, self._waiting)) or "none"
            raise RequestError(f"no approval {approval_id!r} waits here; waiting: {known}")
        if verdict.allowed:
            request.allow()
        else:
            request.deny(verdict.reason)

    def drop(self, request: ApprovalRequest) -> None:
        """Refuse a request whose reader has left."""
        if self._waiting.pop(request.call_id, None) is not None:
            request.deny("the person who was asked has left")


class DurableRuns(Protocol[StreamT_co]):
    """`Durable`, or `Runs` of its database."""

    async def approvals(self, run_id: str) -> list[Approval]: ...

    async def allow(self, run_id: str, approval_id: str) -> None: ...

    async def deny(self, run_id: str, approval_id: str, reason: str = "") -> None: ...

    def handle(self, run_id: str) -> DurableHandle[StreamT_co]: ...


class DurableHandle(Protocol[StreamT_co]):
    """A run of it."""

    def stream(self, *, after: int = 0) -> StreamT_co: ...


async def answer_durable(
    runs: DurableRuns[StreamT_co], verdicts: Mapping[str, Verdict]
) -> tuple[str, StreamT_co]:
    """Answer what a durable run waits for; its id, and its events after the question.

    For answers to `on_approval="interrupt"`.  The first answer counts; a later one only reads on.
    `RequestError` where the ids are not those that such an answer gave.
    """
    run_id, position = "", 0
    for asked, verdict in verdicts.items():
        run_id, position, approval_id = _of_durable_id(asked)
        if approval_id not in [each.id for each in await runs.approvals(run_id)]:
            continue
        if verdict.allowed:
            await runs.allow(run_id, approval_id)
        else:
            await runs.deny(run_id, approval_id, verdict.reason)
    if not run_id:
        raise RequestError("there is no answer to an approval in this request")
    return run_id, runs.handle(run_id).stream(after=position)


def durable_id(run_id: str, position: int, approval_id: str) -> str:
    """The id by which a browser answers an approval: it says where the run's events continue."""
    text = jsontext.encode([run_id, position, approval_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _of_durable_id(asked: str) -> tuple[str, int, str]:
    try:
        data = base64.urlsafe_b64decode(asked + "=" * (-len(asked) % 4))
        return msgspec.json.decode(data, type=tuple[str, int, str])
    except (ValueError, msgspec.MsgspecError):
        raise RequestError(f"{asked[:80]!r} is no approval of a durable run") from None


def decide(paused: PausedRun, verdicts: Mapping[str, Verdict]) -> None:
    """Decide a paused run's approvals as a browser did; ids that it does not have are refused."""
    for approval_id, verdict in verdicts.items():
        if verdict.allowed:
            paused.allow(approval_id)
        else:
            paused.deny(approval_id, verdict.reason)
