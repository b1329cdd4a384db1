"""Drives a talk's state machine: the socket, the clock, the tasks of calls.

All that happens is reported to the machine in one queue, in its turn; what the machine asks is
carried out before the next report.  Frames of the vendor wait outside where there are too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from polycall.realtime.calls import OpenCall
from polycall.realtime.events import End, TalkEvent
from polycall.realtime.machine import TalkMachine
from polycall.realtime.talk_state import (
    Connect,
    Emit,
    Finish,
    RunCall,
    RunDelegation,
    Send,
    StopCall,
)
from polycall.voices import protocol
from polycall.voices.capabilities import Voice
from polycall.voices.codecs import make_codec
from polycall.voices.connection import ConnectionClosedError, Connector, Socket

FRAMES_MAX = 1000
# So many frames of the vendor wait here; the others wait in the connection.
_ROOM = 100
_AT_ONCE_MAX = 50
_SEND_S = 10.0
# How long the vendor's last words are waited for: what was used, for one that is billed by time.
_DRAIN_S = 3.0
_CANCELLED_S = 0.5  # for one that says what a reply used when it was cancelled


class TalkDriver:
    """Runs a machine from its first connection to its end; a subclass knows the application."""

    def __init__(self, voice: Voice, connect: Connector) -> None:
        self.voice = voice
        self._connect = connect
        self._codec = make_codec(voice)
        self._inbox: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._room = asyncio.Semaphore(_ROOM)
        self._socket: Socket | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calls: dict[str, asyncio.Task[Any]] = {}
        self._linking: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._end: End | None = None

    def begin(self, machine: TalkMachine, url: str, headers: dict[str, str]) -> None:
        """Connect as soon as the driver runs."""
        self._loop = asyncio.get_running_loop()
        self._machine = machine
        self._url = url
        self._headers = headers
        machine.actions.append(Connect(0.0))

    def _emit(self, event: TalkEvent) -> None:
        """The machine has something to tell."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Nothing continues any more."""
        raise NotImplementedError

    async def _call(self, opened: OpenCall) -> None:
        """Run a call."""
        raise NotImplementedError

    async def _delegated(self, delegation_id: str, text: str) -> None:
        """Do what the voice delegates."""
        raise NotImplementedError

    async def _drive(self) -> None:
        """Report what comes to the machine, and carry out what it asks, until the end."""
        try:
            await self._carry_out()
            while self._end is None:
                self._arm()
                (await self._inbox.get())()
                await self._carry_out()
                # What waits is done at once: the clock is looked at once for all of it.
                for _ in range(min(self._inbox.qsize(), _AT_ONCE_MAX)):
                    if self._end is None:
                        self._inbox.get_nowait()()
                        await self._carry_out()
                if not self._inbox.empty():
                    await asyncio.sleep(0)  # a vendor that never pauses does not stop other talks
            await self._drain()
        except Exception as error:
            self._end = self._end or End("failed", type(error).__name__)
            raise
        finally:
            await self._shut()
            self._finish()

    def _arm(self) -> None:
        due_s = self._machine.due_s()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if due_s is not None and due_s <= self._loop.time():
            self._post(self._machine.tick)  # a timer would be set anew before it is heard
        elif due_s is not None:
            self._timer = self._loop.call_at(due_s, self._post, self._machine.tick)

    def _post(self, report: Callable[[], None]) -> None:
        """Report something to the machine, in its turn."""
        self._inbox.put_nowait(report)

    async def _carry_out(self) -> None:
        actions = self._machine.actions
        while actions:
            action = actions.pop(0)
            match action:
                case Send(command):
                    await self._send(command)
                case Emit(event):
                    self._emit(event)
                case RunCall(opened):
                    task = self._start(self._call(opened))
                    self._calls[opened.call.id] = task
                case StopCall(call_id):
                    if (running := self._calls.pop(call_id, None)) is not None:
                        running.cancel()
                case RunDelegation(delegation_id, text):
                    self._start(self._delegated(delegation_id, text))
                case Connect(after_s):
                    if self._linking is not None:
                        self._linking.cancel()
                    self._linking = self._start(self._link(after_s))
                case Finish(reason, detail):
                    self._end = self._end or End(reason, detail)

    async def _send(self, command: protocol.Command) -> None:
        socket = self._socket
        if socket is None:
            return
        try:
            async with asyncio.timeout(_SEND_S):
                for frame in self._codec.encode(command):
                    await socket.send(frame)
        except (ConnectionClosedError, TimeoutError) as error:
            # The reader finds out why; a socket that takes nothing is as good as closed.
            if isinstance(error, TimeoutError):
                self._post(partial(self._lost, socket, "nothing could be sent", False))

    async def _link(self, after_s: float) -> None:
        """Close the connection, open another, and read it to its end."""
        old, self._socket = self._socket, None
        if old is not None:
            await old.close()
        await asyncio.sleep(after_s)
        try:
            socket = await self._connect(self._url, self._headers)
        except ConnectionClosedError as error:
            self._post(partial(self._lost, None, error.reason, error.is_refusal))
            return
        self._post(partial(self._opened, socket))
        try:
            while True:
                frame = await socket.receive()
                await self._room.acquire()
                self._post(partial(self._came, socket, frame))
        except ConnectionClosedError as error:
            self._post(partial(self._lost, socket, error.reason, error.is_refusal))
        finally:
            await socket.close()

    def _opened(self, socket: Socket) -> None:
        self._socket = socket
        self._machine.connected()
        self._codec = make_codec(self.voice, self._machine.connection.number)

    def _came(self, socket: Socket, frame: str | bytes) -> None:
        self._room.release()
        if socket is self._socket:
            for signal in self._codec.decode(frame):
                self._machine.signal(signal)

    def _lost(self, socket: Socket | None, reason: str, is_refusal: bool) -> None:
        if socket is self._socket:
            self._socket = None
            self._machine.lost(reason, refused=is_refusal)

    async def _drain(self) -> None:
        """Wait for the vendor's last words, where it has some."""
        if self._socket is None:
            return
        wait_s = _DRAIN_S if self.voice.billing == "seconds" else _CANCELLED_S
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._machine.is_owed:
                    (await self._inbox.get())()
                    await self._carry_out()

    async def _shut(self) -> None:
        """Leave nothing behind: no task, no socket, no timer."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a part of the talk; what it raises ends the talk, and is raised to its reader."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)
        return task

    def _ended_task(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._post(task.result)
