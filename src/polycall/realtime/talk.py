"""A talk: an agent that is spoken with, through a realtime voice."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Literal, cast

from msgspec.structs import replace

from polycall.agents import Agent, ApprovalRequest, Guarded
from polycall.agents.approval_backend import Answer, Approve
from polycall.agents.events import ProgressEvent
from polycall.agents.history import History, HistoryLike, load_history
from polycall.agents.synchronous import default_client
from polycall.client import Client
from polycall.errors import RequestError
from polycall.instrumentation import RunFinished
from polycall.ir import Message, Text, ToolResult
from polycall.loop import CallEnd, CallStart, ToolEvent
from polycall.realtime import events
from polycall.realtime.agent_side import AgentSide, check_agent, unsupported
from polycall.realtime.approving import VoiceApprovals
from polycall.realtime.calls import OpenCall
from polycall.realtime.delegate import Delegate, progress_of
from polycall.realtime.driver import FRAMES_MAX, TalkDriver
from polycall.realtime.events import TalkEvent, TalkRun
from polycall.realtime.machine import TalkMachine
from polycall.realtime.played import ClockPlayed, PlayedTime
from polycall.realtime.talk_state import Spending, refused
from polycall.voices import protocol
from polycall.voices.audio import AudioFormat, Resampler
from polycall.voices.capabilities import Voice, voice_for
from polycall.voices.connection import (
    Connector,
    connect_websocket,
)

# Sound goes to the model in pieces of so much: a frame for each 20 ms costs twice the CPU.
_PIECE_MS = 40.0
_SILENCE_MS = 100.0
_EVENTS_MAX = 4000
_SOUND_BYTES_MAX = 32 * 2**20
# So long the words of the caller are waited for, where a guard is to see them before a call.
_WORDS_S = 3.0


class Talk(TalkDriver):
    """A conversation by voice.  Use it as an async context manager, and read its events.

        async with Talk(agent, voice="openai/gpt-realtime-2.1") as talk:
            async for event in talk: ...
        print(talk.run.cost)

    The voice calls the agent's tools, or, where it can only delegate, the agent works behind it.
    `sound` is the format of what `listen` takes and `Audio` events have; where none is given they
    are the voice's own, `sound_in` and `sound_out`.  `played` says how much was heard; where none
    is given, a clock does.  `approve` answers calls of tools that need approval; with `"voice"` the
    caller is asked aloud, and without it they come as events.  `cost_max` (US dollars) and
    `talk_s_max` (seconds) end the talk, at most one reply late.  `capabilities` describe a voice
    that is not known.  Raises `RequestError` for what no talk with this voice can do.
    """

    def __init__(
        self,
        agent: Agent[Any, Any] | Guarded[Any],
        *,
        voice: str,
        speaker: str = "",
        history: HistoryLike | None = None,
        deps: Any = None,
        variables: dict[str, Any] | None = None,
        user: str = "",
        approve: Approve | Literal["voice"] | None = None,
        cost_max: Decimal | float | None = None,
        talk_s_max: float | None = None,
        sound: AudioFormat | None = None,
        played: PlayedTime | None = None,
        capabilities: Voice | None = None,
        connect: Connector = connect_websocket,
    ) -> None:
        provider, slash, model = voice.partition("/")
        if not slash or not model:
            raise RequestError(f"voice is 'provider/model', not {voice!r}")
        super().__init__(capabilities or voice_for(provider, model), connect)
        known, self._checks = check_agent(agent, self.voice)
        if approve is not None and approve != "voice" and not callable(approve):
            raise RequestError(
                f"approve is a function or 'voice', not {approve!r}; a talk cannot pause; it "
                "continues while somebody is asked"
            )
        bound = known.limits.cost_usd if cost_max is None else Decimal(str(cost_max))
        if bound is not None and self.voice.price is None:
            raise RequestError(f"cost_max needs a known price, and {voice!r} has none")
        self._model = voice
        self._approve = approve
        self._talk_s_max = known.limits.wall_s if talk_s_max is None else talk_s_max
        self._history = load_history(history or [])
        self._side = AgentSide(known, self._history, deps, user)
        self._variables = variables or {}
        self._spending = Spending(self.voice.price, bound)
        self._input, self._output = _formats(self.voice, sound)
        self.sound_in, self.sound_out = sound or self._input, sound or self._output
        self._session = protocol.OpenSession(
            model,
            "",
            speaker=speaker,
            input_format=self._input,
            output_format=self._output,
            history=self._history.messages,
        )
        self._resample_in = Resampler(self.sound_in, self._input)
        self._resample_out = Resampler(self._output, self.sound_out)
        self._played = played
        self._asked_aloud = VoiceApprovals()
        self._before_question: frozenset[str] = frozenset()
        self._events: deque[TalkEvent] = deque()
        self._has_events = asyncio.Event()
        self._dropped_ms = 0.0
        self._sound_bytes = 0
        self._waiting = bytearray()
        self._listened_s = 0.0
        self._judging: set[asyncio.Task[Any]] = set()
        self._written = 0
        self._judged: set[tuple[str, str]] = set()
        self._doubts = 0  # checks that have not passed
        self._steps: dict[str, int] = {}
        self._run: TalkRun | None = None
        self._driver: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Talk:
        if self._driver is not None:
            raise RequestError("a talk is held once; make another Talk, with history= of this one")
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        client = self._side.agent.client or await default_client()
        self._side.begin(client, self._ask, self._variables)
        addresses = client if isinstance(client, Client) else await default_client()
        path = self.voice.path.format(model=self._session.model)
        url, headers = addresses.address(self._model, path)
        session = await self._side.session(self._session, self.voice)
        machine = TalkMachine(
            self.voice,
            session,
            played=self._played or ClockPlayed(loop.time),
            now_s=loop.time,
            manners=self._side.manners(),
            spending=self._spending,
            talk_s_max=self._talk_s_max,
        )
        machine.warnings += unsupported(self._side.agent, self.voice)
        if self.voice.replies == "continuous":
            self._delegate = Delegate(
                self._side.agent,
                History([], [*self._history.frames], self._history.variables),
                approve=self._ask,
                deps=self._side.deps,
                user=self._side.user,
                variables=self._variables,
            )
        self.begin(machine, "ws" + url.removeprefix("http"), headers)
        if self.voice.replies == "continuous":
            self._start(self._keep_flowing())
        self._driver = asyncio.create_task(self._drive(), name="talk")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._closed()
        if kind is None:  # else what is raised may be just that, and would lose its place
            await self.close()

    def __aiter__(self) -> Talk:
        return self

    async def __anext__(self) -> TalkEvent:
        while not self._events:
            if self._driver is None or self._driver.done():
                if self._driver is not None:
                    self._driver.result()
                raise StopAsyncIteration
            self._has_events.clear()
            await self._has_events.wait()
        event = self._events.popleft()
        if isinstance(event, events.Audio):
            self._sound_bytes -= len(event.data)
        return event

    def listen(self, data: bytes) -> None:
        """Sound of the caller, in the format of `sound_in`; pieces may have any length.

        It is sent in pieces of 40 ms.  What comes faster than it can be sent is dropped, and a
        `Dropped` event says so.
        """
        self._check_open()
        self._listened_s = self._loop.time()
        self._waiting += self._resample_in.feed(data)
        size = int(self._input.bytes_per_ms * _PIECE_MS)
        if len(self._waiting) < size:
            return
        whole = len(self._waiting) // 2 * 2
        piece, self._waiting = bytes(self._waiting[:whole]), self._waiting[whole:]
        if self._inbox.qsize() >= FRAMES_MAX:
            self._show(events.Dropped("input", self._input.ms(len(piece))))
            return
        self._post(partial(self._machine.listen, piece))

    def say(self, text: str) -> None:
        """Let the voice say this, once nobody speaks."""
        self._check_open()
        self._post(partial(self._machine.say, text))

    def write(self, text: str) -> None:
        """A text that the caller has typed."""
        self._check_open()
        self._post(partial(self._wrote, text))

    def press(self, digit: str) -> None:
        """A key of the caller's telephone: an event, and a text for the model."""
        self._check_open()
        self._post(partial(self._pressed, digit))

    def hang_up(self) -> None:
        """End the talk; its last event comes when it has ended."""
        self._check_open()
        self._post(partial(self._machine.hang_up))

    async def close(self) -> None:
        """End the talk, and wait until nothing of it is left."""
        await self._closed()
        if self._driver is not None and not self._driver.cancelled():
            self._driver.result()

    async def _closed(self) -> None:
        if self._driver is None:
            return
        if not self._driver.done():
            self._post(self._machine.hang_up)
        await asyncio.wait([self._driver])

    @property
    def is_timed(self) -> bool:
        """Whether it is known what plays: the talk is open, or was made with `played=`."""
        return self._driver is not None or self._played is not None

    @property
    def played(self) -> PlayedTime:
        """The time that was heard.

        `RequestError` before the talk is open, if it keeps the time itself.
        """
        if self._driver is not None:
            return self._machine.played
        if self._played is None:
            raise RequestError("the talk is not open yet; write 'async with Talk(...) as talk:'")
        return self._played

    @property
    def run(self) -> TalkRun:
        """The finished talk; `RequestError` before its end."""
        if self._run is None:
            raise RequestError("the talk is not over; read its events to the end first")
        return self._run

    async def _keep_flowing(self) -> None:
        """A voice that always listens wants silence where the application has no sound."""
        silence = self._input.silence(_SILENCE_MS)
        while True:
            await asyncio.sleep(_SILENCE_MS / 1000)
            if self._loop.time() - self._listened_s > 1.5 * _SILENCE_MS / 1000:
                self._post(partial(self._machine.listen, silence))

    def _finish(self) -> None:
        end = self._end or events.End("closed", "the talk was cancelled")
        for opened in list(self._machine.calls.open.values()):
            gone = ToolResult(opened.call.id, [Text("the talk ended before it was done")], True)
            self._machine.transcript.result(opened.reply_id, gone)
            self._show(CallEnd(self._step(opened.reply_id), opened.call, gone))
        self._machine.warn_of_usage()
        usage = self._spending.usage.tokens + self._spending.delegates
        cost, state = self._spending.cost, self._side.state
        history = History(
            messages=self._machine.history(),
            frames=state.frames,
            variables=state.variables,
            opened=list(state.opened),
            allowed=sorted(state.root.allowed),
        )
        if self.voice.replies == "continuous":
            known = self._delegate.history
            history = replace(history, frames=known.frames, variables=known.variables)
            history = replace(history, opened=known.opened, allowed=known.allowed)
        self._run = TalkRun(
            end.reason,
            end.detail,
            history,
            usage,
            self._spending.usage,
            cost,
            self._side.speakers,
            self._machine.warnings,
            self._loop.time() - self._began_s,
        )
        self._side.end(RunFinished(end.reason, usage, cost))
        self._show(end)

    def _emit(self, event: TalkEvent) -> None:
        match event:
            case events.Audio(data, item_id):
                self._show(events.Audio(self._resample_out.feed(data), item_id))
                return
            case events.Heard(text, item_id):
                if self._asked_aloud.is_asking and self._is_after_question(item_id):
                    self._asked_aloud.heard(text)
                self._judge_words(item_id, text)
            case _:
                pass
        self._show(event)

    def _show(self, event: TalkEvent) -> None:
        """Keep an event for the reader; a reader that is too slow loses sound, never words."""
        if isinstance(event, events.Audio):
            is_full = len(self._events) >= _EVENTS_MAX
            if is_full or self._sound_bytes + len(event.data) > _SOUND_BYTES_MAX:
                self._dropped_ms += self.sound_out.ms(len(event.data))
                return
            self._sound_bytes += len(event.data)
        if self._dropped_ms and len(self._events) < _EVENTS_MAX:
            self._events.append(events.Dropped("output", self._dropped_ms))
            self._dropped_ms = 0.0
        last = self._events[-1] if self._events else None
        if isinstance(event, events.UnknownFrames) and isinstance(last, events.UnknownFrames):
            self._events.pop()  # the count of the next one includes it
        self._events.append(event)
        self._has_events.set()

    def _check_open(self) -> None:
        if self._driver is None:
            raise RequestError("the talk is not open yet; write 'async with Talk(...) as talk:'")

    def _wrote(self, text: str) -> None:
        self._written += 1
        self._judge_words(f"written {self._written}", text)
        self._machine.write(text)

    def _pressed(self, digit: str) -> None:
        self._emit(events.Digit(digit))
        self._machine.write(f"[the caller pressed {digit}]")

    def _judge_words(self, item_id: str, text: str) -> None:
        if (item_id, text) in self._judged:
            return
        self._judged.add((item_id, text))
        for check in self._checks:
            task = self._start(self._judge(check, text))
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)

    async def _judge(self, check: Callable[..., Any], text: str) -> None:
        """A guard in front of the agent: what it says is wrong ends the talk."""
        self._doubts += 1
        reason = check([Message("user", [Text(text)])])
        reason = await reason if inspect.isawaitable(reason) else reason
        if reason is None:
            self._doubts -= 1
        else:
            name = getattr(check, "__name__", type(check).__name__)
            self._post(partial(self._machine.end, "guardrail", f"{name}: {reason}"))

    def _step(self, reply_id: str) -> int:
        return self._steps.setdefault(reply_id, len(self._steps) + 1)

    async def _objection(self) -> str | None:
        """The guards' objection to acting on the words so far.

        It is empty where the talk ends for it, and `None` where they pass all of it.
        """
        until_s = self._loop.time() + _WORDS_S
        while self._checks and self._machine.owes_words:
            if self._loop.time() > until_s:
                return "what the caller said was not written down, and could not be checked"
            await asyncio.sleep(0.05)
        for item_id, text in self._machine.transcript.open_words():
            self._judge_words(item_id, text)
        while self._judging:
            await asyncio.wait(list(self._judging))
        return "" if self._doubts else None

    async def _call(self, opened: OpenCall) -> None:
        call, step = opened.call, self._step(opened.reply_id)
        if (words := await self._objection()) is not None:
            if words:
                self._post(partial(self._ended, opened, refused(call, words), None))
            return

        async def report(progress: float, message: str) -> None:
            self._show(ToolEvent(step, call, ProgressEvent(progress, message)))
            words = f"{round(100 * progress)} % done" + (f", {message}" if message else "")
            self._post(partial(self._machine.note, call.id, words))

        self._show(CallStart(step, call))
        result = await self._side.execute(call, is_late=opened.is_late, report=report)
        transfer = self._side.transfer(len(self._machine.history()))
        session = None
        if transfer is not None:
            self._show(transfer)
            session = await self._side.session(self._session, self.voice)
        self._post(partial(self._ended, opened, result, session))

    def _ended(
        self, opened: OpenCall, result: ToolResult, session: protocol.OpenSession | None
    ) -> None:
        call_id = opened.call.id
        self._calls.pop(call_id, None)
        if call_id not in self._machine.calls.open:
            return
        self._show(CallEnd(self._step(opened.reply_id), opened.call, result))
        if session is not None:
            self._machine.manners = self._side.manners()
            self._machine.reconfigure(session.instructions, session)
        self._machine.result(call_id, result)
        if self._side.state.end == "handoffs":
            self._machine.end("handoffs")

    async def _delegated(self, delegation_id: str, text: str) -> None:
        machine = self._machine

        def show(event: CallStart | CallEnd | ToolEvent) -> None:
            self._show(event)
            match event:
                case CallStart(_, call):
                    machine.transcript.call(delegation_id, call)
                case CallEnd(_, _, result):
                    machine.transcript.result(delegation_id, result)
                case ToolEvent():
                    if words := progress_of(event):
                        self._post(partial(machine.delegated, delegation_id, words, is_silent=True))

        if (objection := await self._objection()) is not None:
            if objection:
                self._post(partial(machine.delegated, delegation_id, objection))
            return
        words, run = await self._delegate.work(text or "(the caller said nothing)", show)
        if run is not None:
            self._spending.add_delegate(run.usage, run.cost)
            new = dict.fromkeys(run.agents)
            self._side.speakers += [each for each in new if each not in self._side.speakers]
        self._post(partial(machine.delegated, delegation_id, words))

    async def _ask(self, request: ApprovalRequest) -> Answer:
        """An approval while the talk continues: the model, or the caller, hears that it waits."""
        if self._approve == "voice":
            if self.voice.late == "waits":
                words = "this voice waits for its calls and cannot ask the caller meanwhile"
                self._machine.warn("approve", words)
                return f"{words}; the application can approve it, with approve= a function"
            return await self._asked_aloud.ask(request, partial(self._question, request))
        self._wait_aloud(request, "waits for approval; the talk continues")
        if self._approve is None:
            self._show(request)
            return await request.wait()
        approve = cast("Approve", self._approve)
        answer = approve(request)
        return await answer if inspect.isawaitable(answer) else answer

    async def _question(self, request: ApprovalRequest, words: str) -> None:
        self._before_question = self._machine.transcript.item_ids()
        self._wait_aloud(request, words)

    def _is_after_question(self, item_id: str) -> bool:
        """Whether the voice has spoken since there is a question, and the caller after it."""
        return self._machine.transcript.follows_new_words(item_id, self._before_question)

    def _wait_aloud(self, request: ApprovalRequest, words: str) -> None:
        if self.voice.replies == "continuous":
            self._post(partial(self._machine.delegated, "", f"{request.tool} {words}"))
        else:
            self._post(partial(self._machine.note, request.call_id, words, speaks=True))


def _formats(voice: Voice, sound: AudioFormat | None) -> tuple[AudioFormat, AudioFormat]:
    """The voice's formats for both ways: that of the application where it can be."""
    taken = next((each for each in voice.input_formats if each == sound), voice.input_formats[0])
    given = next((each for each in voice.output_formats if each == sound), voice.output_formats[0])
    if sound is not None and sound.encoding == "pcma" and sound not in (taken, given):
        raise RequestError("this voice takes no A-law; give the talk pcmu or pcm16")
    return taken, given
