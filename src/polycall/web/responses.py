"""The bytes of a streamed answer, and what happens when its reader leaves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal, Protocol, TypeAlias, cast

from polycall._support import jsontext
from polycall.agents import AgentStream, Approval, ApprovalRequest, event_json
from polycall.errors import RequestError
from polycall.ir import JSON
from polycall.loop import RunEnd
from polycall.web.approvals import Approvals, durable_id
from polycall.web.events import Encoder, Waiting, words_for_browser

SSE_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # proxies that would hold the stream back
}
VERCEL_HEADERS = {**SSE_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}

# `cancel` stops the run, `leave` lets it go on to its end; a function is called, and decides.
OnLeave: TypeAlias = Literal["cancel", "leave"] | Callable[[], Awaitable[None]]

# What becomes of an answer whose durable run waits for a person: it goes on, or it ends.
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

    `id` is the event's number.  Of a durable run a reader goes on from there after a break: give
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
    """What becomes of the run when its reader is through, or has left."""
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
